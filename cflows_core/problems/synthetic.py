"""Data that is computed: a sequence to be sorted, and a polynomial to be fitted."""

from __future__ import annotations

import numpy as np

from cflows_core.errors import DataError

VOCABULARY, LENGTH = 4, 8
N_SORTING_TEST = 1000
HIGHEST_DEGREE = 12

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def sorting(n_train: int) -> Arrays:
    """(inputs [n, 15], labels [n, 8], test inputs, test labels), int64: a causal model reads a sequence and goes on with it sorted.

    Karpathy's toy task (minGPT, 2020): question and answer are one sequence of 16 tokens; inputs are all but the last of it, labels the
    tokens after the last eight inputs. A fixed shuffle of all 4⁸ sequences, so that none is drawn twice; test sequences are the thousand
    after the training ones. Raises `DataError`.
    """
    everything = VOCABULARY**LENGTH
    if n_train > everything - N_SORTING_TEST:
        raise DataError(
            f"`n_train` must be at most {everything - N_SORTING_TEST:,}, as many as there are sequences to sort, got {n_train:,}: lower it."
        )
    # The legacy generator: the only one whose numbers NumPy promises never to change.
    codes = np.random.RandomState(0).permutation(everything)[: n_train + N_SORTING_TEST]
    question = codes[:, None] // VOCABULARY ** np.arange(LENGTH) % VOCABULARY
    answer = np.sort(question, axis=1)
    inputs, labels = np.concatenate([question, answer[:, :-1]], axis=1).astype(np.int64), answer.astype(np.int64)
    return inputs[:n_train], labels[:n_train], inputs[n_train:], labels[n_train:]


def chebyshev(n_train: int, degree: int) -> Arrays:
    """(inputs [n, 1], values [n, 1], test inputs, test values), float64: T_d on an even grid over [−1, 1].

    T_d(x) = cos(d arccos x), after Cohen et al. (2021). Test points lie halfway between the training points. Raises `DataError`.
    """
    if not 1 <= degree <= HIGHEST_DEGREE:
        raise DataError(f"`degree` must be 1 to {HIGHEST_DEGREE}, got {degree}: 3 to 5 train well.")
    if n_train < 2:
        raise DataError(f"`n_train` must be at least 2 for a grid with two ends, got {n_train}: 20 to 200 are usual.")
    grid = np.linspace(-1, 1, n_train)[:, None]
    between = (grid[1:] + grid[:-1]) / 2
    return grid, np.cos(degree * np.arccos(grid)), between, np.cos(degree * np.arccos(between))
