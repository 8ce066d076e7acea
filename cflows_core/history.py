"""The history of a run in columns, one growing array a series: long runs fit in memory, and views slice without copies.

With every series there is, a step takes 1.2 kB of numbers here, and 6.4 kB as the objects of a `Frame`. So workers send
columns and viewers read columns; `history.frames` gives the same rows as frames, made when asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cflows_core.frames import SERIES, STATUSES, Event, Frame, Value

if TYPE_CHECKING:
    from cflows_core.store import Run

_CODES = {status: code for code, status in enumerate(STATUSES)}
_ROW = ("row",)
_FIRST_CAPACITY = 256


class History:
    """All frames of a run as columns. Rows are only ever appended; a *cursor* is the number of rows a reader has seen.

    >>> history = History()
    >>> history.append([Frame(step=0, wall_time=0.0, gradients=1.0, flows={"discrete": {"loss": 2.5}})])
    >>> history.series("discrete", "loss").tolist(), history.since(0)["discrete.loss"].tolist()
    ([2.5], [2.5])
    """

    def __init__(self, frames: Iterable[Frame] = ()):
        self._n = 0
        self._columns: dict[tuple[str, ...], np.ndarray] = {
            (*_ROW, "step"): np.empty(_FIRST_CAPACITY, dtype=np.int64),
            (*_ROW, "wall_time"): np.empty(_FIRST_CAPACITY),
            (*_ROW, "gradients"): np.empty(_FIRST_CAPACITY),
        }
        self._events: list[Event] = []
        self._event_rows: list[int] = []  # the row whose frame told it, ascending
        self._name = object()
        self._copied: tuple[object, int] = (None, 0)  # the history whose first rows these are, and how many
        self.append(frames)

    # Reading
    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> np.ndarray:
        """Optimizer step of each row, int64 [n]."""
        return self._view((*_ROW, "step"), 0)

    @property
    def last(self) -> int:
        """Optimizer step of the last row, -1 if there is none."""
        return int(self._columns[(*_ROW, "step")][self._n - 1]) if self._n else -1

    @property
    def wall_time(self) -> np.ndarray:
        """Seconds of computing since the run began, [n]."""
        return self._view((*_ROW, "wall_time"), 0)

    @property
    def gradients(self) -> np.ndarray:
        """Gradient-equivalents spent by all flows so far, [n]."""
        return self._view((*_ROW, "gradients"), 0)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The (flow, series) pairs that have been given so far."""
        return tuple((key[1], key[2]) for key in self._columns if key[0] == "series")

    @property
    def flows(self) -> tuple[str, ...]:
        """The flows that have been given so far, in the order of their appearance."""
        return tuple(dict.fromkeys(flow for flow, _ in self.names))

    def series(self, flow: str, name: str) -> np.ndarray:
        """Values of a series, [n] or [n, dim], read-only; NaN where a step gave none, NaN [n] if none has yet."""
        return self._view(("series", flow, name), 0)

    def distance(self, flow: str) -> np.ndarray:
        """Euclidean distance of a flow to the discrete centre, [n], NaN where there is none. Read-only."""
        return self._view(("distance", flow), 0)

    def status(self, flow: str) -> np.ndarray:
        """Status of a flow as codes into `frames.STATUSES`, int8 [n]; 0 where the flow has not started. Read-only."""
        key = ("status", flow)
        return self._view(key, 0) if key in self._columns else np.zeros(self._n, dtype=np.int8)

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything the run has told, in order."""
        return tuple(self._events)

    @property
    def changes(self) -> tuple[Event, ...]:
        """The events of kind "change": where to mark the plots."""
        return tuple(event for event in self._events if event.kind == "change")

    def since(self, cursor: int) -> dict[str, np.ndarray]:
        """Rows from `cursor` on, as read-only arrays of equal length.

        Keys: "step", "wall_time", "gradients", "<flow>.<series>", "<flow>.distance" and "<flow>.status" (codes). A
        reader's next cursor is its cursor plus the length of "step".
        """
        return {_label(key): self._view(key, cursor) for key in self._columns}

    def columns(self) -> dict[str, np.ndarray]:
        """All rows as a store names them: path ("flow/series", or a root coordinate) -> values [n] or [n, dim], read-only."""
        return {_label(key, "/"): self._view(key, 0) for key in self._columns}

    @property
    def frames(self) -> Frames:
        """The rows as `Frame` objects: a read-only sequence that makes each frame when it is asked for."""
        return Frames(self)

    def starts_with(self, other: History) -> bool:
        """Whether the first rows are those of `other`, to the bit: a run that goes on, or a fork."""
        n, (source, copied) = len(other), self._copied
        if source is other._name and n <= copied:
            return True
        return len(self) >= n and all(
            key in self._columns and self._columns[key].shape[1:] == column.shape[1:]
            and np.array_equal(self._columns[key][:n], column[:n], equal_nan=column.dtype.kind == "f")
            for key, column in other._columns.items()
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of memory held by the columns."""
        return sum(column.nbytes for column in self._columns.values())

    # Writing
    def append(self, frames: Iterable[Frame]) -> None:
        """Add frames at the end."""
        for frame in frames:
            row = self._n
            self._reserve(row + 1)
            self._columns[(*_ROW, "step")][row] = frame.step
            self._columns[(*_ROW, "wall_time")][row] = frame.wall_time
            self._columns[(*_ROW, "gradients")][row] = frame.gradients
            for flow, values in frame.flows.items():
                for name, value in values.items():
                    self._column(("series", flow, name), np.shape(value))[row] = value
            for flow, distance in frame.distance.items():
                self._column(("distance", flow), ())[row] = distance
            for flow, status in frame.status.items():
                self._column(("status", flow), (), np.int8)[row] = _CODES[status]
            self._events.extend(frame.events)
            self._event_rows.extend([row] * len(frame.events))
            self._n = row + 1

    def extend(self, rows: dict[str, Any], after: int | None = None) -> int:
        """Add rows that another history packed with `pack`, those beyond optimizer step `after` alone if it is given; how many."""
        if after is not None:
            whole = History()
            whole.extend(rows)
            rows = whole.pack(whole._place(after))
        n, columns = rows["n"], rows["columns"]
        self._reserve(self._n + n)
        for key, values in columns.items():
            self._column(key, values.shape[1:], values.dtype)[self._n : self._n + n] = values
        for row, *event in rows["events"]:
            self._event_rows.append(self._n + row)
            self._events.append(Event(*event))
        self._n += n
        return n

    def pack(self, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """The rows `start` to `stop`, or all, as plain arrays and tuples: what a worker sends."""
        end = self._n if stop is None else min(stop, self._n)
        columns = {key: np.ascontiguousarray(column[start:end]) for key, column in self._columns.items()}
        told = zip(self._event_rows, self._events, strict=True)
        events = [(row - start, event.step, event.flow, event.kind, event.message) for row, event in told if start <= row < end]
        return {"n": end - start, "columns": columns, "events": events}

    def copy(self) -> History:
        """An independent history with the same rows, for a fork."""
        return self._first(len(self))

    def until(self, step: int) -> History:
        """The rows before optimizer step `step`, as an independent history."""
        return self._first(int(np.searchsorted(self.steps, step)))

    def beyond(self, step: int) -> History:
        """The rows beyond optimizer step `step`, as an independent history."""
        other = History()
        other.extend(self.pack(self._place(step)))
        return other

    def _place(self, step: int) -> int:
        """How many rows there are up to an optimizer step, itself included."""
        return int(np.searchsorted(self.steps, step, side="right"))

    def _first(self, n: int) -> History:
        """An independent history of the first n rows, with room for some more."""
        other = History()
        other._reserve(n + n // 8)
        other.extend(self.pack(0, n))
        other._copied = self._name, n
        return other

    @classmethod
    def from_run(cls, run: Run) -> History:
        """The history of a stored run, read column by column, so that a first screen is drawn at once."""
        columns: dict[tuple[str, ...], np.ndarray] = {}
        for name, values in (("step", run.steps), ("wall_time", run.wall_time), ("gradients", run.gradients)):
            columns[(*_ROW, name)] = values
        for flow in run.flows:
            columns["status", flow] = run.status(flow)
            for key, name in ((("distance", flow), "distance"), *((("series", flow, name), name) for name in SERIES)):
                values = run.series(flow, name)
                if not np.isnan(values).all():
                    columns[key] = values
        last = max(run.rows - 1, 0)
        told = [(min(int(np.searchsorted(run.steps, event.step)), last), event) for event in run.events]
        history = cls()
        if run.rows:
            events = [(row, event.step, event.flow, event.kind, event.message) for row, event in told]
            history.extend({"n": run.rows, "columns": columns, "events": events})
        return history

    # Inside
    def _view(self, key: tuple[str, ...], start: int) -> np.ndarray:
        column = self._columns.get(key)
        if column is None:
            return np.broadcast_to(np.nan, max(self._n - start, 0))  # takes no room
        view = column[start : self._n]
        view.flags.writeable = False  # a view that a reader scribbled on would change what every other reader sees
        return view

    def _column(self, key: tuple[str, ...], shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        column = self._columns.get(key)
        if column is None:
            capacity = len(self._columns[(*_ROW, "step")])
            column = self._columns[key] = _empty(capacity, shape, dtype)
        return column

    def _reserve(self, n: int) -> None:
        capacity = len(self._columns[(*_ROW, "step")])
        if n <= capacity:
            return
        # Half as much again, not double: the room to grow into is paid for, and appending is
        # linear either way.
        capacity = max(n, capacity + capacity // 2)
        for key, column in self._columns.items():
            grown = _empty(capacity, column.shape[1:], column.dtype)
            grown[: self._n] = column[: self._n]
            self._columns[key] = grown

    def _frame(self, row: int) -> Frame:
        status: dict[str, str] = {}
        distance: dict[str, float] = {}
        flows: dict[str, dict[str, Value]] = {}
        for key, column in self._columns.items():
            value = column[row]
            if key[0] == "status" and value:
                status[key[1]] = STATUSES[int(value)]
            elif key[0] == "distance" and not np.isnan(value):
                distance[key[1]] = float(value)
            elif key[0] == "series" and not np.isnan(value).all():
                flows.setdefault(key[1], {})[key[2]] = value.copy() if value.ndim else float(value)
        step, wall_time, gradients = (self._columns[(*_ROW, name)][row] for name in ("step", "wall_time", "gradients"))
        events = tuple(self._events[bisect_left(self._event_rows, row) : bisect_right(self._event_rows, row)])
        return Frame(int(step), float(wall_time), float(gradients), flows, distance, status, events)


class Frames(Sequence[Frame]):
    """The rows of a history as a list of frames; a series that is NaN throughout a row is left out of its frame."""

    def __init__(self, history: History):
        self._history = history

    def __len__(self) -> int:
        return len(self._history)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self._history._frame(row) for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._history._frame(row)

    def __iter__(self) -> Iterator[Frame]:
        return (self._history._frame(row) for row in range(len(self)))


def _empty(capacity: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    # Absent values are NaN (codes and steps: 0), so that a series which starts late or stops early needs no
    # bookkeeping.
    fill = np.nan if np.issubdtype(dtype, np.floating) else 0
    return np.full((capacity, *shape), fill, dtype=dtype)


def _label(key: tuple[str, ...], separator: str = ".") -> str:
    kind, *rest = key
    return f"{rest[0]}{separator}{kind}" if kind in ("distance", "status") else separator.join(rest)
