"""The shelf: a folder of stored runs on the server's disk. *Explore* keeps runs there and opens them; *Compare* lists and deletes them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cflows_app.stored import Stored
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.store import Run
from cflows_core.store.files import ROOT, WriterLock

ENDING = ".zarr"
NAMED = re.compile(r"\w[\w+=. -]{0,79}")  # what a run may be called when it is kept
LONGEST = 255  # bytes of a file's name
REMEMBERED = 8  # opened runs
REMAINS = 3600.0  # seconds after which nobody is at work any more on what is half written, or half deleted


@dataclass(frozen=True)
class Entry:
    """A run on the shelf. name: its directory's. label: as people call it. created: ISO date. size: bytes on disk.

    problem: a sentence on why it cannot be opened; there is nothing else to tell then.
    """

    name: str
    config: RunConfig | None = None
    rows: int = 0
    last: int = 0
    created: str = ""
    size: int = 0
    problem: str = ""

    @property
    def label(self) -> str:
        return self.name.removesuffix(ENDING)


class Shelf:
    """The runs in `folder`, which need not exist before the first one is kept. Its methods read and write files: call them in a thread."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, tuple[int, Entry]] = {}
        self._opened: OrderedDict[str, tuple[int, Stored]] = OrderedDict()
        self._lock = threading.Lock()

    def entries(self) -> tuple[Entry, ...]:
        """All runs, the newest first."""
        with self._lock:
            stamps = {}
            for root in self.folder.glob(f"[!.]*/{ROOT}"):
                try:
                    stamps[root.parent.name] = root.stat().st_mtime_ns
                except OSError:
                    continue  # deleted meanwhile
            known = {name: known for name, known in self._known.items() if stamps.get(name) == known[0]}
            self._known = known | {name: (stamp, self._entry(name)) for name, stamp in stamps.items() if name not in known}
            entries = [entry for _, entry in self._known.values()]
        return tuple(sorted(entries, key=lambda entry: (entry.created, entry.name), reverse=True))

    def open(self, name: str) -> Stored:
        """A run, ready to be drawn. Raises StoreError."""
        path = self._found(name)
        run = Run.open(path)
        stamp = (path / ROOT).stat().st_mtime_ns
        with self._lock:
            former = self._opened.pop(name, None)
        stored = former[1] if former is not None and former[0] == stamp else Stored.of(run)
        with self._lock:
            self._opened[name] = stamp, stored
            while len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        return stored

    def keep(self, name: str, write: Callable[[Path], object]) -> None:
        """Put a run on the shelf, which `write` stores at a path that it is given: whole, or not at all. Raises StoreError."""
        if not NAMED.fullmatch(name):
            rule = "A run's name has 1 to 80 letters, digits, spaces and any of _ + = . -, and begins with a letter or a digit"
            raise StoreError(f"{rule}, got {name[:80]!r}: choose another.")
        path = self.folder / (name + ENDING)
        if len(os.fsencode(path.name)) > LONGEST:
            raise StoreError(f"A run's name takes {LONGEST - len(ENDING)} bytes on the disk at most, got {len(name.encode())}: shorten it.")
        try:
            self._must_be_new(path)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_remains()
            with tempfile.TemporaryDirectory(prefix=".keeping-", dir=self.folder) as folder:
                written = Path(folder) / path.name
                write(written)
                self._must_be_new(path)  # it may have been kept meanwhile, from another page
                written.rename(path)
        except OSError as problem:
            raise StoreError(
                f"The run cannot be kept in {self.folder} ({_reason(problem)}): make room, or start cflows with another --runs."
            ) from problem

    def delete(self, name: str) -> None:
        """Take a run off the shelf, for ever. Raises StoreError where something is writing it."""
        path = self._found(name)
        try:
            lock = WriterLock(path)
        except StoreError:
            raise StoreError(f"The run `{name}` is being written: stop what computes it, then delete it.") from None
        except OSError as problem:
            raise StoreError(f"The run `{name}` cannot be deleted ({_reason(problem)}): delete {path} by hand.") from problem
        try:
            with tempfile.TemporaryDirectory(prefix=".deleting-", dir=self.folder) as folder:
                path.rename(Path(folder) / name)  # from here on its name is free, however far the rest comes
        except OSError as problem:
            raise StoreError(f"The run `{name}` cannot be deleted whole ({_reason(problem)}): delete {path} by hand.") from problem
        finally:
            lock.release()

    def _remove_remains(self) -> None:
        """Delete what servers that were killed here had begun to write, or to delete."""
        for left in (*self.folder.glob(".keeping-*"), *self.folder.glob(".deleting-*")):
            with suppress(OSError):  # another server has done it
                if time.time() - left.stat().st_mtime > REMAINS:
                    shutil.rmtree(left, ignore_errors=True)

    def _must_be_new(self, path: Path) -> None:
        if path.exists():
            name = path.name.removesuffix(ENDING)
            raise StoreError(f"There is a run called `{name}` already: choose another name, or delete that one in Compare.")

    def _found(self, name: str) -> Path:
        """The store of a run. A name may come from an address: only what lies in the folder itself is ever opened or deleted."""
        path = self.folder / name
        if name not in {root.parent.name for root in self.folder.glob(f"[!.]*/{ROOT}")}:
            raise StoreError(f"There is no run called {name[:80]!r} in {self.folder}: choose one of those that Compare lists.")
        return path

    def _entry(self, name: str) -> Entry:
        path = self.folder / name
        try:
            run = Run.open(path)
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            last = int(run.steps[-1]) if run.rows else 0
            return Entry(name, run.config, run.rows, last, str(run.meta.get("created", "")), size)
        except (CflowsError, OSError) as problem:
            return Entry(name, problem=_reason(problem) if isinstance(problem, OSError) else str(problem))


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem)).lower()
