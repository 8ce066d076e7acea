"""The stored runs that the dashboard ships with belong to the present code."""

from __future__ import annotations

import pytest

from cflows_app.stored import RUNS, stored_run
from cflows_core.presets import get
from cflows_core.simulation import Simulation
from cflows_core.store import Run


@pytest.mark.parametrize("name", [path.stem for path in sorted(RUNS.glob("*.zarr"))])
def test_a_shipped_run_is_its_presets_and_goes_on(name: str) -> None:
    stored = stored_run(name)
    assert stored is not None
    assert stored.config.replace(threads=0) == get(name).config
    checkpoint = Run.open(stored.path).checkpoint_path
    assert checkpoint is not None
    simulation = Simulation.load(checkpoint)
    last = int(stored.history.steps[-1])
    assert [frame.step for frame in simulation.advance(steps=2)] == [last + 1, last + 2]
