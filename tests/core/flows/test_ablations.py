"""Flows with something left out: the central flow without curvature against dense matrices, the modified flow against an ODE solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import tests.oracles
from cflows_core import Objective, Optimizer
from cflows_core.flows import base, central, force
from cflows_core.flows.ablations import CentralNoCurvature, Modified
from cflows_core.flows.base import Options, Start
from cflows_core.flows.central import Central
from cflows_core.flows.stable import Stable
from cflows_core.optimizers import State
from tests.core.flows.test_central_nine import LR, make, ranks_beside_oracle, start
from tests.oracles import Array, Method, Point, Valleys, gradient, hessian


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact eigenpairs, β afresh in every substep, and one correction, as the oracle has them."""
    monkeypatch.setattr(base, "EIGEN_TOLERANCE", 1e-10)
    monkeypatch.setattr(central, "REFRESH", 1)
    monkeypatch.setattr(force, "MISSED", -1.0)
    monkeypatch.setattr(central, "BENT", -1.0)
    monkeypatch.setattr(central, "CORRECTIONS", 1)


def without_curvature(flow: Central, substeps: int | None = None) -> CentralNoCurvature:
    """The ablation of a central flow, on the same problem."""
    options = flow.options if substeps is None else replace(flow.options, substeps=substeps)
    return CentralNoCurvature(flow.objective, flow.optimizer, options)


# One number ν moves all eigenvalues together, and without ∇H nothing else does: only the first of two valleys oscillates.
CASES = [("scalar_rmsprop", 1, 1, 0.99), ("scalar_rmsprop", 2, 1, 0.9), ("scalar_rmsprop", 1, 1, 0.0)]
CASES += [("rmsprop", 1, 1, 0.99), ("rmsprop", 2, 2, 0.99), ("rmsprop", 2, 2, 0.5)]


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize(("name", "n_sharp", "rank", "beta2"), CASES)
def test_whole_step_against_dense_oracle_without_third_derivatives(name, n_sharp, rank, beta2, monkeypatch) -> None:
    """w, ν and Σ of the dense predict-and-project substep in which ∇H = 0, in the force and in the constraint ([CF] Fig. 16, 22)."""
    monkeypatch.setattr(tests.oracles, "hessian_gradient", lambda f, w, step=0.0: np.zeros((len(w),) * 3))
    f, method, flow, point = make(name, n_sharp, beta2=beta2)
    error = 1e-4 if rank < n_sharp else 1e-6
    assert max(ranks_beside_oracle(f, method, without_curvature(flow), point, error)) == rank


def scalar_at_the_edge() -> tuple[Callable[[torch.Tensor], torch.Tensor], Method, Central, Point]:
    """Scalar RMSProp where η/√ν has come to rest on 2/S, with the sharpness still growing."""
    f, method, flow, point = make("scalar_rmsprop", 1, beta2=0.9)
    flow = without_curvature(flow, substeps=4)
    state = start(flow, method, point)
    for _ in range(5):
        state = flow.step(state)
    assert len(state.variances) == 1
    return f, method, flow, Point(state.point.w.numpy(), point.m, state.point.nu.numpy(), state.point.tau)


def top(f: Callable[[torch.Tensor], torch.Tensor], w: Array) -> float:
    """S(w), dense."""
    return float(np.linalg.eigvalsh(hessian(f, w))[-1])


def test_scalar_rmsprop_at_the_edge_is_gradient_flow_at_two_over_sharpness(monkeypatch) -> None:
    """dw/dt = −(2/S(w))∇L, S from dense Hessians ([CF] Fig. 16), to the order of the substeps; η/√ν = 2/S on the way."""
    monkeypatch.setattr(base, "EIGEN_TOLERANCE", 1e-6)
    f, method, flow, point = scalar_at_the_edge()
    steps = 8
    solved = solve_ivp(lambda _, w: -2 / top(f, w) * gradient(f, w), (0, steps), point.w, rtol=1e-7, atol=1e-10, method="DOP853")
    there = solved.y[:, -1]
    path = np.linalg.norm(there - point.w)
    assert top(f, there) > 1.02 * top(f, point.w)  # a constant step size would be another flow
    found, errors = {}, []
    for substeps in (2, 4, 8):
        finer = without_curvature(flow, substeps)
        state = start(finer, method, point)
        for _ in range(steps):
            state = finer.step(state)
            assert LR / float(state.point.nu.sqrt()) == pytest.approx(2 / top(f, state.point.w.numpy()), rel=2e-4)
        found[substeps] = state.point.w.numpy()
        errors.append(np.linalg.norm(found[substeps] - there) / path)
    assert errors[0] > 1.8 * errors[1] > 1.8**2 * errors[2]
    assert np.linalg.norm(2 * found[8] - found[4] - there) < 3e-4 * path
    whole = Central(flow.objective, flow.optimizer, Options(substeps=2, n_eigs=2))
    state = start(whole, method, point)
    for _ in range(steps):
        state = whole.step(state)
    assert np.linalg.norm(state.point.w.numpy() - there) > 0.02 * path


@pytest.mark.parametrize("name", ["scalar_rmsprop", "rmsprop"])
def test_oscillations_move_nu_and_no_weight(name: str) -> None:
    """What Σ adds to the velocities is (0, κ₂ diag(HΣH)): bit for bit no weight, and the whole central flow's ν."""
    _, method, flow, point = make(name, 1, substeps=1)
    state = start(flow, method, point)
    for _ in range(3):
        state = flow.step(state)
    assert len(state.variances) == 1
    added = (state, state.modes, state.variances, state.curvatures, None, 0.5)
    (moved, _), (whole, _) = without_curvature(flow)._pushed(*added), flow._pushed(*added)
    assert torch.equal(moved.w, state.point.w)
    assert not torch.equal(whole.w, state.point.w)
    assert torch.equal(moved.nu, whole.nu)
    assert float((moved.nu - state.point.nu).norm()) > 1e-3 * float(moved.nu.norm())


