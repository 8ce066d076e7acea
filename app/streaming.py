"""From a growing history to what a browser has: one table of columns over the steps, appended to, and decimated when it grows too long.

All step plots read one Bokeh data source, so that news is one message. New rows are streamed; smoothed columns change before their end
too, and those points are patched: the newest with every message, the others, which change little, now and then. Only a new window, a new
run or a long growth sends everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource

from cflows_app.decimate import MAX_POINTS, Plan
from cflows_app.smoothing import Smoother
from cflows_core.config import RunConfig
from cflows_core.frames import STATUSES
from cflows_core.history import History
from cflows_core.optimizers import Optimizer
from cflows_core.schedules import schedule_from

SETTLING = STATUSES.index("settling")
AXIS = "axis.unit"  # the option that says what the horizontal axis counts: "step", or "time", the sum of η


@dataclass(frozen=True)
class Reading:
    """What a column is computed from: the run's history and configuration, and the viewer's `options` ("view.option" -> choice).

    moment: the step that the visitor looks back at, None for the newest.
    """

    history: History
    config: RunConfig
    options: dict[str, str]
    moment: int | None = None

    @property
    def places(self) -> np.ndarray:
        """Where each row stands on the horizontal axis, [n]: its step, or the optimizer's time until then."""
        return self.place(self.history.steps)

    def place(self, steps: Any) -> np.ndarray:
        """Where steps stand on the horizontal axis; beyond the newest one as far apart as before it."""
        if self.options.get(AXIS) != "time":
            return np.asarray(steps, dtype=float)
        last = int(self.history.steps[-1]) if len(self.history) else 0
        times = np.append(0.0, np.cumsum(self._step_sizes(last + 1)))
        steps = np.asarray(steps, dtype=float)
        return np.interp(steps, np.arange(last + 2), times) + np.maximum(steps - last - 1, 0) * (times[-1] - times[-2])

    def _step_sizes(self, n: int) -> np.ndarray:
        """η at the first n steps."""
        sizes = np.full(n, self.config.lr)
        for step, name, value in self.config.changes:
            if name == "lr":
                sizes[step:] = value
        return sizes * _factors(self.config.schedule, 1 << (n - 1).bit_length())[:n]

    @property
    def rows(self) -> int:
        """How many rows there were at the moment."""
        n = len(self.history)
        return n if self.moment is None else int(np.searchsorted(self.history.steps, self.moment, side="right"))

    def series(self, flow: str, name: str, mode: int | None = None) -> np.ndarray:
        """Values [n] of a series, or of one of its modes; NaN where there is none."""
        values = self.history.distance(flow) if name == "distance" else self.history.series(flow, name)
        if values.ndim == 1:
            return values if not mode else np.full(len(values), np.nan)
        mode = mode or 0
        return values[:, mode] if mode < values.shape[1] else np.full(len(values), np.nan)

    def unless_settling(self, flow: str, values: np.ndarray) -> np.ndarray:
        """`values` [n] with NaN while the flow is settling: what it says then is no prediction (math.md 4)."""
        return np.where(self.history.status(flow) == SETTLING, np.nan, values)

    @property
    def breaks(self) -> list[int]:
        """Rows at which something else begins: the flows, or the optimizer after a change."""
        config = self.config
        steps = sorted({config.warm_start, *(step for step, _, _ in config.changes)})
        return np.searchsorted(self.history.steps, steps).tolist()

    @property
    def threshold(self) -> np.ndarray:
        """The critical threshold c [n], which moves with β₁."""
        betas, rows = np.unique(self.changed("beta1"), return_inverse=True)
        return np.array([Optimizer.of(self.config.replace(beta1=float(beta))).threshold for beta in betas])[rows]

    def changed(self, field: str) -> np.ndarray:
        """The value [n] that a numeric field of the configuration had at each row."""
        steps = self.history.steps
        values = np.full(len(steps), float(getattr(self.config, field)))
        for step, name, value in self.config.changes:
            if name == field:
                values[steps >= step] = value
        return values


@lru_cache(maxsize=16)
def _factors(schedule: str, n: int) -> np.ndarray:
    """The schedule's factors on η at the first n steps."""
    factor = schedule_from(schedule)
    return np.fromiter(map(factor, range(n)), float, n)


@dataclass(frozen=True)
class Column:
    """A column of the table: its name, how to read it [n], and whether it is smoothed."""

    name: str
    read: Callable[[Reading], np.ndarray]
    smooth: bool = False


def _short(values: np.ndarray) -> list[float]:
    """With as many digits as single precision has, which the browser keeps; a list, as an array would be a message of its own."""
    return [float(f"{value:.8g}") for value in values]


