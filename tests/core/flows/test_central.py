"""The central flow against an independent dense one, the closed forms for one mode, and its properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows import force
from cflows_core.flows.base import Options, Start
from cflows_core.flows.central import Central
from cflows_core.flows.stable import Stable
from cflows_core.optimizers import State
from tests.oracles import Valleys, central_step, gradient, hessian, hessian_gradient

LR = 0.1


def make(n_sharp: int, *, substeps: int = 2, n_slow: int = 6, seed: int = 0) -> tuple[Valleys, Central, State]:
    """A flow that starts just below the edge at a point off the valley's floor."""
    valley = Valleys(n_sharp, n_slow, sharpness=1.998 / LR, seed=seed)
    objective = Objective.from_function(valley, valley.n_params)
    flow = Central(objective, Optimizer("gd", lr=LR), Options(substeps=substeps, n_eigs=n_sharp + 1))
    w = torch.full((valley.n_params,), 1e-3, dtype=torch.float64)
    w[n_sharp:] = 0.0
    return valley, flow, State(w)


def start(flow: Central, point: State):
    return flow.init(Start(point, point, torch.zeros_like(point.w)))


@pytest.mark.parametrize("n_sharp", [1, 2, 3])
def test_whole_step_against_dense_oracle(n_sharp: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(force, "MISSED", -1.0)  # third derivatives afresh in every substep, as the oracle has them
    valley, flow, point = make(n_sharp)
    state = start(flow, point)
    ranks = set()
    for step in range(24):
        if 6 < step < 18:  # compared while the first modes arrive, and again with all of them at the edge
            state = flow.step(state)
            continue
        # β afresh in every substep, as the oracle has it; how little its age matters is another test's.
        w = state.point.w.numpy()
        for _ in range(2):
            w, sigma = central_step(valley, w, LR, 0.5)
        state = flow.step(replace(state, frame=state.frame[:, :0]))
        assert not state.stopped
        ours = (state.modes * state.variances) @ state.modes.T
        ranks.add(len(state.variances))
        # The oracle's conic solver and finite differences are good to about 1e-7 of Σ, whose scale is 1e-3; eigenpairs to 1e-3 in the
        # residual, hence 1e-6 in the eigenvalue.
        assert np.abs(ours.numpy() - sigma).max() < 2e-3 * max(np.abs(sigma).max(), 1e-4)
        assert np.abs(state.point.w.numpy() - w).max() < 1e-6
        state = replace(state, point=replace(state.point, w=torch.tensor(w)), loss=float(valley(torch.tensor(w))))
        state = replace(state, gradient=torch.tensor(gradient(valley, w)))
    assert max(ranks) == n_sharp


def edge_state(n_sharp: int = 1, substeps: int = 2):
    valley, flow, point = make(n_sharp, substeps=substeps)
    state = start(flow, point)
    for _ in range(40):
        state = flow.step(state)
    assert len(state.variances) >= 1
    return valley, flow, state


def test_one_mode_closed_form_and_projection() -> None:
    """[CF] eq. 13 and 15 hold as dt → 0: first order in dt, so with 64 substeps to about 1 %."""
    valley, _, state = edge_state()
    flow = Central(Objective.from_function(valley, valley.n_params), Optimizer("gd", lr=LR), Options(substeps=64, n_eigs=2))
    state = flow.step(flow.changed(state))
    w = state.point.w.numpy()
    g = gradient(valley, w)
    values, vectors = np.linalg.eigh(hessian(valley, w))
    u = vectors[:, -1]
    sharpness_gradient = np.einsum("lij,i,j->l", hessian_gradient(valley, w), u, u)
    variance = 2 * sharpness_gradient @ -g / (sharpness_gradient @ sharpness_gradient)  # eq. 13
    assert values[-1] == pytest.approx(2 / LR, rel=1e-6)
    assert LR * float(state.variances[0]) == pytest.approx(variance, rel=0.01)  # σ² = η x: Σ = x v vᵀ with |v|² = η
    after = flow.step(state)
    velocity = (after.point.w - state.point.w).numpy()
    projected = -LR * (g - sharpness_gradient * (sharpness_gradient @ g) / (sharpness_gradient @ sharpness_gradient))  # eq. 15
    assert np.linalg.norm(velocity - projected) < 0.02 * np.linalg.norm(projected)
    # eq. 12: the oscillations take off what sharpening adds.
    assert after.reduction == pytest.approx(-after.sharpening, rel=0.05)


@pytest.mark.parametrize("n_sharp", [1, 2, 3])
def test_stays_at_the_edge_and_loss_falls_within_bounds(n_sharp: int) -> None:
    valley, flow, point = make(n_sharp)
    state = start(flow, point)
    for _ in range(200):
        before, state = state, flow.step(state)
        assert float(state.values[0]) < 2 * 1.0005  # the projection is exact to second order
        # Props 1, 2: 0 ≥ dL/dt ≥ −η|∇L|²; the slack is the Euler step's second order.
        slack = 0.05 * LR * float(before.gradient @ before.gradient) + 1e-12
        assert state.loss - before.loss <= slack
        assert state.loss - before.loss >= -LR * float(before.gradient @ before.gradient) - slack
    top = LR * np.linalg.eigvalsh(hessian(valley, state.point.w.numpy()))[::-1]
    assert top[: len(state.variances)] == pytest.approx(2.0, rel=2e-3)
    assert state.values[: len(top)].numpy()[:n_sharp] == pytest.approx(top[:n_sharp], rel=1e-4)  # what is reported is what is there


def test_without_critical_modes_it_is_the_stable_flow() -> None:
    """By its own Euler substeps, exactly; the stable flow's steps are of second order, and Euler's go to them to first."""
    valley = Valleys(2, 3, sharpness=1.0 / LR)
    objective, optimizer = Objective.from_function(valley, 5), Optimizer("gd", lr=LR)
    w = torch.linspace(-0.1, 0.1, 5, dtype=torch.float64)
    begin = Start(State(w), State(w), torch.zeros(5, dtype=torch.float64))
    stable = Stable(objective, optimizer, Options())
    limit = begin.state
    for _ in range(20 * 8):
        limit, _ = stable.moved(limit, objective.grad(limit.w), 2, 1 / 8)
    gaps = []
    for substeps in (4, 8):
        central = Central(objective, optimizer, Options(substeps=substeps))
        c, point = central.init(begin), begin.state
        for _ in range(20):
            c = central.step(c)
            for _ in range(substeps):
                point = optimizer.flow(point, objective.grad(point.w), 1 / substeps)
        assert len(c.variances) == 0
        torch.testing.assert_close(c.point.w, point.w, rtol=0, atol=1e-15)
        gaps.append(float((c.point.w - limit.w).norm() / (limit.w - w).norm()))
    assert gaps[0] < 0.02
    assert gaps[0] == pytest.approx(2 * gaps[1], rel=0.2)


def test_old_sensitivity_changes_little() -> None:
    """β may be twenty substeps old (math.md 4, Cost): same path to 1e-3 of its length."""
    _, flow, state = edge_state(2)
    young = old = state
    for _ in range(60):
        young = flow.step(replace(young, frame=young.frame[:, :0]))
        old = flow.step(old)
    length = float((young.point.w - state.point.w).norm())
    assert float((young.point.w - old.point.w).norm()) < 1e-3 * length


def test_settling_brings_the_top_eigenvalue_down_gently() -> None:
    valley = Valleys(2, 4, sharpness=2.6 / LR)
    flow = Central(Objective.from_function(valley, 6), Optimizer("gd", lr=LR), Options(n_eigs=3))
    w = torch.full((6,), 1e-3, dtype=torch.float64)
    state = start(flow, State(w))
    assert flow.status(state) == "settling"
    tops = [float(state.values[0])]
    for _ in range(40):
        state = flow.step(state)
        tops.append(float(state.values[0]))
        assert tops[-2] - tops[-1] < 2 * 2 * 0.06  # two substeps of 5 % of c = 2 and the stable motion's part
        if flow.status(state) == "settling":
            assert len(state.variances) == 0
            assert "predicted_loss" not in flow.series(state)
    assert flow.status(state) == "running"
    assert tops[-1] == pytest.approx(2.0, rel=1e-3)


def test_quadratic_beyond_its_threshold_stops_with_a_sentence() -> None:
    curvature = torch.tensor([2.05 / LR, 1.0, 0.5], dtype=torch.float64)
    objective = Objective.from_function(lambda w: 0.5 * (curvature * w * w).sum(), 3)
    flow = Central(objective, Optimizer("gd", lr=LR), Options(n_eigs=2))
    state = start(flow, State(torch.ones(3, dtype=torch.float64)))
    state = flow.step(state)
    assert "no oscillation can hold" in state.stopped
    assert flow.status(state) == "stopped"
    assert float(state.point.w[0]) == 1.0  # the last good state is kept
