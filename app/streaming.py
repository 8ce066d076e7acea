"""From a growing history to what a browser has: one table of columns over the steps, appended to, and decimated when it grows too long.

All step plots read one Bokeh data source, so that news is one message. New rows are streamed; smoothed columns change before their end
too, and those points are patched: the newest with every message, the others, which change little, now and then. Only a new window, a new
run or a long growth sends everything again. What is sent is computed of the rows that it shows, so that news costs the same however long
the run is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from bokeh.core.property.validation import validate
from bokeh.core.serialization import Serializable, Serializer
from bokeh.models import ColumnDataSource

from cflows_app.decimate import MAX_POINTS, Plan
from cflows_app.once import once
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

    moment: the step that the visitor looks back at, None for the newest. part: the n rows of the history that are to be computed.
    """

    history: History
    config: RunConfig
    options: dict[str, str]
    moment: int | None = None
    part: slice = field(default_factory=lambda: slice(None))

    def of(self, start: int, stop: int) -> Reading:
        """The same of the rows `start` to `stop` only."""
        return replace(self, part=slice(start, stop))

    @property
    def steps(self) -> np.ndarray:
        """The optimizer step of each row, [n]."""
        return self.history.steps[self.part]

    @property
    def places(self) -> np.ndarray:
        """Where each row stands on the horizontal axis, [n]: its step, or the optimizer's time until then."""
        return self.place(self.steps)

    def place(self, steps: Any) -> np.ndarray:
        """Where steps stand on the horizontal axis; beyond the newest one as far apart as before it."""
        if self.options.get(AXIS) != "time":
            return np.asarray(steps, dtype=float)
        last = int(self.history.steps[-1]) if len(self.history) else 0
        times = _times(self.config.lr, self.config.changes, self.config.schedule, 1 << last.bit_length())[: last + 2]
        steps = np.asarray(steps, dtype=float)
        return np.interp(steps, np.arange(last + 2), times) + np.maximum(steps - last - 1, 0) * (times[-1] - times[-2])

    @property
    def rows(self) -> int:
        """How many rows there were at the moment."""
        n = len(self.history)
        return n if self.moment is None else int(np.searchsorted(self.history.steps, self.moment, side="right"))

    def series(self, flow: str, name: str, mode: int | None = None) -> np.ndarray:
        """Values [n] of a series, or of one of its modes; NaN where there is none."""
        values = (self.history.distance(flow) if name == "distance" else self.history.series(flow, name))[self.part]
        if values.ndim == 1:
            return values if not mode else self.nothing
        mode = mode or 0
        return values[:, mode] if mode < values.shape[1] else self.nothing

    @property
    def nothing(self) -> np.ndarray:
        """NaN [n]."""
        return np.full(len(self.steps), np.nan)

    def unless_settling(self, flow: str, values: np.ndarray) -> np.ndarray:
        """`values` [n] with NaN while the flow is settling: what it says then is no prediction (math.md 4)."""
        return np.where(self.history.status(flow)[self.part] == SETTLING, np.nan, values)

    @property
    def breaks(self) -> list[int]:
        """Rows at which something else begins: the flows, or the optimizer after a change."""
        config = self.config
        steps = sorted({config.warm_start, *(step for step, _, _ in config.changes)})
        return np.searchsorted(self.history.steps, steps).tolist()

    @property
    def threshold(self) -> np.ndarray:
        """The critical threshold c [n], which moves with β₁."""
        return self._of_changed("beta1", partial(_threshold, self.config.optimizer))

    def changed(self, name: str) -> np.ndarray:
        """The value [n] that a numeric field of the configuration had at each row."""
        return self._of_changed(name, float)

    def _of_changed(self, name: str, value: Callable[[Any], float]) -> np.ndarray:
        """`value` [n] of what a field was at each row."""
        steps = self.steps
        values = np.full(len(steps), value(getattr(self.config, name)))
        for step, changed, new in self.config.changes:
            if changed == name:
                values[np.searchsorted(steps, step) :] = value(new)
        return values


