"""`Run`: reads a stored run, or one in memory, as arrays, xarray datasets or the frames that made it.

A run is what its root document said when it was opened: only committed steps, whatever a writer does meanwhile.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.frames import STATUSES, Event, Frame, Value
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.document import events_from_json, read_document
from cflows_core.store.files import ROOT
from cflows_core.store.layout import source

if TYPE_CHECKING:
    import xarray

CHECKPOINT = "checkpoint.pt"
MOST = 20_000_001  # rows: the longest run with the longest warm start
_NOT_SERIES = ("step", "wall_time", "status", "distance")


class Run:
    """A tree of series, one branch a flow.

    >>> run = Run.open("runs/gd.zarr")                                   # doctest: +SKIP
    >>> run["central"].effective_eigs.sel(step=300), run.distance        # doctest: +SKIP

    path: the store, None in memory. rows: committed steps. flows: names, the discrete optimizer first. config: with its `changes`.
    events: in the order of their steps. meta: versions, device, threads, creation time, hash, whether the recorder was closed.
    """

    def __init__(self, attributes: dict[str, Any], specs: dict[str, ArraySpec], arrays: dict[str, np.ndarray], path: Path | None):
        self.path = path
        self.rows: int = attributes["rows"]
        self.config = RunConfig.from_dict(attributes["config"])
        self.events: list[Event] = events_from_json(attributes["events"])
        self.meta: dict[str, Any] = {key: value for key, value in attributes.items() if key not in ("rows", "config", "events")}
        found = {spec.partition("/")[0] for spec in specs if "/" in spec}
        self.flows: tuple[str, ...] = tuple(sorted(found, key=lambda flow: (*self.config.flows, flow).index(flow)))
        self._specs, self._arrays = specs, arrays
        self._lost: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run stored at `path`, or packed in one file there. Raises StoreError for none, a newer schema, a damaged root document."""
        root = Path(path)
        if root.is_file():
            return cls._from_file(root)
        try:
            attributes, specs = read_document(root)
            run = cls(attributes, {spec.path: spec for spec in specs}, {}, root)
            whole = type(run.rows) is int and 0 <= run.rows <= MOST
            whole &= not run.rows or {"step", "wall_time", "gradients"} <= run._specs.keys()
            whole &= all(isinstance(event.step, int) for event in run.events)
        except CflowsError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            raise StoreError(f"The root document of {root} is damaged ({ROOT}): copy the run again from where it came, or delete it.")
        return run

    @classmethod
    def _from_file(cls, path: Path) -> Run:
        """A packed run, read whole."""
        from cflows_core.store.packed import unpacked

        with unpacked(path) as folder:
            run = cls.open(folder)
            run.columns()
        run.path = path
        return run

    @classmethod
    def from_arrays(cls, attributes: dict[str, Any], arrays: dict[str, tuple[ArraySpec, np.ndarray]]) -> Run:
        """A run in memory (what `Recorder(None, ...)` makes)."""
        return cls(attributes, {k: spec for k, (spec, _) in arrays.items()}, {k: values for k, (_, values) in arrays.items()}, None)

    # Arrays

    def __len__(self) -> int:
        return self.rows

    @property
    def steps(self) -> np.ndarray:
        """The recorded steps, [rows], ascending."""
        return self._read("step")

    @property
    def wall_time(self) -> np.ndarray:
        """Seconds of computing since the run began, [rows]."""
        return self._read("wall_time")

    @property
    def gradients(self) -> np.ndarray:
        """Gradient-equivalents spent by all flows so far, [rows]."""
        return self._read("gradients")

    def series(self, flow: str, name: str) -> np.ndarray:
        """Values of a series (or "distance"), [rows] or [rows, dim], NaN where a step gave none; NaN [rows] where the run lacks it."""
        path = f"{flow}/{name}"
        return self._read(path) if path in self._specs else np.full(self.rows, np.nan)

    def status(self, flow: str) -> np.ndarray:
        """Status of a flow as codes into `frames.STATUSES`, int8 [rows]; 0 where the flow has not started."""
        path = f"{flow}/status"
        return self._read(path) if path in self._specs else np.zeros(self.rows, dtype=np.int8)

    def _read(self, path: str) -> np.ndarray:
        path = source(path)  # as written by former versions, the copies lack the rows before their flow started
        if path not in self._arrays:
            assert self.path is not None
            self._arrays[path], lost = self._specs[path].read(self.path, self.rows)
            if path == "step":
                lost[1:] |= np.diff(self._arrays[path]) <= 0
            if lost.any():
                self._lost[path] = lost
        return self._arrays[path]

    def columns(self) -> dict[str, np.ndarray]:
        """Every array: path ("flow/series", or a root coordinate) -> values [rows] or [rows, dim]."""
        return {path: self._read(path) for path in self._specs}

    @property
    def damaged(self) -> list[str]:
        """Arrays whose files lack committed rows, which read as NaN: an incomplete copy, or a disk that failed. Reads everything."""
        self.columns()
        return list(self._lost)

    def lost(self) -> dict[str, np.ndarray]:
        """Which rows of the damaged arrays are lost, bool [rows]."""
        self.columns()
        return self._lost

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """Every array's type and shape by its path."""
        return self._specs

    # xarray

    def __getitem__(self, flow: str) -> xarray.Dataset:
        if flow not in self.flows:
            raise StoreError(f"This run has the flows {', '.join(self.flows) or '(none yet)'}, got {flow!r}.")
        return self._dataset(flow)

    def _dataset(self, flow: str) -> xarray.Dataset:
        import xarray

        variables = {}
        for path, spec in self._specs.items():
            group, _, name = path.rpartition("/")
            if group == flow:
                variables[name] = (("step", *spec.dims), self._read(path), spec.attributes)
        coordinates = {name: variables.pop(name) for name in ("step", "wall_time")}
        return xarray.Dataset(variables, coordinates)

    @property
    def distance(self) -> xarray.DataArray:
        """Euclidean distance to the discrete centre (math.md 9), over (flow, step)."""
        import xarray

        flows = [flow for flow in self.flows if f"{flow}/distance" in self._specs]
        values = np.array([self._read(f"{flow}/distance") for flow in flows]).reshape(len(flows), self.rows)
        attributes = self._specs[f"{flows[0]}/distance"].attributes if flows else {}
        return xarray.DataArray(values, {"flow": flows, "step": self.steps}, ("flow", "step"), "distance", attributes)

    @property
    def tree(self) -> xarray.DataTree:
        """The whole run, a node a flow."""
        import xarray

        return xarray.DataTree.from_dict({"/": self._dataset(""), **{f"/{flow}": self._dataset(flow) for flow in self.flows}})

    # What happened

    @property
    def changes(self) -> tuple[tuple[int, str, Any], ...]:
        """What was changed while running: (step, field, value)."""
        return self.config.changes

    @property
    def checkpoint_path(self) -> Path | None:
        """The checkpoint from which a resume goes on, None if there is none yet."""
        path = None if self.path is None else self.path / CHECKPOINT
        return path if path is not None and path.exists() else None  # a packed run is for looking at

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames of rows `start` to `stop`, as recorded, but that short arrays are filled up with NaN and a NaN series is left out.

        Events of steps between recorded ones come with the next recorded step (after the last one: with it).
        """
        steps = self.steps.tolist()
        events: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            events[min(bisect_left(steps, event.step), self.rows - 1)].append(event)
        values = self.columns()
        present: dict[str, Any] = {path: ~np.isnan(array.reshape(self.rows, -1)).all(1) for path, array in values.items()}
        for row in range(self.rows)[slice(start, stop)]:
            status: dict[str, str] = {}
            distance: dict[str, float] = {}
            flows: dict[str, dict[str, Value]] = {}
            for path, array in values.items():
                flow, _, name = path.rpartition("/")
                if not flow or not present[path][row]:
                    continue
                if name == "status":
                    if 0 < array[row] < len(STATUSES):  # any other is damage
                        status[flow] = STATUSES[array[row]]
                elif name == "distance":
                    distance[flow] = float(array[row])
                elif name not in _NOT_SERIES:
                    flows.setdefault(flow, {})[name] = float(array[row]) if array.ndim == 1 else array[row].copy()
            wall_time, gradients = float(self.wall_time[row]), float(self.gradients[row])
            yield Frame(steps[row], wall_time, gradients, flows, distance, status, tuple(events[row]))

    # Summaries and exports

    def summary(self) -> dict[str, Any]:
        """The numbers of the table at the end of a run (store/summary.py)."""
        from cflows_core.store.summary import summarize

        return summarize(self)

    def to_netcdf(self, path: str | os.PathLike[str]) -> Path:
        """One NetCDF file, series over (flow, step, ...); returns its path."""
        from cflows_core.store.export import to_netcdf

        return to_netcdf(self, Path(path))

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """One table, a row for every step of every flow; returns its path."""
        from cflows_core.store.export import to_csv

        return to_csv(self, Path(path))

    def to_zarr(self, path: str | os.PathLike[str]) -> Path:
        """A copy of the run, its checkpoint included, as a new store; returns its path."""
        from cflows_core.store.export import to_zarr

        return to_zarr(self, Path(path))

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        if not self.rows:
            return f"Run {where}: no steps yet\n  {self.config}"
        lines = [f"Run {where}: {self.rows:,} steps, {self.steps[0]} to {self.steps[-1]}", f"  {self.config}"]
        for flow in self.flows:
            distance = self.series(flow, "distance")[-1]
            apart = "" if np.isnan(distance) else f", {distance:.3g} from the optimizer"
            lines.append(f"  {flow}: {STATUSES[self.status(flow)[-1]]}{apart}")
        if self.damaged:
            lines.append(f"  incomplete on disk, read as NaN: {', '.join(self.damaged)}")
        return "\n".join(lines)
