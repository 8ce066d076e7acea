"""Smoothing of a growing series: a Gaussian average over the steps, brought up to date for the price of its last few widths.

A centred average follows the curve without the delay of a running one, which would set it apart from the predictions that it is compared
with. Weights that would fall outside the series, or on a missing value, are left out and the others normalised (ours): repeating the last
value there, as an analysis of a finished run may, would let the end of a live curve jump with every oscillation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

REACH = 4  # widths beyond which a weight (below 4e-4 of the largest) is left out


def gaussian_average(values: np.ndarray, sigma: float) -> np.ndarray:
    """Normalised Gaussian average of `values` [n], NaN left out of the average and NaN where there was NaN; sigma in rows."""
    if sigma <= 0 or len(values) == 0:
        return values.copy()
    reach = int(REACH * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    centre = values[known].mean()  # subtracted, so that the transform's rounding is relative to the variations
    sums = _convolve(np.where(known, values - centre, 0.0), kernel)
    weights = _convolve(known.astype(float), kernel)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, centre + sums / weights, np.nan)


def _convolve(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`values` [n] convolved with a symmetric `kernel` [2r+1], the middle [n]: by transforms of blocks that overlap by 2r."""
    n, over = len(values), len(kernel) - 1
    if min(n, over) < 64:
        return np.convolve(values, kernel)[over // 2 :][:n]
    size = 1 << (8 * over).bit_length()
    new = size - over  # values of the average that a block gives
    padded = np.zeros(-(-n // new) * new + over)
    padded[over // 2 :][:n] = values
    blocks = np.fft.rfft(sliding_window_view(padded, size)[::new]) * np.fft.rfft(kernel, size)
    return np.fft.irfft(blocks, size)[:, over:].reshape(-1)[:n]


class Smoother:
    """The average of one growing series; `update` computes only what new rows can have changed. sigma: in rows."""

    def __init__(self, sigma: float):
        self.sigma = sigma
        self._n, self._room = 0, np.empty(0)  # the first n are known; room for more, so that a row more is not a copy of all

    @property
    def values(self) -> np.ndarray:
        """The average so far, [n]."""
        return self._room[: self._n]

    @property
    def reach(self) -> int:
        """Rows before the first new one whose average a new row changes."""
        return int(REACH * self.sigma + 0.5) if self.sigma > 0 else 0

    @property
    def first(self) -> int:
        """The first row that `update` has to see again: the averages that change reach back as far again."""
        return max(0, self._n - 2 * self.reach)

    def update(self, series: np.ndarray, breaks: Sequence[int] = (), first: int = 0) -> np.ndarray:
        """The average [n] of a series, of which the former call saw the beginning; `series`: its rows from `first` on, all but those
        before `self.first`.

        breaks: rows, ascending, at which something else begins (a change of the learning rate): no average reaches across, and the row
        itself is left out, so that the curve has a gap there.
        """
        old, n = self._n, first + len(series)
        if n > old:
            self._make_room(n)
            changed = max(0, old - self.reach)  # the first average that changes
            starts = [0, *(row for row in breaks if 0 < row < n), n]
            for start, stop in pairwise(starts):
                if stop > changed:
                    begin, context = max(changed, start), max(start, changed - self.reach)
                    average = gaussian_average(series[context - first : stop - first], self.sigma)
                    self._room[begin:stop] = average[begin - context :]
            self._room[[row for row in breaks if 0 < row < n]] = np.nan
        return self.values

    def _make_room(self, n: int) -> None:
        if n > len(self._room):
            self._room = np.concatenate([self.values, np.empty(n + n // 2 - self._n)])
        self._n = n
