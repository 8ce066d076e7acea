"""Data: what is read, where it is found, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest

from cflows_core.errors import DataError
from cflows_core.problems import datasets
from cflows_core.problems.cifar10 import FILES, FOLDER, read_records, search_path

RECORD = 3073
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def one_sentence(error: BaseException) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# Digits


def test_digits_are_the_embedded_ones_in_order() -> None:
    from sklearn.datasets import load_digits

    images = load_digits().images
    data = datasets.load("digits", n_train=300)
    assert data.inputs.shape == (300, 1, 8, 8)
    assert data.inputs.dtype == np.float64
    assert data.labels.dtype == np.int64
    assert (data.n_classes, data.input_shape, data.name) == (10, (1, 8, 8), "digits")
    np.testing.assert_array_equal(data.inputs[:, 0], images[:300] / 16 - 0.3)
    np.testing.assert_array_equal(data.test_inputs[:, 0], images[300:] / 16 - 0.3)
    assert data.inputs.min() == -0.3
    assert data.inputs.max() == 0.7
    assert "300 training and 1,497 test examples of 10 classes" in data.description


def test_digits_of_a_few_classes() -> None:
    data = datasets.load("digits", n_train=50, classes=2, n_test=20)
    assert set(data.labels) == {0, 1}
    assert len(data.test_labels) == 20
    everything = datasets.load("digits", n_train=360, classes=2)
    assert everything.test_inputs.shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "mnist"}, "'mnist'"),
        ({"n_train": 0}, "got 0"),
        ({"n_train": 1798}, "at most 1,797"),
        ({"n_train": 361, "classes": 2}, "at most 360"),
        ({"classes": 1}, "got 1"),
        ({"classes": 11}, "got 11"),
        ({"n_test": -1}, "got -1"),
    ],
)
def test_refusals_are_one_sentence(arguments: dict, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        datasets.load(**{"name": "digits", "n_train": 10, **arguments})
    one_sentence(caught.value)


# CIFAR-10 files


def test_cifar10_is_decoded_as_the_format_says(tmp_path: Path, batches: dict[str, bytes]) -> None:
    """Against the format read with struct: record i, channel c, row y, column x is byte 1 + 1024c + 32y + x."""
    files = batches
    write(tmp_path / FOLDER, files)
    data = datasets.load("cifar10", n_train=30, data_dir=tmp_path)
    train = b"".join(files[name] for name in FILES[:5])
    assert data.labels.tolist() == [train[i * RECORD] for i in range(30)]
    assert data.inputs.shape == (30, 3, 32, 32)
    assert data.inputs.dtype == np.float64
    for example, channel, row, column in ((0, 0, 0, 0), (7, 1, 3, 31), (29, 2, 31, 5)):
        (pixel,) = struct.unpack_from("B", train, example * RECORD + 1 + 1024 * channel + 32 * row + column)
        expected = (pixel / 255 - MEAN[channel]) / STD[channel]
        assert data.inputs[example, channel, row, column] == pytest.approx(expected, rel=1e-12)
    assert data.test_labels.tolist() == [files[FILES[5]][i * RECORD] for i in range(6)]


def test_cifar10_keeps_the_first_classes_over_the_batches_in_order(tmp_path: Path, batches: dict[str, bytes]) -> None:
    write(tmp_path / FOLDER, batches)
    data = datasets.load("cifar10", n_train=11, classes=4, data_dir=tmp_path)
    assert data.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]  # labels run 0 to 29, the last digit counts
    assert data.test_labels.tolist() == [0, 1, 2, 3]
    assert data.n_classes == 4
    everything = datasets.load("cifar10", n_train=30, data_dir=tmp_path)
    np.testing.assert_array_equal(data.inputs, everything.inputs[everything.labels < 4][:11])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files: files.update({FILES[2]: files[FILES[2]][:-1]}), "multiple of 3,073 bytes, got 18,437"),
        (lambda files: files.update({FILES[5]: b""}), "got 0"),
        (lambda files: files.update({FILES[4]: b"\x0a" + files[FILES[4]][1:]}), "got 10 in record 0"),
        (lambda files: files.pop(FILES[3]), "without data_batch_4.bin"),
    ],
)
def test_damaged_cifar10_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], object], says: str, batches: dict[str, bytes]
) -> None:
    files = batches
    change(files)
    write(tmp_path / FOLDER, files)
    with pytest.raises(DataError, match=says) as caught:
        datasets.load("cifar10", n_train=1, data_dir=tmp_path)
    one_sentence(caught.value)


def test_more_examples_than_there_are(tmp_path: Path, batches: dict[str, bytes]) -> None:
    write(tmp_path / FOLDER, batches)
    with pytest.raises(DataError, match=r"at most 12.* first 4 classes.* got 13") as caught:
        datasets.load("cifar10", n_train=13, classes=4, data_dir=tmp_path)
    one_sentence(caught.value)


# Where CIFAR-10 is found


def test_nothing_found_says_where_it_looked(nowhere: Path) -> None:
    assert datasets.find_cifar10() is None
    assert "not found" in datasets.describe("cifar10")
    with pytest.raises(DataError, match=r"cache.*CFLOWS_DATA_DIR") as caught:
        datasets.load("cifar10", n_train=1)
    one_sentence(caught.value)


def test_argument_before_variable_before_project_before_cache(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, batches: dict[str, bytes]
) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("CFLOWS_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: nowhere / "cache")
    project = nowhere / "project" / "notebooks"
    project.mkdir(parents=True)
    (project.parent / "pyproject.toml").touch()
    monkeypatch.chdir(project)

    cache = write(nowhere / "cache" / FOLDER, batches)
    assert datasets.find_cifar10(nowhere / "cache") == cache
    assert search_path()[-1] == nowhere / "cache"
    shared = write(nowhere / "shared" / "data" / FOLDER, batches)
    assert datasets.find_cifar10() == shared
    variable = write(nowhere / "elsewhere" / FOLDER, batches)
    monkeypatch.setenv("CFLOWS_DATA_DIR", str(variable.parent))
    assert datasets.find_cifar10() == variable
    assert datasets.describe("cifar10") == f"30 training and 6 test images in {variable}"
    assert datasets.find_cifar10(cache) == cache  # the folder itself will do
    assert datasets.find_cifar10(nowhere) is None  # and nothing else is looked at then


def test_the_cache_is_the_last_place(nowhere: Path, batches: dict[str, bytes]) -> None:
    cache = write(nowhere / "cache" / FOLDER, batches)
    assert datasets.find_cifar10() == cache


def test_describe_digits() -> None:
    assert datasets.describe("digits").startswith("1,797 images")
    assert datasets.NAMES == ("digits", "cifar10", "sorting", "chebyshev")
    with pytest.raises(DataError, match="'mnist'"):
        datasets.describe("mnist")


def test_the_real_images() -> None:
    folder = datasets.find_cifar10()
    if folder is None:
        pytest.skip("CIFAR-10 not found: put it at ../shared/data, or name its place in CFLOWS_DATA_DIR")
    sizes = [len(read_records(folder / name)) for name in FILES]
    assert set(sizes) <= {761, 10_000}
    data = datasets.load("cifar10", n_train=1000, classes=4)
    assert set(data.labels) == {0, 1, 2, 3}
    # Statistics of the full set, seen on a thousand images: within a tenth and a fifth of a deviation.
    np.testing.assert_allclose(data.inputs.std(axis=(0, 2, 3)), 1, atol=0.1)
    np.testing.assert_allclose(data.inputs.mean(axis=(0, 2, 3)), 0, atol=0.2)
    # Neighbouring pixels of a photograph agree; a wrong layout would destroy this.
    rows = np.corrcoef(data.inputs[:, :, :, :-1].ravel(), data.inputs[:, :, :, 1:].ravel())[0, 1]
    columns = np.corrcoef(data.inputs[:, :, :-1].ravel(), data.inputs[:, :, 1:].ravel())[0, 1]
    assert min(rows, columns) > 0.9
