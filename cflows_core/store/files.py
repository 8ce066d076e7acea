"""Files that are replaced whole or not at all, one writer at a time, and disk errors in a sentence."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
from contextlib import suppress
from datetime import UTC, datetime
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

    A temporary file is written beside it and renamed over it. Its name is the writer's own: two writers, where the file system has no
    locks, must not mix theirs; what a killed writer leaves is removed when the run is opened again (`remove_leftovers`). `sync` also waits
    until bytes and name are on the disk, so that the file is whole and in its place even after a power cut.
    Raises OSError.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with temporary.open("wb", buffering=0) as file:
            _write_all(file, content)
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError:
        with suppress(OSError):  # room for what comes next; the error that matters is the one being raised
            temporary.unlink()
        raise


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk: a renamed or new file is there after a power cut only then. Raises OSError."""
    if os.name != "posix":
        return  # Windows keeps names in order by itself, and opens no folder
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts cannot
            raise
    finally:
        os.close(folder)


def leftovers(root: Path) -> list[Path]:
    """Files that a writer of the run at `root` had begun when it was killed."""
    return sorted(root.rglob(f"*{PARTIAL}"))


def remove_leftovers(root: Path) -> None:
    """To be called by who holds the writer's lock."""
    for path in leftovers(root):
        with suppress(OSError):
            path.unlink()


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
    """The right to write a run, released by the system however its owner ends. Raises StoreError if another recorder has it, or OSError.

    The file says who has it: process, host and since when. On a file system without locks (some network mounts) that note alone tells; it
    is believed if it names a living process of this machine. A writer on another machine is then noticed by what it commits (recorder.py).
    """

    def __init__(self, root: Path):
        self._file, self._pid = -1, os.getpid()
        while self._file < 0:
            file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
            try:
                free = _lock(file)
                owner = _owner(root)
                if free is False or (free is None and _lives(owner)):
                    raise StoreError(
                        f"Only one recorder can write a run, and another one{_in_words(owner)} has {root} open: "
                        "close that one, or write to another path."
                    )
                if _is_at(file, root / LOCK):  # else deleted before it was locked, with its run: it protects nothing
                    self._file, file = file, -1
            finally:
                if file >= 0:
                    os.close(file)
        self._note(json.dumps({"pid": self._pid, "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}))

    def _note(self, text: str) -> None:
        with suppress(OSError):  # the lock holds without it, also on a full disk
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.encode())

    def release(self) -> None:
        if self._file >= 0:
            if os.getpid() == self._pid:  # a forked child has the file too, and not the run
                self._note("")
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.release()


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # a run from elsewhere may hold a link in the lock's place


def _lock(file: int, *, shared: bool = False) -> bool | None:
    """Whether the file's lock was free, and is taken now; None where the file system has no locks."""
    try:
        try:
            import fcntl
        except ImportError:
            import msvcrt  # Windows

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK) else None
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _owner(root: Path) -> dict[str, Any]:
    """What the lock file of the run at `root` says of its owner; empty where nobody has it, or nothing is said."""
    try:
        owner = json.loads((root / LOCK).read_bytes())
        return {"pid": int(owner["pid"]), "host": str(owner["host"]), "since": str(owner["since"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _in_words(owner: dict[str, Any]) -> str:
    return f" (process {owner['pid']} on {owner['host']}, since {owner['since']})" if owner else ""


def _lives(owner: dict[str, Any]) -> bool:
    """Whether the owner is a living process of this machine."""
    if not owner or owner["host"] != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def writer(root: Path) -> str | None:
    """Who has the run at `root` open for writing, in words that may be empty; None: nobody. Writes nothing."""
    try:
        file = os.open(root / LOCK, os.O_RDONLY | _NO_FOLLOW)
    except OSError:
        return None  # every recorder makes one
    try:
        free = _lock(file, shared=True)
    finally:
        os.close(file)
    owner = _owner(root)
    # without locks, a process of another machine cannot be asked
    taken = free is False or (free is None and bool(owner) and (_lives(owner) or owner["host"] != socket.gethostname()))
    return _in_words(owner).strip() if taken else None


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
