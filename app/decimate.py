"""Which points of a long curve are drawn: the lowest and the highest value of every bucket of steps, so that no spike is lost.

A long run has more steps than a plot has pixels. The *head* of the drawn window is cut into buckets of equal width and each bucket
gives two points, its extremes in the order in which they occurred; the *tail* is drawn as it is, so that new steps are appended to
what a browser already has and nothing is sent twice. All curves of a table share the steps of these points: an extreme is drawn at the
beginning or in the middle of its bucket, at most one bucket (less than a pixel) from where it belongs; its value is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

MAX_POINTS = 2000


@dataclass(frozen=True)
class Plan:
    """Rows `start` to `head_stop` in buckets of `width` rows (the first may be shorter), rows `head_stop` to `stop` one by one."""

    start: int
    head_stop: int
    stop: int
    width: int

    @classmethod
    def make(cls, start: int, stop: int, *, keep: int = 0, max_points: int = MAX_POINTS) -> Plan:
        """A plan for rows `start` to `stop`: all of them, or half of `max_points` points, which leaves a growing run the other half.

        keep: rows at the end that must stay single, because their values may still change.
        """
        n = stop - start
        if n < max_points:
            return cls(start, start, stop, 1)
        keep = min(keep, max_points // 4)
        budget = max_points // 2 - keep
        head = n - keep
        width = 2
        while 2 * -(-head // width) > budget:
            width *= 2
        return cls(start, stop - keep, stop, width)

    @property
    def n_buckets(self) -> int:
        return -(-(self.head_stop - self.start) // self.width)

    @property
    def points(self) -> int:
        """Points that the plan draws."""
        return self.point(self.stop)

    def point(self, row: int) -> int:
        """Which of the drawn points is the single row `row` (of the tail)."""
        return 2 * self.n_buckets + row - self.head_stop

    def grown(self, stop: int) -> Plan:
        """The same plan with its tail extended to `stop`."""
        return replace(self, stop=stop)

    def steps(self, steps: np.ndarray) -> np.ndarray:
        """Steps [points] at which the points are drawn, from those [n] of the plan's rows."""
        head, tail = self._parts(steps, steps[0] if self.n_buckets else 0)
        return np.concatenate([head[:, [0, self.width // 2]].reshape(-1), tail])

    def values(self, values: np.ndarray) -> np.ndarray:
        """Values [points] of the points, from the values [n] of the plan's rows; NaN where a whole bucket is NaN."""
        if np.isnan(values).all():  # as many columns are: of flows or units that are not drawn
            return np.full(self.points, np.nan)
        head, tail = self._parts(values, np.nan)
        return np.concatenate([_extremes(head), tail])

    def _parts(self, column: np.ndarray, fill: float) -> tuple[np.ndarray, np.ndarray]:
        """The head of a column as [n_buckets, width], filled up in front, and its tail."""
        single = self.head_stop - self.start
        missing = np.full(self.n_buckets * self.width - single, fill, dtype=column.dtype)
        return np.concatenate([missing, column[:single]]).reshape(-1, self.width), column[single : self.stop - self.start]


def _extremes(buckets: np.ndarray) -> np.ndarray:
    """Lowest and highest value of each bucket [b, w], in the order of their occurrence: [2b]."""
    low = np.fmin.reduce(buckets, axis=1)
    high = np.fmax.reduce(buckets, axis=1)
    rising = (buckets == low[:, None]).argmax(axis=1) <= (buckets == high[:, None]).argmax(axis=1)
    return np.stack([np.where(rising, low, high), np.where(rising, high, low)], axis=1).reshape(-1)
