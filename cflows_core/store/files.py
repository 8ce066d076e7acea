"""Files that are replaced whole or not at all, one writer at a time, and disk errors in a sentence."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from cflows_core.errors import StoreError

ROOT = "zarr.json"
LOCK = "writer.lock"
PARTIAL = ".partial"


def dumps(document: dict[str, Any]) -> bytes:
    """A document as strict, compact JSON."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def replace_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a mixture.

    A temporary file is written beside it and renamed over it; its name is fixed, so that a killed writer leaves at most one, which the
    next one reuses. `sync` also waits until the bytes are on the disk, so that the renamed file is whole even after a power cut.
    Raises OSError.
    """
    temporary = path.with_name(path.name + PARTIAL)
    try:
        with temporary.open("wb", buffering=0) as file:
            _write_all(file, content)
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # room for what comes next; the error that matters is the one being raised
            temporary.unlink()
        raise


def write_at(path: Path, offset: int, content: bytes, size: int, fill: bytes) -> None:
    """Write `content` at byte `offset` of a file of fixed `size`; the bytes around it are not touched.

    A missing file is made whole at once (`fill` repeated), by `replace_file`; one of another size, which a crash of the machine can
    leave, is filled up or cut.
    Raises OSError, FileNotFoundError only where the directory is missing.
    """
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        replace_file(path, _filled(0, offset, fill) + content + _filled(offset + len(content), size, fill))
        return
    with file:
        present = os.fstat(file.fileno()).st_size
        if present < size:
            file.seek(present)
            _write_all(file, _filled(present, size, fill))
        elif present > size:
            file.truncate(size)
        file.seek(offset)
        _write_all(file, content)


def _filled(start: int, stop: int, fill: bytes) -> bytes:
    """Bytes `start` to `stop` of an endless repetition of `fill`: a file cut inside a number is completed to whole numbers."""
    width = len(fill)
    return (fill * ((stop - start) // width + 2))[start % width :][: stop - start]


def _write_all(file: Any, content: bytes) -> None:
    view = memoryview(content)
    while view:  # an unbuffered write may be short when the disk fills; the next one then raises
        view = view[file.write(view) :]


class WriterLock:
    """The right to write a run, released by the system however its owner ends. Raises StoreError if another recorder has it, or OSError."""

    def __init__(self, root: Path):
        self._file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            _lock(self._file)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                self.release()
                raise StoreError(
                    f"Only one recorder can write a run, and another one has {root} open: close that one, or write to another path."
                ) from None
            # A file system without locks (some network mounts): the run is recorded all the same.

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.release()


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt  # Windows

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def disk_error(root: Path, error: OSError, rows: int) -> StoreError:
    """The sentence for an operating-system error while writing the run at `root`, of which `rows` steps are committed."""
    safe = f"the {rows:,} steps committed so far are safe there"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ""
        with suppress(OSError):
            free = f" ({shutil.disk_usage(root).free / 2**20:.1f} MiB left)"
        return StoreError(f"The disk is full{free}: {root} cannot grow, {safe}, and recording goes on once there is space.")
    reason = (error.strerror or str(error)).lower()
    return StoreError(f"{root} cannot be written ({reason}): {safe}, and recording goes on once it can be written again.")
