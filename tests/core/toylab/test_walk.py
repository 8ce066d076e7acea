"""A walk's arrays against the optimizer's own steps and the simulation's flows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core import ConfigError, Optimizer
from cflows_core.problems.formula import Formula
from cflows_core.problems.toy import Quadratic, Quartic, Valley
from cflows_core.toylab import walk
from cflows_core.toylab.walk import iterates
from tests.oracles import NINE

VALLEY = Valley(1.0, torch.tensor([0.8], dtype=torch.float64), 0.05, torch.tensor([4.0], dtype=torch.float64), bend=0.5)
ARRAYS = ("w", "x", "loss", "centre", "eigenvalue", "eigenvalue_centre")


@pytest.mark.parametrize("name", NINE)
def test_iterates_and_eigenvalues(name: str) -> None:
    """On the quartic, where H is known: λ = H/P̃ with the P̃ of the step."""
    loss, optimizer = Quartic(2.0, 0.5), Optimizer(name, lr=0.3, schedule="warmup(5)")
    run = walk(loss, optimizer, [0.4], 12)
    w = torch.tensor([0.4], dtype=torch.float64)
    path = iterates(loss, optimizer, optimizer.start(w, 2.0 * w - 0.5 * w**3), 12)
    np.testing.assert_allclose(run.w, torch.stack([state.w for state in path]).numpy(), rtol=1e-9, atol=1e-12)
    for t, state in enumerate(path):
        x = optimizer.gradient_point(state)
        P = optimizer.preconditioner(optimizer.updated(state, 2.0 * x - 0.5 * x**3))
        assert run.eigenvalue[t] == pytest.approx(float((2.0 - 1.5 * x**2) / P), rel=1e-6)
        assert run.x[t, 0] == pytest.approx(float(x), rel=1e-9, abs=1e-12)
    assert run.threshold == optimizer.threshold
    assert all(np.isfinite(getattr(run, name)).all() for name in ARRAYS)
    assert (run.m is None) == (optimizer.momentum == "none")
    assert (run.nu is None) == (not optimizer.adaptive)
    assert not run.stopped
    for flow in (run.rod, run.half_difference, run.stable, run.central):
        assert flow.shape == (13, 1)
        assert np.isfinite(flow[0]).all()


def test_a_valley_with_all_flows() -> None:
    """The central flow comes to the edge and its Σ to the closed form, the stable flow goes on to the minimum."""
    run = walk(VALLEY, Optimizer("gd", lr=0.5), [0.2, 3.6], 70)
    assert run.covariance.shape == (71, 2, 2)
    u = run.central[-1, 1]
    assert 1.0 + 0.8 * u == pytest.approx(4.0, rel=1e-3)
    assert run.variance[-1] == pytest.approx(VALLEY.variance(torch.tensor([u], dtype=torch.float64)), rel=0.02)
    assert run.stable[-1, 1] > u
    assert run.rod.shape == (71, 2)


def test_a_chosen_flow_alone() -> None:
    run = walk(Quadratic(torch.eye(1, dtype=torch.float64)), Optimizer("gd", lr=0.5), [1.0], 5, flows=("stable",))
    assert np.isfinite(run.stable).all()
    assert np.isnan(run.rod).all()
    assert np.isnan(run.central).all()


@pytest.mark.parametrize(("loss", "w0", "says"), [
    (Quartic(2.0, 0.5), [2.5], "The optimizer diverged"),
    (Quadratic(torch.tensor([[9.0]], dtype=torch.float64)), [1.0], "The optimizer diverged"),
    (Formula.read("sqrt(1 - x^2) - 2*x^2"), [0.6], "left the region in which the loss is a finite number"),
])  # fmt: skip
def test_a_walk_that_ends_early(loss, w0: list, says: str) -> None:
    run = walk(loss, Optimizer("gd", lr=1.0), w0, 60)
    assert says in run.stopped
    assert 1 <= len(run.w) < 61
    assert all(np.isfinite(getattr(run, name)).all() for name in ("w", "x", "loss"))
    assert np.abs(run.w).max() < 1e7


def test_a_flow_that_stops_says_so() -> None:
    """No oscillation on a parabola holds an eigenvalue beyond the edge."""
    run = walk(Quadratic(torch.tensor([[2.1]], dtype=torch.float64)), Optimizer("gd", lr=1.0), [0.1], 5, flows=("central",))
    assert any("stopped" in note or "no oscillation" in note for note in run.notes)
    assert np.isnan(run.central[-1]).all()


def test_a_start_without_a_loss() -> None:
    with pytest.raises(ConfigError, match=r"not a finite number at the start \(-1\)"):
        walk(Formula.read("log(x)^2"), Optimizer("gd", lr=0.1), [-1.0], 5)
