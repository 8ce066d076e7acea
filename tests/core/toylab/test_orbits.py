"""Orbit diagrams: against single runs, and against what is known of the quartic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core import ConfigError, Optimizer
from cflows_core.problems.formula import Formula
from cflows_core.problems.toy import Quadratic, Quartic
from cflows_core.toylab import orbits, plane
from cflows_core.toylab.walk import iterates
from tests.oracles import NINE

QUARTIC = Quartic(2.0, 0.5)  # the edge of gradient descent is at η = 1, of its 2-cycle at 1.5


def test_gradient_descent_on_the_quartic() -> None:
    """At rest below the edge, then ±x*, an asymmetric 2-cycle from 1.5 on, period 4, chaos, and nothing."""
    lrs = np.array([0.5, 0.9, 1.1, 1.3, 1.45, 1.6, 1.9, 2.5])
    found = orbits(QUARTIC, Optimizer("gd", lr=1.0), "lr", lrs, [0.3])
    assert found.points.shape == (8, 400)
    assert found.period.tolist()[:6] == [1, 1, 2, 2, 2, 2]
    assert found.period[-1] == -1
    assert np.isnan(found.points[-1]).all()
    for i in (2, 3, 4):
        np.testing.assert_allclose(np.abs(found.points[i]), QUARTIC.two_cycle(lrs[i]), rtol=1e-9)
    assert abs(found.points[5, -1] + found.points[5, -2]) > 0.1  # no longer opposite


def test_every_period_is_there() -> None:
    """Beyond the asymmetric 2-cycle periods double, in the order that one-dimensional maps have."""
    found = orbits(QUARTIC, Optimizer("gd", lr=1.0), "lr", np.linspace(0.8, 2.0, 400), [0.3])
    first = {period: int(np.argmax(found.period == period)) for period in (1, 2, 4, 0, -1)}
    assert first[1] < first[2] < first[4] < first[0]
    assert {1, 2, 4, 0} <= set(found.period.tolist())
    assert found.values[first[2]] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", NINE)
def test_equals_single_runs(name: str) -> None:
    """On a formula; short enough that rounding has no time to grow."""
    loss, optimizer = Formula.read("log(cosh(2*x)) + 0.1*sin(3*x)"), Optimizer(name, lr=0.1)
    lrs = [0.05, 0.3, 0.8]
    found = orbits(loss, optimizer, "lr", lrs, [0.7], transient=20, keep=10)
    for i, lr in enumerate(lrs):
        single = Optimizer(name, lr=lr)
        w = torch.tensor([0.7], dtype=torch.float64)
        leaf = w.clone().requires_grad_()
        path = iterates(loss, single, single.start(w, torch.autograd.grad(loss.loss(leaf), leaf)[0]), 30)
        np.testing.assert_allclose(found.points[i], [float(state.w) for state in path[21:]], rtol=1e-8, atol=1e-12)


def test_over_beta() -> None:
    """A heavy ball at 1.2 times the edge of β₁ = 0 is below the edge from c(β₁) > 1.2 · 2 on: β₁ > 1/11."""
    loss, betas = Quartic(2.4, 1.0), np.array([0.0, 0.05, 0.2, 0.5])
    assert orbits(loss, Optimizer("heavy_ball", lr=1.0), "beta1", betas, [0.1]).period.tolist() == [2, 2, 1, 1]


def test_a_plane_is_its_rows() -> None:
    optimizer, lrs, betas = Optimizer("nadam", lr=0.1, eps=1e-3), np.linspace(0.02, 2.0, 7), np.array([0.3, 0.9, 0.99])
    found = plane(QUARTIC, optimizer, ("lr", "beta2"), (lrs, betas), [0.3], transient=200, keep=40)
    assert found.shape == (7, 3)
    for j, beta2 in enumerate(betas):
        row = orbits(QUARTIC, Optimizer("nadam", lr=0.1, eps=1e-3, beta2=beta2), "lr", lrs, [0.3], transient=200, keep=40)
        np.testing.assert_array_equal(found[:, j], row.period)


def test_a_plane_has_the_edge_in_it() -> None:
    """Heavy ball on the quartic, from the minimum: at rest where ηS₀ < c(β₁), which a curve across the plane bounds."""
    lrs, betas = np.linspace(0.2, 2.2, 11), np.array([0.0, 0.1, 0.2])
    found = plane(Quartic(2.0, 1.0), Optimizer("heavy_ball", lr=1.0), ("lr", "beta1"), (lrs, betas), [1e-3], transient=400)
    c = 2 * (1 + betas) / (1 - betas)
    share = 2.0 * lrs[:, None] / c
    np.testing.assert_array_equal(found[share < 0.98], 1)
    np.testing.assert_array_equal(found[(share > 1.05) & (share < 1.4)], 2)


def test_shrinking_for_ever_and_the_processor_as_it_was() -> None:
    """Iterates below the smallest number are 0 meanwhile, and only meanwhile."""
    smallest = torch.tensor(1e-310, dtype=torch.float64)
    found = orbits(Quadratic(torch.eye(1, dtype=torch.float64)), Optimizer("gd", lr=0.9), "lr", [0.9], [1.0])
    assert found.period.tolist() == [1]
    assert float(smallest * 2) > 0


def test_one_parameter_twice() -> None:
    with pytest.raises(ConfigError, match="two parameters, got `lr` twice"):
        plane(QUARTIC, Optimizer("gd", lr=1.0), ("lr", "lr"), ([1.0], [1.0]), [0.1])
