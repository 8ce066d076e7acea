"""The central flow of all nine optimizers: whole substeps against an independent dense one, and against [CF]'s linearised form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows import base, central, force
from cflows_core.flows.base import Options, Start
from cflows_core.flows.central import Central, CentralState
from cflows_core.flows.stable import Stable
from cflows_core.optimizers import State
from tests.oracles import NINE, Method, Point, Valleys, gradient, hessian

LR = 0.1
SCHEDULE = "warmup(60)"


class Bent:
    """Valleys in coordinates that mix all of theirs, scaled so that P̃⁻¹H starts with exactly the valleys' own Hessian's eigenvalues."""

    def __init__(self, valley: Valleys, P: np.ndarray, seed: int = 1):
        p = valley.n_params
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((p, p)))[0]
        self.valley, self.n_params = valley, p
        self.matrix = torch.tensor(rotation * np.sqrt(np.broadcast_to(P, (p,))))

    def __call__(self, w: torch.Tensor) -> torch.Tensor:
        return self.valley(self.matrix @ w)

    def at(self, v: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.matrix.numpy(), v)


def as_state(point: Point, method: Method) -> State:
    m = torch.tensor(point.m) if method.has_momentum else None
    return State(torch.tensor(point.w), point.tau, m, None if point.nu is None else torch.tensor(point.nu))


def make(
    name: str,
    n_sharp: int,
    *,
    ratio: float = 1.004,
    beta2: float = 0.99,
    corrects: bool = False,
    substeps: int = 2,
    scheduled: bool = False,
) -> tuple[Bent, Method, Central, Point]:
    """A flow that starts just below the edge, off the valley's floor, with the momentum that its gradient there gives."""
    method = Method(name, LR, beta2=beta2, corrects=corrects)
    if scheduled:
        method = replace(method, schedule=lambda tau: min(1.0, (tau + 1) / 60))
    p, rng = n_sharp + 6, np.random.default_rng(2)
    nu, tau = None, 20.5
    if name.startswith("scalar"):
        nu = np.array(4e-3)
    elif method.name in ("rmsprop", "adam", "nadam"):
        nu = (0.02 + 0.02 * rng.random(p)) ** 2
    f = Bent(Valleys(n_sharp, 6, sharpness=ratio * method.c), method.P(nu, tau))
    w = f.at(np.concatenate([np.full(n_sharp, 1e-5), np.zeros(6)]))
    m = gradient(f, w) if method.has_momentum else np.zeros(p)
    point = Point(w, m, nu, tau)
    # From x rather than w, so that the eigenvalues at the gradient point are the valley's.
    point = point._replace(w=w + (w - method.x(point)))
    optimizer = Optimizer(name, lr=LR, beta2=beta2, bias_correction=corrects, schedule=SCHEDULE if scheduled else "constant")
    flow = Central(Objective.from_function(f, p), optimizer, Options(substeps=substeps, n_eigs=n_sharp + 1))
    return f, method, flow, point


def start(flow: Central, method: Method, point: Point) -> CentralState:
    state = as_state(point, method)
    return flow.init(Start(state, state, torch.zeros_like(state.w)))


def at(flow: Central, state: CentralState, method: Method, point: Point) -> CentralState:
    """The flow's state put at a point, with its caches of loss and gradient."""
    new = as_state(point, method)
    loss, slope = flow.loss_and_grad(new)
    return replace(state, point=new, loss=loss, gradient=slope)


def agree(ours: torch.Tensor | None, theirs: np.ndarray, *, rtol: float, scale: float | None = None) -> float:
    """Largest error as a share of the largest entry (or of `scale`), asserted to be below rtol."""
    error = np.abs(ours.numpy() - theirs).max() / (scale or np.abs(theirs).max())
    assert error < rtol
    return error


def ranks_beside_oracle(f: Bent, method: Method, flow: Central, point: Point, error: float) -> list[int]:
    """Σ's rank in three steps of a flow, each of which agrees with the dense oracle's from the same point to `error`.

    The flow has to take exact eigenpairs, β afresh in every substep and one correction, as the oracle does.
    """
    state = start(flow, method, point)
    assert not state.settling
    ranks, held = [], 0.0
    for _ in range(3):
        theirs, sigma = point, np.zeros(())
        for _ in range(2):
            begin = theirs
            for _ in range(2):  # once more, with ν predicted by the Σ just found
                theirs, sigma, held = method.central_step(f, begin, 0.5, held)
        state = flow.step(at(flow, state, method, point))
        assert not state.stopped
        ranks.append(len(state.variances))
        agree((state.modes * state.variances) @ state.modes.T, sigma, rtol=error, scale=np.abs(sigma).max())
        agree(state.point.w, theirs.w, rtol=error, scale=np.abs(theirs.w - point.w).max())
        if method.has_momentum:
            agree(state.point.m, theirs.m, rtol=error)
        if theirs.nu is not None:
            agree(state.point.nu, theirs.nu, rtol=error)
        point = theirs
    return ranks


