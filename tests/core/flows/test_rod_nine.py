"""The rod flow of all nine optimizers against a dense one in phase space, and against the optimizers' own difference equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows.base import Options, Start
from cflows_core.flows.rod import Rod, RodState
from cflows_core.optimizers import State
from tests.oracles import NINE, Method, Point, Valleys

LR = 0.1
P_COUNT = 5


def problem(method: Method, nu: np.ndarray | None) -> Valleys:
    """Slightly beyond the edge, in the optimizer's own units, so that the rod lives."""
    return Valleys(2, 3, sharpness=1.03 * method.c * float(np.mean(method.P(nu, 20.0))))


def setting(name: str, *, corrects: bool = False) -> tuple[Method, Valleys, Point]:
    method = Method(name, LR, corrects=corrects)
    nu = None
    if name.startswith("scalar"):
        nu = np.array(4e-3)
    elif method.name in ("rmsprop", "adam", "nadam"):
        nu = (0.05 + 0.02 * np.arange(P_COUNT)) ** 2
    return method, problem(method, nu), Point(np.array([0.02, 0.01, 0.0, 0.05, 0.0]), np.array([0.0, 0.01, -0.02, 0.0, 0.02]), nu, 20.5)


def rod(method: Method, f, point: Point, zeta: np.ndarray, m_zeta: np.ndarray, substeps: int, **chosen: str) -> tuple[Rod, RodState]:
    optimizer = Optimizer(method.name, lr=method.lr, beta2=method.beta2, bias_correction=method.corrects)
    moving = method.has_momentum
    options = Options(substeps=substeps, rod_rank=2 * P_COUNT if moving else P_COUNT, n_eigs=2, **chosen)
    flow = Rod(Objective.from_function(f, P_COUNT), optimizer, options)
    m = torch.tensor(point.m) if moving else None
    state = State(torch.tensor(point.w), point.tau, m, None if point.nu is None else torch.tensor(point.nu))
    return flow, flow.init(Start(state, state, torch.tensor(zeta), torch.tensor(m_zeta) if moving else None))


def dense(state: RodState) -> np.ndarray:
    """Σ of (w, m) in their own units."""
    root = state.scale.expand(P_COUNT).numpy()
    back = 1 / root if state.point.m is None else np.concatenate([1 / root, root])
    return back[:, None] * state.extent.dense().numpy() * back


ZETA, M_ZETA = np.array([0.05, -0.02, 0.01, 0.0, 0.0]), np.array([-0.3, 0.1, 0.0, 0.05, 0.0])


@pytest.mark.parametrize(("name", "corrects"), [(name, False) for name in NINE] + [("adam", True), ("scalar_nadam", True)])
def test_full_rank_against_dense(name: str, corrects: bool) -> None:
    """Nothing is cut at full rank: centre, ν and Σ agree to rounding, in raw units, substep by substep.

    The oracle takes ζ in coordinates balanced by the P̃ of the substep before, as the flow does; with the identity kind without momentum
    there is nothing to balance.
    """
    agree(name, corrects, "balanced", "none")


@pytest.mark.parametrize(("name", "corrects"), [(name, False) for name in NINE] + [("adam", True), ("scalar_nadam", True)])
@pytest.mark.parametrize("coordinates", ["balanced", "raw"])
def test_corrected_against_dense(name: str, corrects: bool, coordinates: str) -> None:
    """The same with the backward-error correction, which the oracle takes by differences; in raw coordinates with ζ that of Σ itself."""
    agree(name, corrects, coordinates, "backward_error")


@pytest.mark.parametrize("name", NINE)
def test_raw_against_dense(name: str) -> None:
    agree(name, False, "raw", "none")


def agree(name: str, corrects: bool, coordinates: str, correction: str) -> None:
    method, f, point = setting(name, corrects=corrects)
    flow, state = rod(method, f, point, ZETA, M_ZETA, substeps=3, rod_coordinates=coordinates, rod_correction=correction)
    corrected = correction != "none"
    size = 2 * P_COUNT if method.has_momentum else P_COUNT
    column = np.concatenate([ZETA, M_ZETA])[:size]
    sigma, metric = np.outer(column, column), np.ones(())
    for _ in range(8):
        state = flow.step(state)
        assert not state.stopped
        for _ in range(3):
            point, sigma, used = method.rod_step(f, point, sigma, 1 / 3, metric, corrected)
            metric = used if coordinates == "balanced" else None
        np.testing.assert_allclose(state.point.w.numpy(), point.w, rtol=1e-9, atol=1e-11)
        if method.has_momentum:
            np.testing.assert_allclose(state.point.m.numpy(), point.m, rtol=1e-9, atol=1e-10)
        if point.nu is not None:
            np.testing.assert_allclose(state.point.nu.numpy(), point.nu, rtol=1e-9)
        np.testing.assert_allclose(dense(state), sigma, atol=1e-9 * np.abs(sigma).max())
    assert float(state.zeta.norm()) > 1e-3


@pytest.mark.parametrize("name", ["gd", "heavy_ball", "nesterov"])
def test_one_unit_step_is_the_difference_equation(name: str) -> None:
    """Full rank, dt = 1: centre and outer product of three consecutive iterates of the optimizer, to rounding ([RF] eq. 4, 5)."""
    method, f, first = setting(name)
    for _ in range(4):  # into motion
        first = method.step(f, first)
    if not method.has_momentum:
        first = first._replace(m=np.zeros(P_COUNT))
    iterates = [first, method.step(f, first)]
    iterates += [method.step(f, iterates[-1])]
    (a, b, c) = iterates
    middle = Point((a.w + b.w) / 2, (a.m + b.m) / 2, None, a.tau + 0.5)
    flow, state = rod(method, f, middle, (a.w - b.w) / 2, (a.m - b.m) / 2, substeps=1)
    state = flow.step(state)
    np.testing.assert_allclose(state.point.w.numpy(), (b.w + c.w) / 2, atol=1e-13)
    column = (b.w - c.w) / 2
    if method.has_momentum:
        np.testing.assert_allclose(state.point.m.numpy(), (b.m + c.m) / 2, atol=1e-13)
        column = np.concatenate([column, (b.m - c.m) / 2])
    expected = np.outer(column, column)
    np.testing.assert_allclose(dense(state), expected, atol=1e-10 * np.abs(expected).max())
    zeta = state.zeta.numpy()
    np.testing.assert_allclose(zeta * np.sign(zeta @ column[:P_COUNT]), column[:P_COUNT], atol=1e-8 * np.abs(column).max())


@pytest.mark.parametrize("name", [name for name in NINE if "adam" in name or "prop" in name])
def test_adaptive_unit_step_errs_by_half_a_difference_of_nu(name: str) -> None:
    """With P̃ at the mean of both ends' ν a unit step errs by ν's half-difference alone (math.md 6): in proportion to 1 − β₂."""
    errors = []
    for beta2 in (1 - 1e-6, 1 - 1e-7):
        _, f, a = setting(name)
        method = Method(name, LR, beta2=beta2)
        b = method.step(f, a)
        c = method.step(f, b)
        middle = Point((a.w + b.w) / 2, (a.m + b.m) / 2, (a.nu + b.nu) / 2, a.tau + 0.5)
        flow, state = rod(method, f, middle, (a.w - b.w) / 2, (a.m - b.m) / 2, substeps=1)
        state = flow.step(state)
        errors.append(np.abs(state.point.w.numpy() - (b.w + c.w) / 2).max() / np.abs(c.w - a.w).max())
    assert errors[0] < 0.01
    assert errors[1] < 0.15 * errors[0]
