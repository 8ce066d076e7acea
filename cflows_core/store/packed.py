"""A stored run as one file, a `.zarr.zip`: what the dashboard hands out, and how the gallery's runs are kept."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cflows_core.errors import StoreError
from cflows_core.store.files import LOCK, ROOT

ENDING = ".zarr.zip"
LARGEST = 2**32  # bytes unpacked: an archive that claims more is not one of ours

_FIRST = (1980, 1, 1, 0, 0, 0)  # of all members, so that equal runs make equal files


def pack(directory: Path, path: Path, leave_out: tuple[str, ...] = (LOCK,)) -> Path:
    """The run stored in `directory` as one archive at `path`, in which it keeps its name; returns `path`. Raises OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(directory.rglob("*")):
            if file.is_file() and file.name not in leave_out:
                member = zipfile.ZipInfo(file.relative_to(directory.parent).as_posix(), _FIRST)
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, file.read_bytes())
    return path


# What reading an archive of any bytes raises: a name in no encoding is a ValueError, a field that is cut off a struct.error.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, ValueError, LookupError)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The directory of the run that is packed at `path`, while it is needed. Raises StoreError where there is no such run."""
    with tempfile.TemporaryDirectory(prefix="cflows-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                roots = [name.removesuffix(ROOT) for name in archive.namelist() if name.count("/") == 1 and name.endswith(f"/{ROOT}")]
                if len(roots) != 1:
                    raise StoreError(f"{path} does not hold one stored run: give a file that Export, or `cflows figure`, has made.")
                if sum(member.file_size for member in archive.infolist()) > LARGEST:
                    raise StoreError(f"{path} would unpack to more than {LARGEST >> 30} GiB, which no run of ours takes: it is not read.")
                archive.extractall(folder)  # leaves out what would lead out of the folder
        except StoreError:
            raise
        except _DAMAGED as error:
            raise StoreError(f"{path} is not a stored run, or a damaged one ({error}): copy it again from where it came.") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}): check the file.") from None
        yield Path(folder) / roots[0]