# name, sharp directions, how many of them are held at once, β₂, whether averages' starts are corrected, and η scheduled.
# One number ν moves all eigenvalues together, so that only the first oscillates unless ν follows slowly.
CASES = [(name, k, k, 0.99 if k == 1 or "scalar" not in name else 1 - 1e-6, False, False) for name in NINE for k in (1, 2)]
CASES += [(name, 2, 2, 0.99, True, False) for name in ("adam", "nadam")] + [("scalar_adam", 1, 1, 0.99, True, False)]
CASES += [("rmsprop", 3, 2, 0.99, False, False), ("nadam", 3, 2, 0.99, True, False), ("rmsprop", 2, 2, 0.9, False, False)]
CASES += [("rmsprop", 3, 3, 0.999, False, False), ("scalar_rmsprop", 3, 3, 1 - 1e-6, False, False)]
CASES += [("rmsprop", 1, 1, 0.2, False, False), ("scalar_rmsprop", 1, 1, 0.0, False, False)]
CASES += [("nesterov", 1, 1, 0.99, False, True), ("adam", 2, 2, 0.9, True, True)]


@pytest.mark.parametrize(("name", "n_sharp", "rank", "beta2", "corrects", "scheduled"), CASES)
def test_whole_step_against_dense_oracle(name, n_sharp, rank, beta2, corrects, scheduled, monkeypatch) -> None:
    """w, m, ν and Σ, with exact eigenpairs, β afresh in every substep and one correction, as the oracle has them.

    To 1e-6; without ν to 1e-5, and where a mode leaves Σ to 1e-4, because there the conic solver's answer is no better.
    """
    monkeypatch.setattr(base, "EIGEN_TOLERANCE", 1e-10)
    monkeypatch.setattr(central, "REFRESH", 1)
    monkeypatch.setattr(force, "MISSED", -1.0)
    monkeypatch.setattr(central, "BENT", -1.0)
    monkeypatch.setattr(central, "CORRECTIONS", 1)
    f, method, flow, point = make(name, n_sharp, beta2=beta2, corrects=corrects, scheduled=scheduled)
    error = 1e-4 if rank < n_sharp else 1e-5 if point.nu is None else 1e-6
    assert max(ranks_beside_oracle(f, method, flow, point, error)) == rank


@pytest.mark.parametrize("name", NINE)
def test_linearised_form_agrees_to_second_order(name: str, monkeypatch) -> None:
    """[CF] linearises H and P̃ over the substep from its start; here they are taken at its end: the same to O(dt²)."""
    monkeypatch.setattr(base, "EIGEN_TOLERANCE", 1e-10)
    monkeypatch.setattr(central, "REFRESH", 1)
    monkeypatch.setattr(force, "MISSED", -1.0)
    n_sharp = 1 if "scalar" in name else 2
    f, method, flow, point = make(name, n_sharp, substeps=16)
    state = start(flow, method, point)
    for _ in range(2):
        state = flow.step(state)
    assert len(state.variances) >= 1
    m, nu = state.point.m, state.point.nu
    point = Point(
        state.point.w.numpy(), np.zeros(f.n_params) if m is None else m.numpy(), None if nu is None else nu.numpy(), state.point.tau
    )
    gap = path = 0.0
    gaps = []
    for dt in (0.1, 0.05):
        ours = flow._substep(at(flow, state, method, point), dt, solve=True)
        theirs, sigma = method.linearised_step(f, point, dt)
        agree((ours.modes * ours.variances) @ ours.modes.T, sigma, rtol=0.3, scale=np.abs(sigma).max())
        gap, path = np.linalg.norm(ours.point.w.numpy() - theirs.w), np.linalg.norm(theirs.w - point.w)
        assert gap < 0.05 * path
        gaps.append([gap] + ([] if nu is None else [np.abs(ours.point.nu.numpy() - theirs.nu).max()]))
    assert (np.array(gaps[0]) > 3 * np.array(gaps[1])).all()


