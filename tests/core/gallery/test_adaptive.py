"""What the figures of adaptive optimizers measure, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core.config import RunConfig
from cflows_core.gallery.adaptive.common_point import from_common_point
from cflows_core.gallery.adaptive.lower_curvature import curvatures
from cflows_core.gallery.adaptive.parts import ABLATED, Race, significant
from cflows_core.gallery.adaptive.stationary_flow import rates
from cflows_core.simulation import Simulation

TINY = RunConfig(width=4, n_train=30, depth=1, n_eigs=4, threads=1, observe=[])


def test_a_race() -> None:
    steps, other = np.array([0, 2, 4, 6]), np.ones(4)
    assert Race.of(steps, np.array([1.0, 1.2, 1.1, 0.75]), other) == Race(4, pytest.approx(0.2), pytest.approx(0.25))
    assert Race.of(steps, np.array([1.0, 1 + 1e-9, 0.9, 0.8]), other) == Race(None, 0.0, pytest.approx(0.2))


def test_significant_digits() -> None:
    values = np.array([0.0, 123456.789, -1.23456789e-7, np.nan])
    assert significant(values).tolist()[:3] == [0.0, 123457.0, -1.23457e-7]
    assert np.isnan(significant(values)[3])


def test_from_a_common_point_only_regularisation_differs() -> None:
    """All start with one step size; at the edge the ablated flow is −(2/S)∇L, the same for every η ([CF] Fig. 16)."""
    config = TINY.replace(optimizer="scalar_rmsprop", lr=0.5)
    found = from_common_point(config, (0.5, 1.0), at=60, steps=20)
    sizes = [found[f"step size {flow} {lr}"][0] for flow in ("central", ABLATED) for lr in ("0.5", "1")]
    assert np.ptp(sizes) < 1e-5 * sizes[0]
    assert found[f"sharpness {ABLATED} 0.5"][-1] * found[f"step size {ABLATED} 0.5"][-1] == pytest.approx(2, rel=1e-3)
    np.testing.assert_allclose(found[f"loss {ABLATED} 0.5"], found[f"loss {ABLATED} 1"], rtol=1e-5)
    assert abs(found["loss central 0.5"][-1] / found["loss central 1"][-1] - 1) > 1e-5


def test_curvatures_are_those_of_the_dense_hessian() -> None:
    config = TINY.replace(optimizer="rmsprop", lr=0.01, warm_start=10, steps=5, flows=["discrete", "central", ABLATED])
    found = curvatures(config, 5)
    assert found["step"].tolist() == [10, 15]
    simulation = Simulation(config)
    simulation.advance(steps=11)
    w = simulation.states["central"].point.w
    dense = simulation.objective.hvp(w, torch.eye(len(w), dtype=w.dtype))
    assert found["sharpness central"][0] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-4)


def test_the_stationary_rate_where_nu_is_at_rest() -> None:
    """With β₂ → 0 ν is at rest at once, and both flows lose at one rate; their discretisations differ a little."""
    found = rates(TINY.replace(optimizer="rmsprop", lr=0.01, beta2=0.2, warm_start=20, steps=42))
    assert len(found["step"]) >= 1
    near = found["cosine"] > 0.99
    assert near.any()
    np.testing.assert_allclose(found["stationary"][near], found["central"][near], rtol=0.2)
