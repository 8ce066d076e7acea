"""Computed data: sequences with their sorted answers, and Chebyshev polynomials on a grid."""

from __future__ import annotations

import numpy as np
import pytest

from cflows_core.errors import DataError
from cflows_core.problems import datasets, synthetic
from cflows_core.problems.signature import Signature
from tests.core.problems.networks import one_sentence

EVERYTHING = 4**8
LARGEST = EVERYTHING - 1000


def test_answers_are_the_sorted_questions() -> None:
    data = datasets.load("sorting", n_train=200)
    assert data.inputs.shape == (200, 15)
    assert data.inputs.dtype == data.labels.dtype == np.int64
    assert (data.test_inputs.shape, data.test_labels.shape) == ((1000, 15), (1000, 8))
    assert datasets.signature("sorting", 4) == Signature((15,), 4, vocabulary=4, n_answers=8)
    assert "200 training and 1,000 test examples" in data.description
    for inputs, labels in ((data.inputs, data.labels), (data.test_inputs, data.test_labels)):
        for row, answer in zip(inputs.tolist(), labels.tolist(), strict=True):
            assert answer == sorted(row[:8])
            # One sequence of 16 tokens, shifted by one: the model is given each answer only after it.
            assert row[8:] == answer[:-1]
    assert set(np.unique(data.inputs)) == {0, 1, 2, 3}
    assert len(datasets.load("sorting", n_train=1, n_test=7).test_labels) == 7


def test_every_sequence_comes_once_in_an_order_that_does_not_depend_on_how_many_are_asked_for() -> None:
    inputs, _, test_inputs, _ = synthetic.sorting(LARGEST)
    everything = np.concatenate([inputs, test_inputs])[:, :8]
    codes = everything @ 4 ** np.arange(8)
    assert len(codes) == EVERYTHING
    np.testing.assert_array_equal(np.sort(codes), np.arange(EVERYTHING))
    assert abs(np.corrcoef(codes[1:], codes[:-1])[0, 1]) < 4 / np.sqrt(EVERYTHING)  # shuffled
    for n in (1, 50):
        few, _, test, _ = synthetic.sorting(n)
        np.testing.assert_array_equal(np.concatenate([few, test])[:, :8], everything[: n + 1000])


def test_sorting_leaves_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - it is this one that must not move
    synthetic.sorting(5)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("degree", [1, 3, 4, 12])
def test_values_are_chebyshevs(degree: int) -> None:
    data = datasets.load("chebyshev", n_train=41, degree=degree)
    polynomial = np.polynomial.Chebyshev.basis(degree)
    for x, y in ((data.inputs, data.labels), (data.test_inputs, data.test_labels)):
        assert x.shape == y.shape == (len(x), 1)
        assert x.dtype == y.dtype == np.float64
        np.testing.assert_allclose(y, polynomial(x), rtol=0, atol=1e-12)
    assert (data.inputs[0, 0], data.inputs[-1, 0]) == (-1, 1)
    np.testing.assert_allclose(np.diff(data.inputs[:, 0]), 2 / 40, rtol=1e-12)
    np.testing.assert_allclose(data.test_inputs, data.inputs[:-1] + 1 / 40, rtol=0, atol=1e-15)
    assert (data.n_classes, data.input_shape) == (0, (1,))
    assert datasets.signature("chebyshev", 1) == Signature((1,), 1)
    assert "41 training and 40 test examples" in data.description


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "sorting", "n_train": LARGEST + 1}, "at most 64,536, .*got 64,537"),
        ({"name": "sorting", "n_train": 0}, "got 0"),
        ({"name": "chebyshev", "degree": 0}, "1 to 12, got 0"),
        ({"name": "chebyshev", "degree": 13}, "1 to 12, got 13"),
        ({"name": "chebyshev", "n_train": 1}, "two ends, got 1"),
    ],
)
def test_refusals_are_one_sentence(arguments: dict, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        datasets.load(**{"n_train": 10, **arguments})
    one_sentence(caught.value)


def test_described_without_being_made() -> None:
    assert datasets.describe("sorting").endswith("computed")
    assert datasets.describe("chebyshev").endswith("computed")
