"""A run as one file for other tools. Every export is written beside its target and renamed, so that a failure leaves no half file."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.errors import StoreError
from cflows_core.frames import STATUSES
from cflows_core.store.files import PARTIAL

if TYPE_CHECKING:
    from cflows_core.config import RunConfig
    from cflows_core.history import History
    from cflows_core.store.run import Run


def _write(path: Path, writer: Callable[[Path], Any]) -> Path:
    temporary = path.with_name(path.name + PARTIAL)
    try:
        writer(temporary)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"{path} cannot be written ({reason}): choose another place for the export.") from error
    return path


def to_netcdf(run: Run, path: Path) -> Path:
    """NetCDF 3, which every tool reads and SciPy writes: variables over (flow, step, ...), NaN where a flow has no such series."""
    import xarray

    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]] = {}
    for at, flow in enumerate(run.flows):
        for name, variable in run[flow].data_vars.items():
            if name not in variables:
                shape = (len(run.flows), *variable.shape)
                blank = np.zeros(shape, np.int8) if name == "status" else np.full(shape, np.nan)
                variables[str(name)] = (("flow", *map(str, variable.dims)), blank, variable.attrs)
            variables[str(name)][1][at] = variable.values
    root = run.tree.to_dataset()
    attributes = {"title": "cflows run", "config": run.config.to_json(), "config_hash": run.config.hash, "created": run.meta["created"]}
    coordinates = {"flow": list(run.flows), "step": root.step, "wall_time": root.wall_time}
    dataset = xarray.Dataset(variables, coordinates, attributes)  # type: ignore[arg-type]
    # int64 steps do not exist in NetCDF 3
    return _write(path, lambda file: dataset.to_netcdf(file, engine="scipy", format="NETCDF3_64BIT", encoding={"step": {"dtype": "int32"}}))


def to_csv(run: Run, path: Path) -> Path:
    """A row for every step of every flow that had started; a column for every series (`name_1`, `name_2`, ... along a dimension)."""
    columns: dict[str, dict[str, np.ndarray]] = {}
    for flow in run.flows:
        for name, variable in run[flow].data_vars.items():
            if name == "status":
                continue
            values = variable.values
            parts = [(str(name), values)] if values.ndim == 1 else [(f"{name}_{i + 1}", values[:, i]) for i in range(values.shape[1])]
            for label, column in parts:
                columns.setdefault(label, {})[flow] = column

    def write(file: Path) -> None:
        with file.open("w", newline="", encoding="utf-8") as out:
            table = csv.writer(out)
            table.writerow(["step", "wall_time", "flow", "status", *columns])
            for flow in run.flows:
                status = run.status(flow)
                of_flow = [column.get(flow) for column in columns.values()]
                for row in np.flatnonzero(status):
                    cells = ["" if column is None or np.isnan(column[row]) else repr(float(column[row])) for column in of_flow]
                    table.writerow([int(run.steps[row]), float(run.wall_time[row]), flow, STATUSES[status[row]], *cells])

    return _write(path, write)


def recorded(rows: History | Run, config: RunConfig, meta: dict[str, Any], path: Path | None = None) -> Run:
    """A run of rows that exist already, stored at `path` or in memory: none of them is left out."""
    from cflows_core.store.recorder import Recorder

    with Recorder(path, config, meta) as recorder:
        recorder.append_columns(rows.columns(), rows.events)
    return recorder.run


def to_zarr(run: Run, path: Path) -> Path:
    meta = {key: value for key, value in run.meta.items() if key not in ("schema_version", "closed", "config_hash")}
    recorded(run, run.config, meta, path)
    if run.checkpoint_path is not None:
        shutil.copyfile(run.checkpoint_path, path / run.checkpoint_path.name)
    return path
