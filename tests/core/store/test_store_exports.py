"""A run as NetCDF, as a table, as another store."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import xarray

from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.history import History
from cflows_core.store import Recorder, Run
from cflows_core.store.export import recorded


@pytest.fixture
def run(tmp_path: Path, config, make_frame) -> Run:
    with Recorder(tmp_path / "run.zarr", config) as recorder:
        for step in range(40):
            recorder.append(make_frame(step))
    return recorder.run


def test_netcdf_holds_every_value(run: Run, tmp_path: Path) -> None:
    path = run.to_netcdf(tmp_path / "run.nc")
    with xarray.open_dataset(path, engine="scipy") as stored:
        assert stored.flow.values.tolist() == list(run.flows)
        assert RunConfig.from_json(stored.attrs["config"]) == run.config
        for flow in run.flows:
            for name, variable in run[flow].data_vars.items():
                np.testing.assert_array_equal(stored[name].sel(flow=flow).values, variable.values)
                assert stored[name].attrs["doc"] == variable.attrs["doc"]
        np.testing.assert_array_equal(stored.step.values, run.steps)
        assert np.isnan(stored["rank"].sel(flow="discrete")).all()


def test_table_has_a_row_for_every_step_of_every_flow(run: Run, tmp_path: Path) -> None:
    with run.to_csv(tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 + 3 * 35  # the flows start after a warm start of five steps
    for row in rows:
        flow, at = row["flow"], int(row["step"])
        for column, cell in row.items():
            if column in ("flow", "status", "step", "wall_time"):
                continue
            name, _, index = column.rpartition("_")
            values = run.series(flow, name if index.isdigit() else column)
            if values.ndim == 2:
                values = values[:, int(index) - 1]
            assert (math.isnan(values[at]) and cell == "") or float(cell) == values[at]
    assert {row["status"] for row in rows} == {"running", "settling"}


@pytest.mark.parametrize("memory", [False, True])
def test_a_copy_is_the_same_run(run: Run, config, make_frame, tmp_path: Path, memory: bool) -> None:
    if memory:
        with Recorder(None, config) as recorder:
            for step in range(40):
                recorder.append(make_frame(step))
        run = recorder.run
    else:
        (tmp_path / "run.zarr" / "checkpoint.pt").write_bytes(b"state")
    copy = Run.open(run.to_zarr(tmp_path / "copy.zarr"))
    assert copy.config == run.config
    assert copy.events == run.events
    assert copy.meta["created"] == run.meta["created"]
    for flow in run.flows:
        xarray.testing.assert_identical(copy[flow], run[flow])
    if memory:
        assert copy.checkpoint_path is None
    else:
        assert copy.checkpoint_path is not None
        assert copy.checkpoint_path.read_bytes() == b"state"
    with pytest.raises(StoreError, match="already"):
        run.to_zarr(tmp_path / "copy.zarr")


def test_a_thinned_run_keeps_its_configuration_in_a_copy(config, make_frame, tmp_path: Path) -> None:
    with Recorder(None, config.replace(record_every=4)) as recorder:
        for step in range(20):
            recorder.append(make_frame(step))
    copy = Run.open(recorder.run.to_zarr(tmp_path / "copy.zarr"))
    assert copy.steps.tolist() == [0, 4, 8, 12, 16]
    assert copy.config.record_every == 4


def test_a_history_is_recorded_as_its_frames_were(config, make_frame, tmp_path: Path) -> None:
    history = History(make_frame(step) for step in range(300))  # more rows than a table begins with
    with Recorder(None, config) as recorder:
        for frame in history.frames:
            recorder.append(frame)
    run = recorded(history, config, {}, tmp_path / "run.zarr")
    assert run.rows == 300
    assert run.events == recorder.run.events
    for flow in recorder.run.flows:
        xarray.testing.assert_identical(run[flow], recorder.run[flow])


def test_a_history_with_more_modes_than_its_configuration_has_is_refused(config, make_frame) -> None:
    history = History(make_frame(step) for step in range(20))
    with pytest.raises(StoreError, match=r"holds 1 values a step in this run, got \d"):
        recorded(history, config.replace(n_eigs=1), {})


@pytest.mark.parametrize("export", ["to_csv", "to_netcdf"])
def test_an_export_that_cannot_be_written(run: Run, tmp_path: Path, export: str) -> None:
    with pytest.raises(StoreError, match=r"cannot be written \(no such file or directory\): choose another place"):
        getattr(run, export)(tmp_path / "absent" / "run.out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        getattr(run, export)(tmp_path / "taken")
    assert not list(tmp_path.glob("*.partial"))


def test_flows_that_start_after_a_commit_have_the_steps_before_them(config, make_frame, tmp_path: Path) -> None:
    """On disk, for readers other than `Run`; and for `Run`, also where a former version left those rows empty."""
    path = tmp_path / "run.zarr"
    with Recorder(path, config) as recorder:
        for step in range(12):
            recorder.append(make_frame(step))
            recorder.commit()  # the flows start at step 5
    with xarray.open_datatree(path, engine="zarr") as tree:  # refuses groups that do not share their steps
        for flow in Run.open(path).flows:
            assert tree[flow].step.values.tolist() == list(range(12))
            np.testing.assert_array_equal(tree[flow].wall_time.values, Run.open(path).wall_time)
    former = path / "rod" / "step" / "c.0"
    former.write_bytes(bytes(8 * 5) + former.read_bytes()[8 * 5 :])
    run = Run.open(path)
    assert run["rod"].step.values.tolist() == list(range(12))
    assert run.to_netcdf(tmp_path / "run.nc").exists()
