"""Eigenvalue solves that the schedule leaves out below the edge: nothing that happens there is missed or changed."""

from __future__ import annotations

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.frames import Frame
from cflows_core.linalg import tracking
from cflows_core.simulation import Simulation

# From flat regions up to the edge.
CONFIGS = {
    "gd": RunConfig(lr=0.5, head_scale=0.05, steps=60, n_train=100, n_eigs=3, flows=["central"], observe=[]),
    "cross-entropy": RunConfig(lr=0.6, steps=25, n_eigs=3, criterion="cross_entropy", flows=["central"], observe=[]),
    "heavy-ball": RunConfig(
        optimizer="heavy_ball", lr=4.0, head_scale=0.05, steps=60, n_train=100, n_eigs=3, flows=["central"], observe=[]
    ),
}


def top(frames: list[Frame], flow: str) -> np.ndarray:
    """λ₁, [steps]."""
    return np.array([frame.flows[flow]["effective_eigs"][0] for frame in frames])  # type: ignore[index]


@pytest.mark.parametrize("name", CONFIGS)
def test_no_crossing_is_missed_and_nothing_changes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a solve at every step: the same iterates, the same first crossing, eigenvalues expected to 6 % of c between solves."""
    scheduled = Simulation(CONFIGS[name])
    frames = list(scheduled)
    monkeypatch.setattr(tracking, "next_solve", lambda *_: 1)
    every = Simulation(CONFIGS[name])
    reference = list(every)
    for flow in ("discrete", "central"):
        ours, theirs = (top(run, flow) / every.optimizer.threshold for run in (frames, reference))
        assert theirs.max() > 0.99  # the edge was reached
        assert np.argmax(ours >= 0.99) == np.argmax(theirs >= 0.99)
        np.testing.assert_allclose(ours, theirs, atol=0.06)
        loss = np.array([[frame.flows[flow]["loss"] for frame in run] for run in (frames, reference)])
        np.testing.assert_allclose(loss[0], loss[1], rtol=1e-4 if flow == "central" else 0)


def test_far_below_the_edge_most_solves_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(lr=0.02, steps=60, n_train=50, n_eigs=2, flows=["central"], observe=[])
    scheduled = list(Simulation(config))[-1].gradients
    monkeypatch.setattr(tracking, "next_solve", lambda *_: 1)
    assert scheduled < 0.65 * list(Simulation(config))[-1].gradients


def test_a_change_of_the_step_size_solves_at_once() -> None:
    """The expected values would be those of the former P."""
    simulation = Simulation(RunConfig(lr=0.02, steps=60, n_train=50, n_eigs=2, flows=["central"], observe=[]))
    simulation.advance(steps=30)
    before = top([next(simulation)], "discrete")[0]
    assert simulation.states["discrete"].eigen.wait > 0
    simulation.set(lr=0.04)
    after = top([next(simulation)], "discrete")[0]
    assert after == pytest.approx(2 * before, rel=0.02)
