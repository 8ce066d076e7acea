"""`Recorder`: writes a run, frame by frame, so that a kill at any moment loses at most two seconds of it.

Rows are gathered in memory; `commit` writes them behind the committed ones, array by array and in place, and then replaces the root
document (document.py), which says how many rows count. Committed rows are never moved nor rewritten, except after a resume, by the same
values; where a run takes another course, the rows of the old one are first given up by a commit of their own.

Limit: the root document is synchronised with the disk at every commit, the rows before every checkpoint: a killed process loses nothing
committed, a power cut may leave the rows since the last checkpoint as NaN, and a resume computes these again.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.frames import Event, Frame
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.document import (
    SCHEMA_VERSION,
    environment,
    events_from_json,
    events_to_json,
    make_room,
    read_document,
    tree,
)
from cflows_core.store.files import PARTIAL, ROOT, WriterLock, disk_error, dumps, remove_leftovers, replace_file, sync_folder
from cflows_core.store.layout import source
from cflows_core.store.run import CHECKPOINT, Run
from cflows_core.store.table import Table

COMMIT_SECONDS = 2.0
COMMIT_STEPS = 100
OWN = ("schema_version", "rows", "closed", "config", "config_hash", "events")  # attributes that the recorder sets


class Saves(Protocol):
    """What `Recorder.checkpoint` needs of a simulation."""

    config: RunConfig

    def save(self, path: Any) -> object: ...


class Recorder:
    """Records frames at `path` (a new directory), or in memory if it is None.

    Frames whose step is not a multiple of `config.record_every` leave only their events. A frame of a step that is stored already (after
    a resume, or from a simulation set back) overwrites its row. `append` commits by itself at least every 2 s or 100 steps; call `commit`
    where appending pauses. `meta` is stored with the run (the device and threads used, for example) and read back as `run.meta`.
    When the simulation's configuration changes, assign `recorder.config`: the next commit stores it, with its `changes` and hash.

    Raises StoreError, always one sentence: a run exists at `path` already (unless `overwrite`), something else does (always), another
    recorder has it open, the disk is full. After an error while writing nothing is lost: frames that are not committed stay in memory,
    and the next `commit`, by `append` or called, tries again.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, config: RunConfig, meta: dict[str, Any] | None = None, *, overwrite: bool = False
    ):
        self._setup(None if path is None else Path(path), config, {**environment(config), **(meta or {})})
        if self.path is not None:
            make_room(self.path, overwrite)
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = WriterLock(self.path)
                make_room(self.path, overwrite=False)  # once more: another recorder may have been here before the lock was taken
                remove_leftovers(self.path)
                self._write_root(0, [], config, closed=False)
            except OSError as error:
                self._release()
                raise disk_error(self.path, error, 0) from error
            except StoreError:
                self._release()
                raise

    def _setup(self, path: Path | None, config: RunConfig, meta: dict[str, Any], specs: Iterable[ArraySpec] = ()) -> None:
        self.path, self.config, self.meta = path, config, meta
        self._lock: WriterLock | None = None
        self._written: tuple[bytes, ...] = ()  # the root document as this recorder last wrote, or found, it
        self._unsynced = 0  # rows before this one have reached the disk
        self._closed = False
        self._table = Table(config, specs)
        self._first = self._count = 0  # rows first ... first + count are in the table
        self._committed = 0
        self._steps: list[int] = []  # the step of every row, committed or not
        self._now = -1  # the step of the last frame taken
        self._events: list[Event] = []
        self._seen: set[Event] = set()
        self._stored = config  # as committed
        self._caught_up: set[str] = set()  # arrays that have the rows before their flow started
        self._since = 0  # frames since the last commit, or the last attempt at one
        self._last_commit = self._last_append = time.monotonic()

    @classmethod
    def reopen(cls, path: str | os.PathLike[str]) -> Recorder:
        """Go on with a stored run after a resume from its checkpoint.

        Committed rows after the checkpoint stay until the same steps arrive again and overwrite them, by the same values. If the run takes
        another course there (its `changes` differ from the stored ones), the old steps after that are given up with the commit that
        contains the new course.
        """
        root = Path(path)
        read_document(root)  # before the lock, which is a file: a path that is not a run is left as it is
        self = cls.__new__(cls)
        try:
            lock = WriterLock(root)
        except OSError as error:
            raise disk_error(root, error, 0) from error
        remove_leftovers(root)
        written = (root / ROOT).read_bytes()
        attributes, specs = read_document(root)
        meta = {key: value for key, value in attributes.items() if key not in OWN}
        config = RunConfig.from_dict(attributes["config"])
        meta["resumed"] = [*meta.get("resumed", []), {"rows": attributes["rows"], **environment(config)}]
        self._setup(root, config, meta, specs)
        self._lock, self._written = lock, (written,)
        steps = self._table.specs["step"].read(root, attributes["rows"])[0]
        torn = np.flatnonzero(np.diff(steps) <= 0)  # after a power cut: these rows read as missing, and do not count any more
        self._steps = steps[: torn[0] + 1 if len(torn) else None].tolist()
        self._committed = self._first = self._unsynced = len(self._steps)
        self._now = self._steps[-1] if self._steps else -1
        self._events = events_from_json(attributes["events"])
        self._seen = set(self._events)
        return self

    @property
    def rows(self) -> int:
        """Committed steps: what a reader finds."""
        return self._committed

    @property
    def run(self) -> Run:
        """The committed steps as a `Run`, without a copy of what is on disk."""
        if self.path is not None:
            return Run.open(self.path)
        arrays = {spec.path: (spec, rows.copy()) for spec, rows in self._table.columns(self._committed)}
        return Run.from_arrays(self._attributes(self._committed, self._events, self._stored, closed=self._closed), arrays)

    def append(self, frame: Frame) -> None:
        """Take one frame; commits where two seconds or 100 steps have passed."""
        if self._closed:
            raise StoreError(f"The recorder of {self.path or 'this run'} is closed: go on with Recorder.reopen.")
        for event in frame.events:
            if event not in self._seen:  # a resumed run repeats events that are stored already
                self._seen.add(event)
                insort(self._events, event, key=lambda entry: entry.step)
        if frame.step % self.config.record_every == 0:
            self._take(frame)
        self._now = frame.step
        self._since += 1
        now = time.monotonic()
        due = now - self._last_commit + (now - self._last_append) >= COMMIT_SECONDS  # slow steps: the next one may come too late
        self._last_append = now
        if due or self._since >= COMMIT_STEPS:
            self.commit()

    def append_columns(self, columns: Mapping[str, np.ndarray], events: Iterable[Event]) -> None:
        """Take a whole run at once, as `Run.columns` and `History.columns` give it, as the first rows of this one; commits them."""
        self._table.put_columns(columns)
        self._steps = columns["step"].tolist()
        self._count = len(self._steps)
        self._now = self._steps[-1] if self._steps else -1
        self._events = sorted(events, key=lambda event: event.step)
        self._seen = set(self._events)
        self.commit()

    def _take(self, frame: Frame) -> None:
        row = len(self._steps)
        if row and frame.step <= self._steps[-1]:
            row = bisect_left(self._steps, frame.step)
            if self._steps[row] != frame.step:
                return  # between two stored steps
        if not self._first <= row <= self._first + self._count:  # the table holds one contiguous range
            self._now = frame.step - 1
            self.commit()
            self._first = row
        at = row - self._first
        self._table.put(at, frame)
        self._count = max(self._count, at + 1)
        if row == len(self._steps):
            self._steps.append(frame.step)

    def commit(self) -> None:
        """Write what was appended and make it count: after it every reader, and every resume, has these steps."""
        self._since, self._last_commit = 0, time.monotonic()
        rows, events, config = self._course()
        if self.path is not None:
            try:
                if self._lock is None:  # given back by a close that failed
                    self._lock = WriterLock(self.path)
                self._check_alone()
                self._leave_old_course(rows, events, config)
                if self._count:
                    self._unsynced = min(self._unsynced, self._first)
                    for spec, block in self._table.columns(self._count):
                        self._catch_up(spec)
                        spec.write(self.path, self._first, block)
                self._write_root(rows, events, config, closed=False)
            except OSError as error:
                raise disk_error(self.path, error, self._committed) from error
        self._committed, self._stored, self._events = rows, config, events
        del self._steps[rows:]
        if self.path is None:  # the table is the store
            self._count = rows
        else:
            self._first, self._count = min(self._first + self._count, rows), 0

    def _check_alone(self) -> None:
        """The second line of defence: no commit over what somebody else has done to the store. Raises StoreError, OSError."""
        assert self.path is not None
        try:
            found = (self.path / ROOT).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found not in self._written:
            done = "deleted" if found is None else "written by another recorder, or replaced,"
            raise StoreError(
                f"The run at {self.path} was {done} while it was being recorded: nothing more is written there, so that runs do not "
                "mix; record to another path."
            )
        self._written = (found,)  # type: ignore[assignment]  # of the attempts before, this one has come through

    def _leave_old_course(self, rows: int, events: list[Event], config: RunConfig) -> None:
        """Where other changes lead away from committed rows: a commit without these, before rows of the new course overwrite them."""
        differing = set(config.changes) ^ set(self._stored.changes)
        if not differing:
            return
        kept = bisect_left(self._steps, min(step for step, _, _ in differing))
        if kept >= self._committed or kept >= self._first + self._count:
            return
        begun = [event for event in events if event.step < self._steps[kept]]
        self._write_root(kept, begun, config, closed=False)
        self._committed, self._stored = kept, config
        del self._steps[rows:]

    def _catch_up(self, spec: ArraySpec) -> None:
        """A flow that starts late repeats the root's coordinates from the first row on."""
        root = source(spec.path)
        if spec.path in self._caught_up or root == spec.path:
            return
        if self._first:
            assert self.path is not None
            spec.write(self.path, 0, self._table.specs[root].read(self.path, self._first)[0])
        self._caught_up.add(spec.path)

    def _course(self) -> tuple[int, list[Event], RunConfig]:
        """Rows, events and configuration to commit: where old steps lie ahead, they stay as long as the run retraces them."""
        now = self._now
        if not self._steps or now >= self._steps[-1]:
            return len(self._steps), self._events, self.config
        past = [change for change in self.config.changes if change[0] <= now]
        if past != [change for change in self._stored.changes if change[0] <= now]:
            return bisect_right(self._steps, now), [event for event in self._events if event.step <= now], self.config
        ahead = [change for change in self._stored.changes if change[0] > now]
        return len(self._steps), self._events, self.config.replace(changes=[*past, *ahead])

    def checkpoint(self, simulation: Saves) -> None:
        """Commit, then save the simulation in the store: a resume goes on from it. The last checkpoint stays until this one is whole."""
        self.config = simulation.config
        self.commit()
        if self.path is None:
            return
        temporary = self.path / (CHECKPOINT + PARTIAL)
        try:
            try:
                simulation.save(temporary)
            except RuntimeError as error:  # torch.save reports a full disk this way
                if "writ" not in str(error):
                    raise
                full = shutil.disk_usage(self.path).free < 2**24
                raise OSError(errno.ENOSPC if full else errno.EIO, "the checkpoint was not written") from error
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if self._unsynced < self._committed:  # what lies before the checkpoint is not computed again
                for spec in self._table.specs.values():
                    spec.sync(self.path, self._unsynced, self._committed)
                self._unsynced = self._committed
            temporary.replace(self.path / CHECKPOINT)
            sync_folder(self.path)
            self._write_members()
        except OSError as error:
            with suppress(OSError):
                for left in self.path.glob(temporary.name + "*"):  # a simulation may have a partial file of its own
                    left.unlink()
            raise disk_error(self.path, error, self._committed) from error

    def close(self) -> None:
        """Commit and let go. A closed recorder takes no more frames; one that could not commit can be closed again."""
        if self._closed:
            return
        try:
            self.commit()
            if self.path is not None:
                self._write_members()
                self._check_alone()
                self._write_root(self._committed, self._events, self._stored, closed=True)
        except OSError as error:
            assert self.path is not None
            raise disk_error(self.path, error, self._committed) from error
        finally:
            self._release()
        self._closed = True

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _attributes(self, rows: int, events: list[Event], config: RunConfig, *, closed: bool) -> dict[str, Any]:
        own = (SCHEMA_VERSION, rows, closed, config.to_dict(), config.hash, events_to_json(events))
        return self.meta | dict(zip(OWN, own, strict=True))

    def _write_root(self, rows: int, events: list[Event], config: RunConfig, *, closed: bool) -> None:
        assert self.path is not None
        root = tree(self._table.specs.values(), rows, self._attributes(rows, events, config, closed=closed))[""]
        content = dumps(root)
        self._written = (*self._written, content)  # if the disk fails now, it may be either
        replace_file(self.path / ROOT, content, sync=True)
        self._written = (content,)

    def _write_members(self) -> None:
        """Bring the documents of groups and arrays up to date, for Zarr readers that do not use the root's copy of them."""
        assert self.path is not None
        for name, document in tree(self._table.specs.values(), self._committed, {}).items():
            if name:
                (self.path / name).mkdir(exist_ok=True)
                replace_file(self.path / name / ROOT, dumps(document))
        for spec in self._table.specs.values():
            spec.write_metadata(self.path, self._committed)
