"""CIFAR-10 from local files: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.

The official binary version: six files of records, each one label byte and 3,072 pixel bytes (3 channels of 32 × 32, row
by row).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cflows_core.errors import DataError

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
N_CLASSES = 10
# Statistics of the full training set's channels, for pixels in [0, 1].
MEAN = np.array([0.4914, 0.4822, 0.4465])
STD = np.array([0.2470, 0.2435, 0.2616])

PLACE = "CFLOWS_DATA_DIR"


def search_path(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where data is looked for.

    `data_dir` alone if given, else `$CFLOWS_DATA_DIR` alone if set, else `../shared/data` from the root of the project
    that one is in, or that this package lies in, and last the cache folder for downloads.
    """
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    if os.environ.get(PLACE):
        return [Path(os.environ[PLACE]).expanduser()]
    roots = [*filter(None, (_project_root(Path.cwd()), _project_root(Path(__file__).resolve().parent)))]
    return list(dict.fromkeys([*(root.parent / "shared" / "data" for root in roots), *_cache()]))


def find_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder that holds all six files, or None. `data_dir`: that folder or the one around it."""
    for folder in _candidates(data_dir):
        if not _missing(folder):
            return folder
    return None


def locate_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Like `find_cifar10`, but a `DataError` says which files are missing, or where was looked."""
    folder = find_cifar10(data_dir)
    if folder is not None:
        return folder
    for partial in _candidates(data_dir):
        if len(missing := _missing(partial)) < len(FILES):
            raise DataError(
                f"CIFAR-10 needs all of its six files, got a folder {partial} without {', '.join(missing)}: "
                "copy them there, or download the archive again."
            )
    looked = ", ".join(str(place) for place in search_path(data_dir))
    raise DataError(
        f"CIFAR-10 needs a folder {FOLDER}, got none in {looked}: set {PLACE} to the folder around it, "
        "or fetch it with cflows_core.problems.datasets.download_cifar10()."
    )


def read_records(path: Path) -> np.ndarray:
    """All records of one file, uint8 [n, 3073], checked: whole records, labels 0 to 9. Raises `DataError`."""
    try:
        size = path.stat().st_size
        if size == 0 or size % RECORD:
            raise DataError(
                f"The size of {path} must be a positive multiple of {RECORD:,} bytes, got {size:,}: "
                "the file is cut short or no CIFAR-10 batch, so fetch it again."
            )
        records = np.fromfile(path, dtype=np.uint8).reshape(-1, RECORD)
    except OSError as error:
        raise DataError(f"A CIFAR-10 batch must be readable, got {error}: check the path and its permissions.") from error
    wrong = np.flatnonzero(records[:, 0] >= N_CLASSES)
    if len(wrong):
        raise DataError(
            f"Labels in {path} must be 0 to 9, got {records[wrong[0], 0]} in record {wrong[0]}: "
            "the file is damaged or no CIFAR-10 batch, so fetch it again."
        )
    return records


def read_cifar10(folder: Path, n_train: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(inputs [n, 3, 32, 32], labels [n], test inputs, test labels) of the first `classes` classes, batches in order.

    inputs: float64, (pixel/255 − mean)/std of each channel. Raises `DataError` when fewer than `n_train` examples are
    there.
    """
    kept, found = [], 0
    for name in TRAIN_FILES:  # All five even if one would do, so that a damaged file is not found out only later.
        records = read_records(folder / name)
        chosen = records[records[:, 0] < classes]
        kept.append(chosen[: max(0, n_train - found)].copy())
        found += len(chosen)
    if n_train > found:
        raise DataError(
            f"`n_train` must be at most {found:,}, as many as {folder} holds of the first {classes} classes, "
            f"got {n_train:,}: lower it, raise `classes`, or use the full files."
        )
    test = read_records(folder / TEST_FILE)
    return *_decode(np.concatenate(kept)), *_decode(test[test[:, 0] < classes])


def _decode(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = records[:, 1:].reshape(-1, *SHAPE) / 255.0
    return (pixels - MEAN[:, None, None]) / STD[:, None, None], records[:, 0].astype(np.int64)


def _candidates(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    return [folder for place in search_path(data_dir) for folder in (place / FOLDER, place)]


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def _project_root(start: Path) -> Path | None:
    """The nearest folder from `start` upwards with a pyproject.toml."""
    return next((folder for folder in (start, *start.parents) if (folder / "pyproject.toml").is_file()), None)


def _cache() -> list[Path]:
    """The folder for downloads; none on a machine without pooch, where nothing was ever downloaded."""
    try:
        import pooch
    except ImportError:
        return []
    return [Path(pooch.os_cache("cflows"))]
