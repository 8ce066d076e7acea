"""`Journal`: a folder in which an engine stores its runs while they go, so that whatever dies, they are found again."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.store import Run
from cflows_core.store.document import read_attributes
from cflows_core.store.files import LOCK, ROOT, WriterLock

ROOM = 4 * 2**30  # bytes
_SHORT = 12  # characters of a hash, enough to tell runs apart by eye


@dataclass(frozen=True)
class _Entry:
    """What a root document says. stamp: when it was written, in nanoseconds."""

    stamp: int
    hash: str
    rows: int
    size: int


class Journal:
    """The runs in `folder`, each at `HASH-NUMBER.zarr`. Where they take more than `room` bytes, the oldest that nobody writes are deleted.

    in_use, of several methods: stores that must not be deleted, though nobody may write them just now.
    Its methods read and write files: call them in a thread. Any of them may be called from several at a time.
    """

    def __init__(self, folder: str | os.PathLike[str], room: int = ROOM):
        self.folder, self.room = Path(folder).absolute(), room  # workers have working directories of their own
        self._known: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def find(self, config: RunConfig) -> Path | None:
        """The run of exactly this configuration, changes included, that has got furthest and that nobody writes; None if there is none."""
        found = [(entry.rows, name) for name, entry in self._entries().items() if entry.hash == config.hash and not self._written(name)]
        return self.folder / max(found)[1] if found else None

    def new(self, config: RunConfig, in_use: Collection[Path] = ()) -> Path:
        """A path for a run to be stored at; makes room for it. Raises StoreError where the folder cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(in_use)
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise StoreError(f"Runs cannot be stored in {self.folder} ({reason}): make room, or choose another folder.") from problem
        return self.folder / f"{config.hash[:_SHORT]}-{uuid.uuid4().hex[:8]}.zarr"

    def place(
        self, config: RunConfig, base: str | os.PathLike[str] | None = None, anew: bool = False, in_use: Collection[Path] = ()
    ) -> tuple[Path, bool]:
        """Where a run of this configuration is to be stored, and whether there is one to be gone on with.

        anew: whatever the journal has of it is left alone.
        base: a run of the same configuration that lies elsewhere, copied where the journal has none that got as far. Raises StoreError.
        """
        found = None if anew else self.find(config)
        if base is None:
            return (found, True) if found is not None else (self.new(config, in_use), False)
        elsewhere = Run.open(base)
        if found is not None and self._entries()[found.name].rows >= elsewhere.rows:
            return found, True
        return elsewhere.to_zarr(self.new(config, in_use)), True

    def copy(self, path: Path, config: RunConfig, in_use: Collection[Path] = ()) -> Path:
        """A second copy of a run of the journal, for a fork. Raises StoreError."""
        return Run.open(path).to_zarr(self.new(config, in_use))

    def _entries(self) -> dict[str, _Entry]:
        """Name -> what is known of each run; only what was written since the last look is read."""
        with self._lock:
            known: dict[str, _Entry] = {}
            for root in self.folder.glob(f"*/{ROOT}"):
                name = root.parent.name
                with suppress(OSError, KeyError, TypeError):  # deleted meanwhile, or no run of ours
                    stamp = root.stat().st_mtime_ns
                    former = self._known.get(name)
                    known[name] = former if former is not None and former.stamp == stamp else _entry(root.parent, stamp)
            self._known = known
            return dict(known)

    def _written(self, name: str) -> bool:
        try:
            WriterLock(self.folder / name).release()
        except StoreError:
            return True
        except OSError:
            return False
        return False

    def _make_room(self, in_use: Collection[Path]) -> None:
        entries = sorted(self._entries().items(), key=lambda entry: entry[1].stamp)
        spare = sum(entry.size for _, entry in entries) - self.room
        for name, entry in entries:
            if spare <= 0:
                break
            if self.folder / name in in_use:
                continue
            with suppress(StoreError, OSError):  # somebody writes it, or has deleted it
                lock = WriterLock(self.folder / name)
                try:
                    (self.folder / name / ROOT).unlink()  # from here on it is no run, however far the rest comes
                    shutil.rmtree(self.folder / name, ignore_errors=True)
                    spare -= entry.size
                finally:
                    lock.release()


def _entry(path: Path, stamp: int) -> _Entry:
    attributes = read_attributes(path)
    if attributes is None or type(attributes["rows"]) is not int:
        raise KeyError(path.name)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != LOCK)
    return _Entry(stamp, attributes["config_hash"], attributes["rows"], size)