def test_scalar_rmsprop_moves_along_the_gradient_alone() -> None:
    """With one number for P, −∇L and the move of one substep are parallel, to rounding, while Σ is not 0."""
    sines = []
    _, method, flow, point = make("scalar_rmsprop", 1, substeps=1)
    for kind in (without_curvature(flow), flow):
        state = start(kind, method, point)
        for _ in range(3):
            before, state = state, kind.step(state)
        assert len(state.variances) == 1
        move, slope = state.point.w - before.point.w, before.gradient / before.gradient.norm()
        sines.append(float((move - slope * (slope @ move)).norm() / move.norm()))
    assert sines[0] < 1e-12
    assert sines[1] > 1e-3


# The modified flow


def modified_field(f: Callable[[torch.Tensor], torch.Tensor], lr: float) -> Callable[[float, Array], Array]:
    """−η(∇L + (η/2)H∇L) with the dense Hessian ([CF] C.1)."""

    def field(_: float, w: Array) -> Array:
        g = gradient(f, w)
        return -lr * (g + 0.5 * lr * hessian(f, w) @ g)

    return field


def ends(kind: type[Stable], f: Valleys, w: Array, lr: float, steps: int) -> torch.Tensor:
    """Where a flow of gradient descent with the learning rate `lr` is after some steps."""
    flow = kind(Objective.from_function(f, f.n_params), Optimizer("gd", lr=lr), Options())
    point = State(torch.tensor(w))
    state = flow.init(Start(point, point, torch.zeros_like(point.w)))
    for _ in range(steps):
        state = flow.step(state)
    assert not state.stopped
    assert state.point.tau == pytest.approx(steps)
    assert state.loss == pytest.approx(float(f(state.point.w)), rel=1e-12)
    return state.point.w


def finely(kind: type[Stable], f: Valleys, w: Array, lr: float, steps: int, parts: int) -> torch.Tensor:
    """The same with every step of the flow in equal parts."""
    flow = kind(Objective.from_function(f, f.n_params), Optimizer("gd", lr=lr), Options())
    point = State(torch.tensor(w))
    for _ in range(steps * parts):
        point, _ = flow.moved(point, flow.objective.grad(point.w), 3, 1 / parts)
    return point.w


def below_the_edge(ratio: float) -> tuple[Valleys, Array]:
    """Two valleys whose sharpness is `ratio` of 2/η at η = 0.1, and a start off their floors."""
    f = Valleys(2, 6, sharpness=20.0 * ratio)
    return f, np.concatenate([[0.3, -0.2], np.full(6, 0.1)])


@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_modified_flow_against_an_ode_solver(ratio: float) -> None:
    """dw/dt = −η(∇L + (η/2)H∇L) by a solver of high order with dense matrices: a quarter of the error with half the step.

    By whole steps near from far off the valley's floor, and the more so from near it, where a flow starts.
    """
    f, w = below_the_edge(ratio)
    field, options = modified_field(f, LR), {"rtol": 1e-8, "atol": 1e-11, "method": "DOP853"}
    soon = torch.tensor(solve_ivp(field, (0, 2), w, **options).y[:, -1])
    path = float((soon - torch.tensor(w)).norm())
    assert float((ends(Modified, f, w, LR, 2) - soon).norm()) < 0.1 * path
    low = w * np.array([0.01] * 2 + [1.0] * 6)
    late = torch.tensor(solve_ivp(field, (0, 12), low, **options).y[:, -1])
    assert float((ends(Modified, f, low, LR, 12) - late).norm()) < 2e-3 * float((late - torch.tensor(low)).norm())
    errors = [float((finely(Modified, f, w, LR, 2, parts) - soon).norm()) / path for parts in (8, 16, 32)]
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]
    assert errors[2] < 1e-3


def test_modified_flow_is_stable_near_its_edge() -> None:
    """Its fastest mode contracts by ηλ(1 + ηλ/2), which is 8.3 at ηλ = 3.2: the stages follow that, not ηλ, and leave 8 % of it a step."""
    f = Valleys(1, 1, sharpness=20.0 * 1.6)
    w = np.array([0.05, 0.0])
    assert abs(float(ends(Modified, f, w, LR, 4)[0])) < 0.05 * 0.081**4


def test_modified_flow_is_one_order_nearer_the_optimizer_than_the_stable_flow() -> None:
    """Below the edge, over the same ηt: distance to gradient descent's iterates O(η²) against O(η) ([CF] C.1)."""
    f, w = below_the_edge(0.3)
    objective = Objective.from_function(f, f.n_params)
    distances = []
    for lr, steps in ((LR / 2, 6), (LR / 4, 12)):
        optimizer, state = Optimizer("gd", lr=lr), State(torch.tensor(w))
        for _ in range(steps):
            state = optimizer.step(state, objective.grad(state.w))
        # In parts, so that no error of the flow's own steps, also O(η²), is among them.
        distances.append([float((finely(kind, f, w, lr, steps, 8) - state.w).norm()) for kind in (Stable, Modified)])
    stable, modified = np.array(distances).T
    np.testing.assert_allclose(stable[:-1] / stable[1:], 2, rtol=0.2)
    np.testing.assert_allclose(modified[:-1] / modified[1:], 4, rtol=0.2)
    assert modified[-1] < stable[-1] / 8
