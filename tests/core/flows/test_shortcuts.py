"""What makes the central flow cheap must not be seen in its results: against the same flow with every shortcut off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core.flows import base, central, force
from cflows_core.flows.force import Along, shares
from cflows_core.linalg import tracking
from cflows_core.presets import PRESETS
from cflows_core.simulation import Simulation

STEPS = 40


def walked(simulation: Simulation) -> tuple[torch.Tensor, np.ndarray, np.ndarray, float]:
    """(w [t, p], Σ's trace [t], λ₁/c [t], gradients spent) of the central flow over its next steps."""
    points, traces, tops, before = [], [], [], simulation.spent("central")
    for _ in range(STEPS):
        frame = simulation.advance(steps=1)[0].flows["central"]
        points.append(simulation.states["central"].point.w)
        traces.append(np.nansum(frame.get("covariance_eigs", [np.nan])))
        tops.append(frame["effective_eigs"][0] / simulation.optimizer.threshold)  # type: ignore[index]
    return torch.stack(points), np.array(traces), np.array(tops), simulation.spent("central") - before


@pytest.mark.parametrize("preset", ["digits-mlp", "rmsprop", "adam"])
def test_all_shortcuts_together_change_little(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path by less than a tenth of its distance to the optimizer, Σ's trace by 2 %, λ₁ by 0.5 % of c; at half the cost."""
    simulation = Simulation(PRESETS[preset].config.replace(flows=["central"], observe=[]))
    simulation.advance(steps=simulation.config.warm_start + 1)
    exact = simulation.fork()
    points, traces, tops, spent = walked(simulation)
    for module, name, value in (
        (base, "EIGEN_TOLERANCE", 1e-6),
        (tracking, "LOOK", 1),
        (tracking, "FORESEEN", 0.0),
        (central, "REFRESH", 1),
        (force, "MISSED", -1.0),
    ):
        monkeypatch.setattr(module, name, value)
    true_points, true_traces, true_tops, true_spent = walked(exact)
    distance = float((true_points[-1] - exact.centre("central")).norm())
    assert float((points - true_points).norm(dim=1).max()) < 0.1 * distance
    assert true_traces.max() > 0  # the edge was reached
    assert np.abs(traces - true_traces).mean() < 0.02 * true_traces.mean()
    np.testing.assert_allclose(tops, true_tops, atol=5e-3)
    assert spent < 0.5 * true_spent


def test_shares_of_a_covariance_in_another_basis() -> None:
    """Σ's diagonal in the basis D, and what is missed, against dense matrices; D not orthonormal."""
    generator = torch.Generator().manual_seed(0)
    P = torch.rand(30, generator=generator, dtype=torch.float64) + 0.5
    modes = torch.linalg.qr(torch.randn(30, 3, generator=generator, dtype=torch.float64))[0] / P.sqrt()[:, None]
    variances = torch.tensor([3.0, 2.0, 0.5]).double()
    turn = torch.linalg.matrix_exp(0.1 * torch.tensor([[0.0, 1, -1], [-1, 0, 2], [1, -2, 0]]).double())
    D = modes @ turn * torch.tensor([1.0, 1.01, 0.99]).double()
    y, missed = shares(Along(D, D.T), P, modes, variances)
    root = P.sqrt()[:, None]
    sigma, ours = ((root * V * x) @ (root * V).T for V, x in ((modes, variances), (D, y)))
    coordinates = torch.linalg.lstsq(root * D, root * modes).solution
    torch.testing.assert_close(y, ((coordinates * variances) @ coordinates.T).diagonal(), rtol=1e-12, atol=0)
    assert missed == pytest.approx(float((sigma - ours).norm() / sigma.norm()), rel=1e-10)
    assert 0.01 < missed < 0.5
    assert shares(Along(modes, modes.T), P, modes, variances)[1] < 1e-7
    assert shares(Along.none(P), P, modes, variances)[1] == float("inf")
    assert shares(Along(0 * D, D.T), P, modes, variances)[1] == float("inf")
