"""Data as arrays: `load("digits", n_train=300)`, `load("cifar10", n_train=1000, classes=4)`, `load("sorting", n_train=500)`.

`digits` ships with scikit-learn and needs no network; `cifar10` is read from local files, which `download_cifar10` can
fetch; `sorting` and `chebyshev` are computed.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cflows_core.errors import DataError
from cflows_core.problems import synthetic
from cflows_core.problems.cifar10 import FILES, RECORD, find_cifar10, locate_cifar10, read_cifar10, search_path
from cflows_core.problems.download import download_cifar10
from cflows_core.problems.signature import Signature

__all__ = ["NAMES", "Dataset", "describe", "download_cifar10", "find_cifar10", "load"]

DIGITS = "scikit-learn's handwritten digits, 8×8"
N_DIGITS = 1797
MOST_CLASSES = 10


@dataclass(frozen=True)
class Dataset:
    """Training and test examples.

    inputs: float64 [n, *input_shape], or int64 tokens below `vocabulary` where there is one; labels: int64 [n], 0 to n_classes − 1, or
    [n, n_answers] for the last positions of a sequence, or float64 [n, 1] where n_classes is 0: regression. test_inputs and test_labels
    likewise, possibly of length 0.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    n_classes: int
    input_shape: tuple[int, ...]
    description: str
    vocabulary: int = 0
    n_answers: int = 0

    def signature(self, n_outputs: int) -> Signature:
        """What a network with so many outputs is given and asked."""
        return Signature(self.input_shape, n_outputs, self.vocabulary, self.n_answers)


def load(
    name: str,
    *,
    n_train: int,
    classes: int | None = None,
    degree: int = 3,
    data_dir: str | os.PathLike[str] | None = None,
    n_test: int | None = None,
) -> Dataset:
    """The first `n_train` examples and test examples: of images the first `classes` classes (default all ten).

    Test examples: for digits those after the training examples, for cifar10 its test batch, for sorting the next thousand sequences, for
    chebyshev (of degree `degree`) the points halfway between; the first `n_test` of them (default all). data_dir: where cifar10 lies (default: `cifar10.search_path`). Deterministic: no shuffling. Raises
    `DataError`.
    """
    classes = MOST_CLASSES if classes is None else classes
    if name not in NAMES:
        raise DataError(
            f"Data must be one of {', '.join(NAMES)}, got {name!r}: choose one of these, or make an Objective of your own data."
        )
    if n_train < 1:
        raise DataError(f"`n_train` must be at least 1, got {n_train}: typical are 100 to 1000.")
    if not 2 <= classes <= MOST_CLASSES:
        raise DataError(f"`classes` must be 2 to {MOST_CLASSES}, got {classes}: give the number of classes to keep.")
    if n_test is not None and n_test < 0:
        raise DataError(f"`n_test` must be 0 or more, got {n_test}: leave it out for all test examples.")
    if name in _READERS:
        arrays = _READERS[name](n_train, classes, data_dir)
        title = {"digits": DIGITS, "cifar10": "CIFAR-10 photographs, 32×32"}[name]
        asked = {"n_classes": classes}
        of = f" of {classes} classes"
    elif name == "sorting":
        arrays, title, of = synthetic.sorting(n_train), synthetic.TITLES[name], ""
        asked = {"n_classes": synthetic.VOCABULARY, "vocabulary": synthetic.VOCABULARY, "n_answers": synthetic.LENGTH}
    else:
        arrays, title, of = synthetic.chebyshev(n_train, degree), synthetic.TITLES[name], f" of degree {degree}"
        asked = {"n_classes": 0}
    inputs, labels, test_inputs, test_labels = arrays
    test_inputs, test_labels = test_inputs[:n_test], test_labels[:n_test]
    description = f"{title}: {len(labels):,} training and {len(test_labels):,} test examples{of}"
    return Dataset(name, inputs, labels, test_inputs, test_labels, input_shape=inputs.shape[1:], description=description, **asked)


def describe(name: str) -> str:
    """One line on what is found of a data set, and where; reads sizes only."""
    if name == "digits":
        found = importlib.util.find_spec("sklearn") is not None
        return f"{N_DIGITS:,} images, embedded in scikit-learn" if found else "not found: pip install scikit-learn"
    if name in synthetic.TITLES:
        return f"{synthetic.TITLES[name]}, computed"
    if name != "cifar10":
        raise DataError(f"Data must be one of {', '.join(NAMES)}, got {name!r}: choose one of these.")
    folder = find_cifar10()
    if folder is None:
        return "not found; looked in " + ", ".join(str(place) for place in search_path())
    counts = [(folder / file).stat().st_size // RECORD for file in FILES]
    return f"{sum(counts[:-1]):,} training and {counts[-1]:,} test images in {folder}"


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _digits(n_train: int, classes: int, data_dir: str | os.PathLike[str] | None) -> _Arrays:
    pixels, labels = _all_digits()
    keep = labels < classes
    inputs, labels = pixels[keep].reshape(-1, 1, 8, 8) / 16 - 0.3, labels[keep].astype(np.int64)
    if n_train > len(labels):
        raise DataError(
            f"`n_train` must be at most {len(labels):,}, as many as there are digits of {classes} classes, got {n_train:,}: lower it."
        )
    return inputs[:n_train], labels[:n_train], inputs[n_train:], labels[n_train:]


def _all_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [1797, 64], 0 to 16, and labels."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.origin:
        raise DataError("The digits need the package scikit-learn, got none installed: pip install scikit-learn.")
    # Its own file, read as its own loader does: 0.02 s, where importing scikit-learn first takes seconds.
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        with gzip.open(file, "rt") as lines:
            table = np.loadtxt(lines, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    pixels, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return pixels, labels


def _cifar10(n_train: int, classes: int, data_dir: str | os.PathLike[str] | None) -> _Arrays:
    return read_cifar10(locate_cifar10(data_dir), n_train, classes)


_READERS: dict[str, Callable[[int, int, str | os.PathLike[str] | None], _Arrays]] = {
    "digits": _digits,
    "cifar10": _cifar10,
}
NAMES = (*_READERS, *synthetic.TITLES)