@pytest.mark.parametrize("name", NINE)
def test_without_critical_modes_it_is_the_stable_flow(name: str) -> None:
    """Its substeps are exactly the plain Euler steps of math.md 3, whose limit the stable flow is."""
    f, method, _, point = make(name, 2, ratio=0.4, corrects="adam" in name)
    objective, optimizer = Objective.from_function(f, f.n_params), Optimizer(name, lr=LR)
    begin = Start(as_state(point, method), as_state(point, method), torch.zeros(f.n_params, dtype=torch.float64))
    stable = Stable(objective, optimizer, Options())
    limit = stable.init(begin)
    for _ in range(3):
        limit = stable.step(limit)
    ends = []
    for substeps in (4, 16, 32):
        euler = point
        flow = Central(objective, optimizer, Options(substeps=substeps))
        state = flow.init(begin)
        for _ in range(3):
            for _ in range(substeps):
                euler = method.stable_step(f, euler, 1 / substeps)
            state = flow.step(state)
        assert len(state.variances) == 0
        np.testing.assert_allclose(state.point.w.numpy(), euler.w, rtol=1e-10)
        if euler.nu is not None:
            np.testing.assert_allclose(state.point.nu.numpy(), euler.nu, rtol=1e-10)
        if method.has_momentum:
            np.testing.assert_allclose(state.point.m.numpy(), euler.m, rtol=1e-10)
        ends.append(state.point)
    path = float((limit.point.w - begin.state.w).norm())
    for entry in ("w", "m", "nu"):
        there, coarse, fine = (getattr(end, entry) for end in (limit.point, *ends[1:]))
        if there is None:
            continue
        scale = path if entry == "w" else float(there.norm())
        assert float((2 * fine - coarse - there).norm()) < 2e-3 * scale  # Euler's error to first order taken away


@pytest.mark.parametrize("name", NINE)
def test_stays_at_the_edge_with_an_old_sensitivity(name: str, monkeypatch) -> None:
    """β may be forty substeps old (math.md 4, Cost) and third derivatives one: the top eigenvalue stays, the path is the same to 2e-3."""
    _, method, flow, point = make(name, 2, ratio=1.0)
    begin = state = start(flow, method, point)
    for _ in range(15):
        state = flow.step(state)
        assert not state.stopped
        assert float(state.values[0]) < 1.002 * method.c
    monkeypatch.setattr(central, "REFRESH", 1)
    monkeypatch.setattr(force, "MISSED", -1.0)
    young = begin
    for _ in range(15):
        young = flow.step(young)
    gap, path = float((state.point.w - young.point.w).norm()), float((young.point.w - begin.point.w).norm())
    assert gap < 2e-3 * path


@pytest.mark.parametrize("name", ["scalar_rmsprop", "rmsprop", "scalar_nadam", "nadam"])
@pytest.mark.parametrize("beta2", [0.9, 0.5, 0.2, 0.0])
def test_holds_the_true_edge_however_short_the_memory(name: str, beta2: float) -> None:
    """λ_max(P̃⁻¹H) = c of the dense matrices, with the default numerics, also where ν is made of the oscillations alone."""
    f, method, flow, point = make(name, 1 if "scalar" in name else 2, beta2=beta2)
    state = start(flow, method, point)
    errors = []
    for _ in range(10):
        state = flow.step(state)
        P = method.P(state.point.nu.numpy(), state.point.tau)
        values = scipy.linalg.eigh(hessian(f, state.point.w.numpy()), np.diag(np.broadcast_to(P, (f.n_params,))), eigvals_only=True)
        errors.append(abs(values[-1] / method.c - 1))
        assert len(state.variances)
    assert max(errors[3:]) < 1e-3


@pytest.mark.parametrize("name", NINE)
def test_predicted_loss_and_covariance_are_those_of_the_iterates(name: str) -> None:
    """L + ½⟨H, Σ_w⟩, Σ_w = Σ/(1 + 2β₁)² for look-ahead, against dense matrices."""
    f, method, flow, point = make(name, 1)
    state = start(flow, method, point)
    for _ in range(3):
        state = flow.step(state)
    sigma = ((state.modes * state.variances) @ state.modes.T).numpy()
    w, x = state.point.w, flow.optimizer.gradient_point(state.point)
    H = hessian(f, x.numpy())
    shrink = (1 + 2 * 0.9) ** 2 if name == "nesterov" else 1
    series = flow.series(state)
    assert series["predicted_loss"] - series["loss"] == pytest.approx(0.5 * np.sum(H * sigma) / shrink, rel=0.05)
    expected = gradient(f, x.numpy()) @ gradient(f, x.numpy()) + np.trace(H @ sigma @ H)
    assert series["predicted_grad_norm_sq"] == pytest.approx(expected, rel=0.05)
    assert series["loss"] == pytest.approx(float(f(w)), rel=1e-12)
