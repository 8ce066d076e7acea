"""Data as arrays: `load("digits", n_train=300)`, `load("cifar10", n_train=1000, classes=4)`, `load("sorting", n_train=500)`.

`digits` ships with scikit-learn and needs no network; `cifar10` is read from local files, which `download_cifar10` can
fetch; `sorting` and `chebyshev` are computed.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cflows_core.errors import DataError
from cflows_core.problems.cifar10 import FILES, RECORD, SHAPE, find_cifar10, locate_cifar10, read_cifar10, search_path
from cflows_core.problems.download import download_cifar10
from cflows_core.problems.signature import Signature
from cflows_core.problems.synthetic import LENGTH, VOCABULARY, Arrays, chebyshev, sorting

__all__ = ["NAMES", "Dataset", "describe", "download_cifar10", "find_cifar10", "load", "n_classes", "signature"]

N_DIGITS = 1797
MOST_CLASSES = 10


@dataclass(frozen=True)
class Dataset:
    """Training and test examples.

    inputs: float64 [n, *input_shape], or int64 tokens; labels: int64 [n], 0 to n_classes − 1, or [n, n_answers] for the last positions of a
    sequence, or float64 [n, 1] where n_classes is 0: regression. test_inputs and test_labels likewise, possibly of length 0.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    n_classes: int
    description: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.inputs.shape[1:]


@dataclass(frozen=True)
class Kind:
    """What a data set is, known without reading it. classes: None as many as asked for, 0 regression; else as in `Signature`."""

    title: str
    input_shape: tuple[int, ...]
    classes: int | None = None
    vocabulary: int = 0
    n_answers: int = 0


KINDS = {
    "digits": Kind("scikit-learn's handwritten digits, 8×8", (1, 8, 8)),
    "cifar10": Kind("CIFAR-10 photographs, 32×32", SHAPE),
    "sorting": Kind("sequences of eight digits 0 to 3 to be sorted", (2 * LENGTH - 1,), VOCABULARY, VOCABULARY, LENGTH),
    "chebyshev": Kind("a Chebyshev polynomial on a grid", (1,), 0),
}
NAMES = tuple(KINDS)


def signature(name: str, n_outputs: int) -> Signature:
    """What a network with so many outputs is given and asked by a data set."""
    kind = KINDS[name]
    return Signature(kind.input_shape, n_outputs, kind.vocabulary, kind.n_answers)


def n_classes(name: str, classes: int) -> int:
    """How many classes a data set has when `classes` are asked for; 0: regression."""
    fixed = KINDS[name].classes
    return classes if fixed is None else fixed


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
    chebyshev (of degree `degree`) the points halfway between; the first `n_test` of them (default all). data_dir: where cifar10 lies
    (default: `cifar10.search_path`). Deterministic: no shuffling. Raises `DataError`.
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
    inputs, labels, test_inputs, test_labels = _read(name, n_train, classes, degree, data_dir)
    test_inputs, test_labels = test_inputs[:n_test], test_labels[:n_test]
    description = f"{KINDS[name].title}: {len(labels):,} training and {len(test_labels):,} test examples"
    if KINDS[name].classes is None:
        description += f" of {classes} classes"
    return Dataset(name, inputs, labels, test_inputs, test_labels, n_classes(name, classes), description)


def describe(name: str) -> str:
    """One line on what is found of a data set, and where; reads sizes only."""
    if name == "digits":
        found = importlib.util.find_spec("sklearn") is not None
        return f"{N_DIGITS:,} images, embedded in scikit-learn" if found else "not found: pip install scikit-learn"
    if name in ("sorting", "chebyshev"):
        return f"{KINDS[name].title}, computed"
    if name != "cifar10":
        raise DataError(f"Data must be one of {', '.join(NAMES)}, got {name!r}: choose one of these.")
    folder = find_cifar10()
    if folder is None:
        return "not found; looked in " + ", ".join(str(place) for place in search_path())
    counts = [(folder / file).stat().st_size // RECORD for file in FILES]
    return f"{sum(counts[:-1]):,} training and {counts[-1]:,} test images in {folder}"


def _read(name: str, n_train: int, classes: int, degree: int, data_dir: str | os.PathLike[str] | None) -> Arrays:
    if name == "digits":
        return _digits(n_train, classes)
    if name == "cifar10":
        return read_cifar10(locate_cifar10(data_dir), n_train, classes)
    return sorting(n_train) if name == "sorting" else chebyshev(n_train, degree)


def _digits(n_train: int, classes: int) -> Arrays:
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
