"""Fetches CIFAR-10: checked before it is unpacked and again before it appears; a failure leaves nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cflows_core.errors import DataError
from cflows_core.problems.cifar10 import FILES, FOLDER, PLACE, RECORD, find_cifar10, read_records

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"
TIMEOUT = 30  # seconds without a byte
LARGEST = 10_000 * RECORD  # bytes of a full batch: no archive may unpack to more


def download_cifar10(
    target: str | os.PathLike[str] | None = None,
    url: str | None = None,
    checksum: str | None = None,
    progress: bool = True,
) -> Path:
    """Download the binary version into `target`/cifar-10-batches-bin and return that folder (if it is there, at once).

    target: default `$CFLOWS_DATA_DIR`, else the user's cache folder, which `load` searches too. url: a mirror; it needs
    the archive's `checksum`, "sha256:…" or "md5:…". progress: a bar on the terminal. Raises `DataError` when the
    server, the archive, its checksum, its contents or the disk is at fault; `target` is then as it was.
    """
    if url is not None and checksum is None:
        raise DataError(f"A mirror needs the checksum of its archive, got none for {url}: give checksum='sha256:…'.")
    place = Path(target or os.environ.get(PLACE) or _cache()).expanduser()
    folder = place / FOLDER
    if folder.exists():
        return _already_there(folder)
    created = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        # Beside its destination, so that the last step is a rename: complete data appears, or none.
        with tempfile.TemporaryDirectory(dir=place, prefix=".cifar-10-") as work:
            archive = _fetch(url or URL, checksum or CHECKSUM, Path(work), progress)
            unpacked = Path(work) / FOLDER
            unpacked.mkdir()
            _unpack(archive, unpacked)
            _check(unpacked)
            unpacked.replace(folder)
    except OSError as error:
        _remove(created)
        raise DataError(
            f"Data needs a folder that can be written, got {error} for {place}: free some space or choose another target."
        ) from error
    except DataError:
        _remove(created)
        raise
    return folder


def _already_there(folder: Path) -> Path:
    try:
        if find_cifar10(folder) is None:
            raise DataError("files are missing")
        for name in FILES:
            read_records(folder / name)
    except DataError as error:
        raise DataError(
            f"A download never overwrites data, got a target whose folder {folder} is damaged ({error}): remove that folder and try again."
        ) from error
    return folder


def _fetch(url: str, checksum: str, work: Path, progress: bool) -> Path:
    """The archive in `work`, its checksum verified."""
    pooch = _pooch()
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it announces every download, which the bar shows already
    try:
        with _bar(progress) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)
            return Path(pooch.retrieve(url, checksum, fname="cifar-10.tar.gz", path=work, downloader=downloader))
    except OSError as error:  # requests' errors derive from it
        if error.errno is not None:  # a disk's error, which requests' own never are
            raise
        raise DataError(
            f"Downloading needs the server to deliver the whole archive, got {_short(error)} from {url}: "
            "check the network or give a mirror."
        ) from error
    except ValueError as error:
        raise DataError(
            f"The archive must have the checksum {checksum}, got another one from {url}: "
            "the download broke off or the file is not the one expected, so try again."
        ) from error
    finally:
        logger.setLevel(level)


def _unpack(archive: Path, folder: Path) -> None:
    """The six batches as regular files of `folder`.

    Members are chosen by their last name and written to names of ours, so that a path, a link or a device in an archive
    leads nowhere.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                source = tar.extractfile(member) if name in FILES and member.isreg() and member.size <= LARGEST else None
                if source is not None:
                    (folder / name).write_bytes(source.read())
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"The archive must be a whole .tar.gz file, got one that breaks off or is damaged ({_short(error)}): download it again."
        ) from error
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"The archive must hold CIFAR-10's six binary files, got one without {', '.join(missing)}: use the binary version.")


def _check(folder: Path) -> None:
    """Every record of every file, before the data is shown to anyone."""
    try:
        for name in FILES:
            read_records(folder / name)
    except DataError as error:
        raise DataError(str(error).replace(f"{folder}{os.sep}", "the archive's ")) from error


def _remove(created: list[Path]) -> None:
    """Folders made for a download that failed, innermost first, unless something else is in them by now."""
    for path in created:
        with contextlib.suppress(OSError):
            path.rmdir()


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise DataError("Downloading needs the package pooch, got an environment without it: pip install pooch.") from error
    return pooch


def _cache() -> Path:
    return Path(_pooch().os_cache("cflows"))


class _Bar:
    """What pooch asks of a progress bar, on top of rich's."""

    def __init__(self, display: Any):
        self._display, self._task = display, display.add_task("CIFAR-10", total=None)

    @property
    def total(self) -> float | None:
        return self._display.tasks[self._task].total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._display.update(self._task, total=n_bytes or None)

    def update(self, n_bytes: int) -> None:
        self._display.update(self._task, advance=n_bytes)

    def reset(self) -> None:
        self._display.update(self._task, completed=0)

    def close(self) -> None:
        self._display.refresh()


@contextlib.contextmanager
def _bar(wanted: bool) -> Iterator[_Bar | bool]:
    if not wanted:
        yield False
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()) as display:
        yield _Bar(display)


def _short(error: BaseException) -> str:
    """What went wrong in a few words; requests' own messages repeat addresses and nest whole exceptions."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"status {response.status_code}"
    known = {"ChunkedEncodingError": "a connection that broke off", "ConnectionError": "no connection"}
    known |= dict.fromkeys(("ConnectTimeout", "ReadTimeout"), f"nothing for {TIMEOUT} seconds")
    return known.get(type(error).__name__, " ".join(str(error).split())[:120])
