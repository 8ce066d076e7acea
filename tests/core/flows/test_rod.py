"""The rod flow: the exact difference equations, a dense oracle, the threshold, and the quartic's 2-cycle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows.base import Options, Start
from cflows_core.flows.rod import Rod
from cflows_core.optimizers import State
from tests.oracles import Valleys, gradient, rod_step

LR = 0.1


def rod(f, p: int, w: list[float], zeta: list[float], *, substeps: int = 2, rank: int = 4, lr: float = LR):
    flow = Rod(Objective.from_function(f, p), Optimizer("gd", lr=lr), Options(substeps=substeps, rod_rank=rank, n_eigs=2))
    point = State(torch.tensor(w, dtype=torch.float64))
    return flow, flow.init(Start(point, point, torch.tensor(zeta, dtype=torch.float64)))


def test_difference_equations_are_exact() -> None:
    """Centre and ζζᵀ of consecutive iterates obey [RF] eq. 4, 5 to rounding, over two steps, on a non-quadratic loss."""
    f = Valleys(2, 3, sharpness=2.1 / LR)
    w = [np.array([0.3, -0.2, 0.05, 0.1, -0.1])]
    for _ in range(3):
        w.append(w[-1] - LR * gradient(f, w[-1]))
    for a, b, c in zip(w, w[1:], w[2:], strict=False):
        centre, zeta = (a + b) / 2, (a - b) / 2
        next_centre, next_zeta = (b + c) / 2, (b - c) / 2
        plus, minus = -LR * gradient(f, centre + zeta), -LR * gradient(f, centre - zeta)
        np.testing.assert_allclose(next_centre - centre, (plus + minus) / 2, atol=1e-14)
        change = np.outer(next_zeta, next_zeta) - np.outer(zeta, zeta)
        expected = (np.outer(plus, plus) + np.outer(minus, minus)) / 4 - 2 * np.outer(zeta, zeta)
        np.testing.assert_allclose(change, expected, atol=1e-14)


def test_low_rank_against_dense() -> None:
    """With rank p nothing is cut, and every substep equals the dense one."""
    f = Valleys(2, 3, sharpness=2.05 / LR)
    flow, state = rod(f, 5, [0.02, 0.01, 0.0, 0.05, 0.0], [0.05, -0.02, 0.01, 0.0, 0.0], rank=5, substeps=3)
    w, sigma = state.point.w.numpy(), state.extent.dense().numpy()
    for _ in range(30):
        state = flow.step(state)
        for _ in range(3):
            w, sigma = rod_step(f, w, sigma, LR, 1 / 3)
        np.testing.assert_allclose(state.point.w.numpy(), w, atol=1e-10)
        np.testing.assert_allclose(state.extent.dense().numpy(), sigma, atol=1e-10)


@pytest.mark.parametrize(("ratio", "grows"), [(0.98, False), (1.02, True)])
def test_threshold_on_a_quadratic(ratio: float, grows: bool) -> None:
    """The rod decays iff S < 2/η (math.md 7)."""
    sharpness = torch.tensor([ratio * 2 / LR, 1.0], dtype=torch.float64)
    flow, state = rod(lambda w: 0.5 * (sharpness * w * w).sum(), 2, [0.0, 0.0], [0.1, 0.0])
    before = float(state.extent.eigenvalues[0])
    for _ in range(50):
        state = flow.step(state)
    assert (float(state.extent.eigenvalues[0]) > before) == grows


def test_two_cycle_on_the_quartic() -> None:
    """g = S₀x − γx³: the rod rests at x*² = (S₀ − 2/η)/γ, where the discrete 2-cycle is (math.md 7)."""
    s0, gamma = 1.2 * 2 / LR, 3.0
    amplitude = np.sqrt((s0 - 2 / LR) / gamma)
    flow, state = rod(lambda w: (0.5 * s0 * w * w - 0.25 * gamma * w**4).sum(), 1, [0.0], [0.5 * amplitude])
    for _ in range(200):
        state = flow.step(state)
    assert float(state.zeta.norm()) == pytest.approx(amplitude, rel=1e-9)
    x = 0.5 * amplitude
    for _ in range(400):
        x -= LR * (s0 * x - gamma * x**3)
    assert abs(x) == pytest.approx(amplitude, rel=1e-9)


def test_linear_velocity() -> None:
    """L = a·w: steady velocity −ηa, half-length half of that step (math.md 7)."""
    a = torch.tensor([0.3, -0.4], dtype=torch.float64)
    flow, state = rod(lambda w: a @ w, 2, [0.0, 0.0], [0.3, 0.1])
    for _ in range(60):
        before, state = state, flow.step(state)
    torch.testing.assert_close(state.point.w - before.point.w, -LR * a, rtol=1e-9, atol=0)
    assert float(state.zeta.norm()) == pytest.approx(0.5 * LR * 0.5, rel=1e-6)