@lru_cache(maxsize=256)
def _threshold(optimizer: str, beta1: float) -> float:
    return Optimizer(optimizer, lr=1.0, beta1=beta1).threshold


@lru_cache(maxsize=16)
def _times(lr: float, changes: tuple[tuple[int, str, Any], ...], schedule: str, n: int) -> np.ndarray:
    """The optimizer's time at the first n + 1 steps: the sum of η until then."""
    sizes = np.full(n, lr)
    for step, name, value in changes:
        if name == "lr":
            sizes[step:] = value
    return np.append(0.0, np.cumsum(sizes * _factors(schedule, n)))


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


def single(values: np.ndarray) -> np.ndarray:
    """In single precision, which the browser keeps; what is larger, after a divergence, is infinite and not drawn."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


class Values(list[float], Serializable):
    """Numbers for a message, as a list: an array would be a message of its own. Bokeh alone would look at every one of them for models."""

    def to_serializable(self, serializer: Serializer) -> list[Any]:
        written = self.__dict__.get("written")
        if written is None:  # else for another viewer
            missing = serializer.encode(math.nan)
            written = [value if math.isfinite(value) else missing if math.isnan(value) else serializer.encode(value) for value in self]
            self.written = written
        return written


def short(values: np.ndarray) -> Values:
    """Numbers for a message, with as many digits as single precision has, which the browser keeps."""
    return Values(float(f"{value:.8g}") for value in values)


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
            self._correct(reading, self._known - reach if correct else self._plan.stop - reach // 2)
            self._known = len(reading.history) if correct else self._known
            if new:
                self._append(reading, grown)
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
        steps = plan.steps(reading.of(start, stop).steps).astype(float)
        data: dict[str, np.ndarray] = {"step": steps, "x": reading.place(steps)}
        for column in self.columns.values():
            data[column.name] = single(plan.values(self._read(column, reading, start, stop)))
        self.source.data = data  # type: ignore[assignment]
        self._known = len(reading.history)

    def _append(self, reading: Reading, grown: Plan) -> None:
        old, self._plan = self._plan, grown

        def fresh() -> dict[str, Values]:
            steps = reading.of(old.stop, grown.stop).steps
            places = {"step": Values(steps.tolist()), "x": Values(reading.place(steps).tolist())}
            return places | {name: short(self._read(column, reading, old.stop, grown.stop)) for name, column in self.columns.items()}

        with validate(False):  # of all columns, from the first row on
            self.source.stream(self._once(reading, ("fresh", old.stop, grown.stop), fresh))  # type: ignore[arg-type]

    def _correct(self, reading: Reading, first: int) -> None:
        """Send the smoothed columns again, as they are now, from row `first` to the last one sent."""
        first, stop = max(self._plan.head_stop, first), self._plan.stop

        def smooth() -> dict[str, Values]:
            read = {name: self._read(column, reading, first, stop) for name, column in self.columns.items() if column.smooth}
            return {name: short(values) for name, values in read.items() if np.isfinite(values).any()}

        points = slice(self._plan.point(first), self._plan.point(stop))
        if known := self._once(reading, ("smooth", first, stop), smooth):
            with validate(False):
                self.source.patch({name: [(points, values)] for name, values in known.items()})  # type: ignore[arg-type]

    def _once(self, reading: Reading, what: tuple[Any, ...], make: Callable[[], dict[str, Values]]) -> dict[str, Values]:
        """The same for all tables with these columns and this content: a column's name says what it is read from."""
        return once(reading.history, (what, self._content, reading.config, *self.columns), make)

    def _read(self, column: Column, reading: Reading, start: int, stop: int) -> np.ndarray:
        """A column's values of the rows `start` to `stop`."""
        if not column.smooth:
            return column.read(reading.of(start, stop))
        smoother = self._smoothers.setdefault(column.name, Smoother(self.sigma / reading.config.record_every))
        first = smoother.first
        return smoother.update(column.read(reading.of(first, len(reading.history))), reading.breaks, first)[start:stop]

    def _reach(self, reading: Reading) -> int:
        return Smoother(self.sigma / reading.config.record_every).reach
