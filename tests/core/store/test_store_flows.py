"""Real runs with flows for comparison and all that can be observed, on disk: what is stored is what xarray opens, group by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

import cflows_core as cf
from cflows_core import SERIES, Frame, Run, RunConfig
from cflows_core.config import FLOW_NAMES

TINY = RunConfig(n_train=10, width=1, depth=1, lr=0.03, warm_start=1, steps=2, substeps=1, n_eigs=3)
CONFIGS = {
    "rmsprop": TINY.replace(
        optimizer="rmsprop",
        flows=[*FLOW_NAMES, "central_no_curvature", "stationary", "stationary_limit"],
        observe=["coordinates", "stationary", "valley", "outputs"],
    ),
    "gd": TINY.replace(flows=[*FLOW_NAMES, "modified"], observe=["average", "coordinates"]),
}
SIZES = {"mode": 3, "axis": 2, "pair": 3, "output": 10, "coordinate": 10}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_flow_is_a_group_of_named_dimensions(name: str, tmp_path: Path) -> None:
    """Paused, resumed from its checkpoint, and opened by plain xarray: every value of every frame, with its dimensions and its sentence."""
    config, path, frames = CONFIGS[name], tmp_path / "run.zarr", []
    cf.run(config, path, progress=False, until=2, on_frame=frames.append)
    cf.resume(path, progress=False, on_frame=frames.append)
    run = Run.open(path)
    assert run.steps.tolist() == [frame.step for frame in frames] == list(range(4))
    assert set(run.flows) == set(config.flows)
    with xarray.open_datatree(path, engine="zarr", chunks=None) as tree:
        assert set(tree.children) == set(config.flows)
    for flow in config.flows:
        with xarray.open_zarr(path, group=flow, chunks=None) as stored:
            same_as_frames(stored, flow, frames)
    with xarray.open_zarr(path, group="discrete", chunks=None) as stored:
        assert stored.grad_sq_coordinates.dims == ("step", "coordinate")


def same_as_frames(stored: xarray.Dataset, flow: str, frames: list[Frame]) -> None:
    """A group against the frames that made it, NaN where a frame has no value."""
    given = {name for frame in frames for name in frame.flows.get(flow, {})}
    assert given == set(stored.data_vars) - {"status", "distance"}
    assert flow == "discrete" or "distance" in stored
    for name in given:
        series, variable = SERIES[name], stored[name]
        assert variable.dims == ("step", *series.dims)
        assert variable.shape[1:] == tuple(SIZES[dim] for dim in series.dims)
        assert (variable.attrs["doc"], variable.attrs["units"]) == (series.doc, series.unit)
        for frame in frames:
            value = frame.flows.get(flow, {}).get(name, np.nan)
            np.testing.assert_array_equal(variable.sel(step=frame.step), value)