class Table:
    """The table's data source and what of the history is in it. `sigma`: width of the smoothing, in steps."""

    def __init__(self, sigma: float, name: str = "table"):
        self.columns: dict[str, Column] = {}
        self.source = ColumnDataSource({"step": np.empty(0), "x": np.empty(0)}, name=name)
        self.sigma = sigma
        self._history: History | None = None
        self._content: object = None  # what, beside the rows, decides the values
        self._window: tuple[float, float] | None = None
        self._plan = Plan(0, 0, 0, 1)
        self._known = 0  # rows that there were when the smoothed columns were brought up to date the last time
        self._smoothers: dict[str, Smoother] = {}

    def add(self, column: Column) -> None:
        """Keep one more column."""
        self.columns[column.name] = column
        self.source.data[column.name] = np.empty(0, dtype=np.float32)

    def update(self, reading: Reading, window: tuple[float, float] | None = None) -> bool:
        """Bring the source up to date with the history; True if anything changed. window: the steps to show in detail, None for all."""
        content = (self.sigma, *sorted(reading.options.items()))
        renewed = content != self._content or not self._goes_on(reading.history)
        if renewed:
            self._smoothers.clear()
        start, stop = self._rows(reading, window)
        if renewed or window != self._window or start != self._plan.start:
            self._history, self._content, self._window = reading.history, content, window
            self._send_all(reading, start, stop)
            return True
        grown, reach = self._plan.grown(stop), self._reach(reading)
        if grown.points > MAX_POINTS or (not self._plan.points and grown.points):
            self._send_all(reading, start, stop)
            return True
        # All that later rows have changed is corrected when that is visible, or nothing else is new; till then the newest end, which would
        # be jagged otherwise: each of its points an average over other rows than its neighbour's.
        new, later = stop > self._plan.stop, len(reading.history) - self._known
        correct = later > (reach // 4 if new else 0) and self._known - reach < self._plan.stop
        if new or correct:
            values = list(self._values(reading))
            self._correct(values, self._known - reach if correct else self._plan.stop - reach // 2)
            self._known = len(reading.history) if correct else self._known
            if new:
                self._append(reading, values, grown)
        return new or correct

    def clear(self) -> bool:
        """Draw nothing any more; whether anything was drawn."""
        drawn = len(self.source.data["step"]) > 0
        if drawn:
            self.source.data = {name: np.empty(0, dtype=np.float32) for name in self.source.data}
        self._history, self._content, self._plan, self._known = None, None, Plan(0, 0, 0, 1), 0
        return drawn

    def _goes_on(self, history: History) -> bool:
        """Whether the history is the one that was sent, or a run that continues it and so need not be sent again."""
        if history is not self._history and self._history is not None and history.starts_with(self._history):
            self._history = history
        return history is self._history

    @staticmethod
    def _rows(reading: Reading, window: tuple[float, float] | None) -> tuple[int, int]:
        if window is None:
            return 0, len(reading.history)
        low, high = window
        margin = (high - low) / 2  # so that a pan shows curves at once
        start, stop = np.searchsorted(reading.places, [low - margin, high + margin])
        return int(start), int(stop)

    def _send_all(self, reading: Reading, start: int, stop: int) -> None:
        self._plan = plan = Plan.make(start, stop, keep=self._reach(reading))
        steps = plan.steps(reading.history.steps).astype(float)
        data: dict[str, np.ndarray] = {"step": steps, "x": reading.place(steps)}
        for column, values in self._values(reading):
            data[column.name] = plan.values(values).astype(np.float32)
        self.source.data = data  # type: ignore[assignment]
        self._known = len(reading.history)

    def _append(self, reading: Reading, values: list[tuple[Column, np.ndarray]], grown: Plan) -> None:
        old, self._plan = self._plan, grown
        steps = reading.history.steps[old.stop : grown.stop]
        fresh = {"step": steps.tolist(), "x": reading.place(steps).tolist()}
        for column, known in values:
            fresh[column.name] = _short(known[old.stop : grown.stop])
        self.source.stream(fresh)  # type: ignore[arg-type]

    def _correct(self, values: list[tuple[Column, np.ndarray]], first: int) -> None:
        """Send the smoothed columns again, as they are now, from row `first` to the last one sent."""
        first, stop = max(self._plan.head_stop, first), self._plan.stop
        points = slice(self._plan.point(first), self._plan.point(stop))
        smooth = [(column.name, known[first:stop]) for column, known in values if column.smooth]
        patches = {name: [(points, _short(known))] for name, known in smooth if np.isfinite(known).any()}
        if patches:
            self.source.patch(patches)  # type: ignore[arg-type]

    def _values(self, reading: Reading) -> Iterator[tuple[Column, np.ndarray]]:
        breaks = reading.breaks
        for column in self.columns.values():
            values = column.read(reading)
            if column.smooth:
                smoother = self._smoothers.setdefault(column.name, Smoother(self.sigma / reading.config.record_every))
                values = smoother.update(values, breaks)
            yield column, values

    def _reach(self, reading: Reading) -> int:
        return Smoother(self.sigma / reading.config.record_every).reach
