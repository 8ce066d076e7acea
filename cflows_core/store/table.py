"""`Table`: rows in memory, one growing buffer an array, before they are written; a run in memory is a table that is never written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.frames import STATUSES, Frame
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.layout import COORDINATES, REPEATED, source, specification

CAPACITY = 256  # rows a buffer starts with: more than one commit's
_STATUS_CODE = {name: code for code, name in enumerate(STATUSES)}


class Table:
    """Buffers for the arrays of a run; an array is made when its series is first given. Rows that were not put read as missing."""

    def __init__(self, config: RunConfig, specs: Iterable[ArraySpec] = ()):
        self._config = config
        self._capacity = CAPACITY
        self.specs: dict[str, ArraySpec] = {}
        self._buffers: dict[str, np.ndarray] = {}
        for spec in (*(specification(name, 0.0, config) for name in COORDINATES), *specs):
            self._add(spec)

    def put(self, at: int, frame: Frame) -> None:
        """Make row `at` the frame's. Raises StoreError for a series that the run cannot hold; then the row is empty."""
        while at >= self._capacity:
            self._grow()
        self.clear(at, at + 1)
        try:
            self._fill(at, frame)
        except BaseException:
            self.clear(at, at + 1)
            raise

    def put_columns(self, columns: Mapping[str, np.ndarray]) -> None:
        """Make the first rows those of whole columns: path ("flow/series", or a root coordinate) -> values [n] or [n, dim]."""
        rows = len(columns["step"])
        while self._capacity < rows:
            self._grow()
        for path, values in columns.items():
            if source(path) != path:
                continue
            buffer = self._buffer(path, 0.0 if values.ndim == 1 else values[0])
            _check_room(path, values.shape[1:], buffer)
            buffer[(slice(rows), *map(slice, values.shape[1:]))] = values

    def _fill(self, at: int, frame: Frame) -> None:
        for name, value in zip(COORDINATES, (frame.step, frame.wall_time, frame.gradients), strict=True):
            self._buffers[name][at] = value
        for flow, status in (dict.fromkeys(frame.flows, "running") | frame.status).items():
            self._buffer(f"{flow}/status", 0)[at] = _STATUS_CODE[status]
        for flow, distance in frame.distance.items():
            self._buffer(f"{flow}/distance", 0.0)[at] = distance
        for flow, series in frame.flows.items():
            for name, value in series.items():
                buffer = self._buffer(f"{flow}/{name}", value)
                if buffer.ndim == 1:
                    buffer[at] = value
                    continue
                given = np.shape(value)
                _check_room(f"{flow}/{name}", given, buffer)
                buffer[at, : given[0]] = value

    def _buffer(self, path: str, value: Any) -> np.ndarray:
        if path not in self._buffers:
            self._add(specification(path, value, self._config))
            group = path.rpartition("/")[0]
            for name in REPEATED:  # so that each group opens alone
                self._add(specification(f"{group}/{name}", 0.0, self._config))
        return self._buffers[path]

    def _add(self, spec: ArraySpec) -> None:
        self.specs[spec.path] = spec
        if source(spec.path) == spec.path:
            self._buffers[spec.path] = spec.blank(self._capacity)

    def _grow(self) -> None:
        for path, buffer in self._buffers.items():
            self._buffers[path] = np.concatenate([buffer, self.specs[path].blank(self._capacity)])
        self._capacity *= 2

    def clear(self, start: int, stop: int) -> None:
        """Make rows `start` to `stop` missing."""
        for path, buffer in self._buffers.items():
            buffer[start:stop] = self.specs[path].fill

    def columns(self, rows: int) -> Iterator[tuple[ArraySpec, np.ndarray]]:
        """Every array with its first `rows` rows, views on the buffers."""
        for path, spec in self.specs.items():
            yield spec, self._buffers[source(path)][:rows]


def _check_room(path: str, given: tuple[int, ...], buffer: np.ndarray) -> None:
    if given > buffer.shape[1:]:
        raise StoreError(f"`{path}` holds {buffer.shape[1]} values a step in this run, got {given[0]}: record it as a new run.")
