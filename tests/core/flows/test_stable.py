"""The stable flow's Runge–Kutta–Chebyshev steps: order, stability and cost, against closed forms and Euler's limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from cflows_core import Objective, Optimizer
from cflows_core.flows.base import Options, Start
from cflows_core.flows.chebyshev import chebyshev_stages, stable_radius, stages_for
from cflows_core.flows.stable import REGION, Stable, StableState
from cflows_core.optimizers import State
from tests.core.flows.test_central_nine import as_state, make
from tests.core.test_optimizers import W0, bowl
from tests.oracles import NINE, Array

RATIOS = (0.05, 0.3, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0, REGION)


# The method


def multiplier(count: int, z: Array) -> Array:
    """R(z): what one step makes of y' = λy, y = 1, with z = λ dt."""
    before, moved = np.zeros_like(z), np.zeros_like(z)
    for stage in chebyshev_stages(count):
        rate, first = z * (1 + moved), z
        moved, before = stage.before * moved + stage.older * before + stage.rate * rate + stage.first * first, moved
    return 1 + moved


@pytest.mark.parametrize("count", range(2, 31))
def test_stable_on_the_interval_and_in_the_disc(count: int) -> None:
    """|R| ≤ 1 for z in [−ρ, 0] of the largest ρ that gets `count` stages, and for |1 + z| ≤ 1; fast modes keep 38 % of themselves at most.

    ρ grows with the square of the stages.
    """
    radius = stable_radius(count)
    assert [stages_for(share * radius) for share in (0.999, 1.001)] == [count, count + 1]
    assert radius > 0.32 * (count**2 - 1)
    z = -np.linspace(0, radius, 4001)
    R = multiplier(count, z)
    assert np.abs(R).max() <= 1
    assert R.min() > 0  # as exp(z): no mode changes sign
    assert R[z <= min(-1.5, -0.5 * stable_radius(3))].max(initial=0.0) < 0.39
    assert R[z <= -1].max() < 0.55
    disc = np.exp(1j * np.linspace(0, np.pi, 2001)) - 1  # by the maximum principle its rim is enough
    assert np.abs(multiplier(count, disc)).max() < 1 + 1e-12


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_second_order_and_times(count: int) -> None:
    """R(z) = 1 + z + z²/2 + O(z³); a stage's time is what it makes of y' = 1, from 0 up to 1."""
    z = np.array([1e-2, 1e-3])
    error = np.abs(multiplier(count, z) - (1 + z + z * z / 2))
    assert (error < 0.2 * z**3 + 1e-15).all()
    stages, before, moved = chebyshev_stages(count), 0.0, 0.0
    for stage in stages:
        moved, before = stage.before * moved + stage.older * before + stage.rate + stage.first, moved
        assert stage.time == pytest.approx(moved, rel=1e-13)
        assert moved > before
    assert stages[-1].time == 1.0


# What is stiff


def quadratic(name: str, ratios: list[float]) -> tuple[Stable, Objective, Array]:
    """The flow on ½ Σ h_i w_i² with eigenvalues `ratios`·c of P⁻¹H at rest, and A [2p, 2p] or [p, p] of d(w, m)/dt = −A(w, m)."""
    optimizer = Optimizer(name, lr=0.1, beta1=0.9, beta2=1.0, bias_correction=False)
    h = torch.tensor(ratios, dtype=torch.float64) * optimizer.threshold / optimizer.lr
    objective = Objective.from_function(lambda w: 0.5 * (h * w * w).sum(), len(ratios))
    p, nu = len(ratios), resting(optimizer, len(ratios))
    columns = []
    for unit in torch.eye(p if optimizer.momentum == "none" else 2 * p, dtype=torch.float64):
        state = State(unit[:p], 0.0, None if optimizer.momentum == "none" else unit[p:], nu)
        dw, dm = optimizer.displacement(state.m, h * optimizer.gradient_point(state), optimizer.preconditioner(state))
        columns.append(-dw if dm is None else -torch.cat([dw, dm]))
    return Stable(objective, optimizer, Options()), objective, torch.stack(columns, dim=1).numpy()


def resting(optimizer: Optimizer, p: int) -> torch.Tensor | None:
    """ν = 1, so that P = 1/η nearly."""
    if not optimizer.adaptive:
        return None
    return torch.ones((), dtype=torch.float64) if optimizer.kind == "scalar" else torch.ones(p, dtype=torch.float64)


def at(flow: Stable, w: torch.Tensor, m: torch.Tensor | None) -> StableState:
    point = State(w, 0.0, m if flow.optimizer.momentum != "none" else None, resting(flow.optimizer, len(w)))
    return flow.init(Start(point, point, torch.zeros_like(w)))


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["gd", "heavy_ball", "nesterov", "nadam"])
def test_every_mode_is_stable_with_the_stages_that_the_top_one_gets(name: str, beta1: float) -> None:
    """|R(z)| ≤ 1 at the eigenvalues z of the 2×2 motion of every mode up to the top one, whose fastest is `stiffness` where real."""
    optimizer = Optimizer(name, lr=0.1, beta1=beta1, bias_correction=False)
    flow = Stable(Objective.from_function(bowl, 4), optimizer, Options())
    b, (c_m, c_g) = optimizer.beta1, optimizer.mixture
    ahead = b if optimizer.momentum == "look_ahead" else 0.0
    for top in RATIOS:
        count = stages_for(flow.stiffness(top))
        for ratio in np.linspace(0, top, 80):
            x = ratio * optimizer.threshold * np.array([1, -ahead])  # the gradient as a row over (w, ηm)
            block = np.array([-np.array([0, c_m]) - c_g * x, (1 - b) * (x - np.array([0, 1]))])
            z = np.linalg.eigvals(block)
            if b == 0:
                z = np.array([-ratio * optimizer.threshold], dtype=complex)
            assert np.abs(multiplier(count, z.astype(complex))).max() <= 1 + 1e-12
        fastest = np.abs(z.real).max()
        assert flow.stiffness(top) == pytest.approx(max(fastest, 1.0) if b == 0 else fastest, rel=1e-6)


@pytest.mark.parametrize("name", NINE)
@pytest.mark.parametrize("ratio", [0.05, 0.5, 1.0, 2.0, REGION])
def test_on_quadratics_against_the_exponential(name: str, ratio: float) -> None:
    """exp(−At)(w, m): the slow modes to third order a substep, the fast ones within what damps them; all from ratio 0 to REGION."""
    slow = [0.004, 0.01]
    flow, _, A = quadratic(name, [0.97 * ratio, 0.6 * ratio, *slow])
    w = torch.tensor([1e-3, -2e-3, 1.0, -0.5], dtype=torch.float64)
    m = torch.zeros_like(w)
    state, steps = at(flow, w, m), 12
    start = w.numpy() if flow.optimizer.momentum == "none" else np.concatenate([w.numpy(), m.numpy()])
    for _ in range(steps):
        state = flow.step(state)
    assert not state.stopped
    exact = (expm(-A * steps) @ start)[:4]
    np.testing.assert_allclose(state.point.w[2:].numpy(), exact[2:], atol=5e-4)
    assert np.abs(state.point.w[:2].numpy() - exact[:2]).max() < 5e-5


@pytest.mark.parametrize("name", ["gd", "heavy_ball", "nesterov", "nadam"])
def test_second_order_on_quadratics(name: str) -> None:
    flow, objective, A = quadratic(name, [0.4, 0.1, 0.03])
    w = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    begin = at(flow, w, 0.3 * w).point
    start = w.numpy() if begin.m is None else np.concatenate([w.numpy(), begin.m.numpy()])
    exact = (expm(-2 * A) @ start)[:3]
    errors = []
    for n in (8, 16, 32):
        end = integrated(flow, objective, begin, 2 * n, 1 / n)
        errors.append(np.linalg.norm(end.w.numpy() - exact))
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]
    assert errors[-1] < 2e-4


# The equation


def integrated(flow: Stable, objective: Objective, point: State, steps: int, dt: float, stages: int = 3) -> State:
    for _ in range(steps):
        point, _ = flow.moved(point, objective.grad(flow.optimizer.gradient_point(point)), stages, dt)
    return point


def euler(optimizer: Optimizer, objective: Objective, point: State, substeps: int, steps: int = 1) -> State:
    """The flow by the optimizer's own Euler substeps."""
    for _ in range(steps * substeps):
        point = optimizer.flow(point, objective.grad(optimizer.gradient_point(point)), 1 / substeps)
    return point


def euler_limit(optimizer: Optimizer, objective: Objective, point: State, steps: int = 1) -> tuple[Array, Array | None]:
    """(w, ν) of Euler's limit for ever more substeps, extrapolated twice."""
    ends = [euler(optimizer, objective, point, n, steps) for n in (80, 160, 320)]

    def limit(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> Array:
        return ((4 * (2 * c - b) - (2 * b - a)) / 3).numpy()

    nu = None if ends[0].nu is None else limit(*(end.nu for end in ends))  # type: ignore[arg-type]
    return limit(*(end.w for end in ends)), nu


def solved(optimizer: Optimizer, objective: Objective, point: State, steps: int = 1, n: int = 24) -> Array:
    """w by the classical Runge–Kutta method of fourth order in n parts a step, without bias correction or schedules."""

    def field(state: State) -> list[torch.Tensor]:
        g = objective.grad(optimizer.gradient_point(state))
        dw, dm = optimizer.displacement(state.m, g, optimizer.preconditioner(state))
        square = optimizer.square(g)
        return [dw] + ([] if dm is None else [dm]) + ([] if square is None else [optimizer.rate * (square - state.nu)])

    def moved(by: list[torch.Tensor], dt: float) -> State:
        m = None if point.m is None else point.m + dt * by[1]
        return State(point.w + dt * by[0], point.tau, m, None if point.nu is None else point.nu + dt * by[-1])

    for _ in range(steps * n):
        rates = [field(point)]
        for share in (0.5, 0.5, 1.0):
            rates.append(field(moved(rates[-1], share / n)))
        point = moved([(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(*rates, strict=True)], 1 / n)
    return point.w.numpy()


CASES = [(name, {}) for name in NINE]
CASES += [("rmsprop", {"beta2": beta2}) for beta2 in (0.9, 0.5, 0.2, 0.05, 0.0)]
CASES += [("scalar_rmsprop", {"beta2": 0.0}), ("scalar_nadam", {"beta2": 0.5}), ("adam", {"beta2": 0.7, "bias_correction": False})]
CASES += [("gd", {"schedule": "warmup(8)"}), ("adam", {"schedule": "cosine(9, 0.1)"}), ("rmsprop", {"bias_correction": True})]


def smooth(name: str, fields: dict) -> tuple[Optimizer, Objective, State]:
    optimizer, objective = Optimizer(name, lr=0.1, **fields), Objective.from_function(bowl, 4)
    w = torch.tensor(W0)
    g = objective.grad(w)
    nu = optimizer.square(g)
    if nu is not None and optimizer.beta2 > 0.1:
        nu = 1.3 * nu
    return optimizer, objective, State(w, 1.5, None if optimizer.momentum == "none" else 0.5 * g, nu)


@pytest.mark.parametrize(("name", "fields"), CASES)
def test_second_order_towards_the_limit_of_eulers_substeps(name: str, fields: dict) -> None:
    """w and ν, with schedules and bias correction; κ₂ = 19 a step at β₂ = 0.05 needs short steps to show its order."""
    optimizer, objective, begin = smooth(name, fields)
    flow = Stable(objective, optimizer, Options())
    w, nu = euler_limit(optimizer, objective, begin)
    errors = []
    for n in (8, 16, 32):
        end = integrated(flow, objective, begin, n, 1 / n)
        errors.append([np.abs(end.w.numpy() - w).max()] + ([] if nu is None else [np.abs(end.nu.numpy() - nu).max()]))
    rates = np.log2(np.array(errors[1]) / np.array(errors[2]))
    small = np.array(errors[2]) < 2e-8  # what the reference is good to
    assert (small | (rates > 1.8)).all(), (errors, rates)


@pytest.mark.parametrize(("name", "fields"), CASES)
def test_two_substeps_are_nearer_the_solution_than_eulers_four(name: str, fields: dict) -> None:
    optimizer, objective, begin = smooth(name, fields)
    flow = Stable(objective, optimizer, Options())
    w, _ = euler_limit(optimizer, objective, begin)
    ours = integrated(flow, objective, begin, 2, 0.5, stages=2)
    theirs = euler(optimizer, objective, begin, 4)
    # Where ν forgets within a third of a step, no stage resolves it.
    slack = 1.5 if 0 < optimizer.beta2 < 0.3 else 1.0 if optimizer.beta2 == 0 else 0.6
    assert np.linalg.norm(ours.w.numpy() - w) < slack * np.linalg.norm(theirs.w.numpy() - w)


@pytest.mark.parametrize("name", ["gd", "rmsprop", "adam", "nesterov"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 5.0, 9.0])
def test_nearer_than_euler_at_a_fraction_of_its_gradients(name: str, ratio: float) -> None:
    """Along a valley, with max(4, ⌈4 λ/c⌉) substeps as the rival, whose gradients number as many."""
    _, method, start, point = make(name, 2, ratio=ratio)
    optimizer, objective, begin, steps = start.optimizer, start.objective, as_state(point, method), 3
    flow, n = Stable(objective, optimizer, Options()), max(4, int(np.ceil(4 * ratio)))
    w = solved(optimizer, objective, begin, steps)
    state = flow.init(Start(begin, begin, torch.zeros_like(begin.w)))
    for _ in range(steps):
        state = flow.step(state)
    ours = np.linalg.norm(state.point.w.numpy() - w)
    assert ours < np.linalg.norm(euler(optimizer, objective, begin, n, steps).w.numpy() - w)
    assert ours < 5e-4 * np.linalg.norm(w - begin.w.numpy())


# Fast transients


def transients(name: str, ratio: float, against: float) -> list[tuple[float, float]]:
    """Errors after 1, 2 and 3 steps of the flow and of max(4, ⌈4 ratio⌉) Euler substeps, as shares of the path.

    Modes of all speeds start off the floor, and m is `against` times the gradient there.
    """
    flow, objective, A = quadratic(name, [ratio, 0.6 * ratio, 0.3 * ratio, 0.01])
    w = torch.ones(4, dtype=torch.float64)
    state = at(flow, w, against * objective.grad(w))
    point = state.point
    start = w.numpy() if point.m is None else np.concatenate([w.numpy(), point.m.numpy()])
    errors = []
    for steps in (1, 2, 3):
        state, point = flow.step(state), euler(flow.optimizer, objective, point, max(4, int(np.ceil(4 * ratio))))
        exact = (expm(-A * steps) @ start)[:4]
        ours, theirs = (np.linalg.norm(end.w.numpy() - exact) / np.linalg.norm(exact - start[:4]) for end in (state.point, point))
        errors.append((float(ours), float(theirs)))
    return errors


@pytest.mark.parametrize("name", ["gd", "rmsprop", "adam", "nesterov"])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9, 2.0, 5.0])
def test_fast_transients(name: str, ratio: float) -> None:
    """Off the floor below the edge it is nearer than Euler; above, with fewer gradients, within 9 % of the path, and 1.5 % one step on."""
    errors = transients(name, ratio, 0.0 if name in ("adam", "nesterov") else 1.0)
    for step, (ours, theirs) in enumerate(errors):
        assert ours < (theirs if ratio < 1 else (0.09, 0.015, 0.004)[step])


@pytest.mark.parametrize("name", ["adam", "nesterov"])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.9, 2.0, 5.0])
def test_fast_transients_of_momentum_far_from_the_gradient(name: str, ratio: float) -> None:
    """With m at the opposite of the gradient: nearer than Euler, but for the first step above the edge."""
    errors = transients(name, ratio, -1.0)
    for step, (ours, theirs) in enumerate(errors):
        assert ours < (0.22 if ratio > 1 and step == 0 else 1.1 * theirs)


@pytest.mark.parametrize("name", ["gd", "rmsprop", "adam", "nesterov"])
@pytest.mark.parametrize("ratio", [0.3, 0.9, 2.0, 5.0])
def test_fast_transients_in_a_valley_that_bends(name: str, ratio: float) -> None:
    """From 0.02 off the floor of `make`'s valley along a sharp direction, where ν moves as well."""
    _, method, start, point = make(name, 2, ratio=ratio)
    optimizer, objective, begin = start.optimizer, start.objective, as_state(point, method)
    begin = replace(begin, w=begin.w + 0.02 * torch.eye(8, dtype=torch.float64)[0])
    flow, n = Stable(objective, optimizer, Options()), max(4, int(np.ceil(4 * ratio)))
    w = solved(optimizer, objective, begin)
    state = flow.step(flow.init(Start(begin, begin, torch.zeros_like(begin.w))))
    path = np.linalg.norm(w - begin.w.numpy())
    ours, theirs = (np.linalg.norm(end.w.numpy() - w) / path for end in (state.point, euler(optimizer, objective, begin, n)))
    assert ours < (1.1 * theirs if ratio < 1 else 0.025)


# Cost


GRADIENTS = [(0.05, 4), (0.5, 4), (0.9, 4), (1.0, 6), (2.0, 6), (3.0, 8), (5.0, 10), (0.99 * REGION, 14)]


@pytest.mark.parametrize("name", ["gd", "rmsprop"])
@pytest.mark.parametrize(("ratio", "gradients"), GRADIENTS)
def test_gradients_of_a_step(name: str, ratio: float, gradients: int, monkeypatch) -> None:
    """None twice: those of both substeps' stages, of which the last comes with the eigenvalues where ν does not need it."""
    flow, objective, _ = quadratic(name, [ratio, 0.01])
    state, points, before_the_solve = at(flow, torch.ones(2, dtype=torch.float64), None), [], []
    measure, loss_and_grad = flow.measure, objective.loss_and_grad

    def asked(w: torch.Tensor) -> tuple[float, torch.Tensor]:
        points.append(tuple(w.tolist()))
        return loss_and_grad(w)

    def measured(point: State, *rest, **options):
        points.extend([tuple(point.w.tolist())] if options["known"] is None else [])
        before_the_solve.extend(points)
        return measure(point, *rest, **options)

    monkeypatch.setattr(objective, "loss_and_grad", asked)
    monkeypatch.setattr(flow, "measure", measured)
    end = flow.step(state)
    assert len(before_the_solve) == gradients
    assert len({*before_the_solve, (1.0, 1.0)}) == gradients + 1
    assert before_the_solve[-1] == tuple(end.point.w.tolist())


@pytest.mark.parametrize("name", ["heavy_ball", "nesterov", "adam", "nadam"])
def test_stages_with_momentum(name: str) -> None:
    flow, _, _ = quadratic(name, [1.0])
    stages = [stages_for(flow.stiffness(1.3 * ratio) / 2) for ratio in (0.5, 0.7, 2.0, REGION)]
    assert stages[0] == 2
    assert all(found <= most for found, most in zip(stages, (2, 3, 4, 10), strict=True))


# ν


@pytest.mark.parametrize("beta2", [0.99, 0.5, 0.1, 1e-3])
def test_nu_relaxes_exactly_towards_squares_that_change_linearly(beta2: float) -> None:
    optimizer = Optimizer("rmsprop", lr=0.1, beta2=beta2)
    before, after = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.5, 0.0]).double()
    state, dt = State(torch.zeros(2).double(), nu=torch.tensor([0.7, 0.1]).double()), 0.4
    q = [(g * g).numpy() for g in (before, after)]
    towards = lambda t, nu: optimizer.rate * (q[0] + (q[1] - q[0]) * t / dt - nu)  # noqa: E731
    solved = solve_ivp(towards, (0, dt), state.nu.numpy(), rtol=1e-10, atol=1e-12, method="Radau")
    np.testing.assert_allclose(optimizer.relaxed(state, before, after, dt).nu.numpy(), solved.y[:, -1], rtol=1e-6)


def test_nu_at_the_ends_of_its_rates() -> None:
    g = torch.tensor([0.3, 0.0]).double()
    state = State(torch.zeros(2).double(), nu=torch.tensor([0.7, 0.1]).double())
    assert torch.equal(Optimizer("rmsprop", lr=0.1, beta2=1.0).relaxed(state, g, 2 * g, 0.4).nu, state.nu)
    assert torch.equal(Optimizer("rmsprop", lr=0.1, beta2=0.0).relaxed(state, g, 2 * g, 0.4).nu, 4 * g * g)
    assert Optimizer("gd", lr=0.1).relaxed(replace(state, nu=None), g, g, 0.4).nu is None


@pytest.mark.parametrize("beta2", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("name", ["scalar_rmsprop", "rmsprop"])
def test_short_memories(name: str, beta2: float) -> None:
    """The flow stays finite and ν positive; with β₂ = 0 it is the squared gradient of the very point."""
    optimizer, objective, begin = smooth(name, {"beta2": beta2})
    flow = Stable(objective, optimizer, Options())
    state = flow.init(Start(begin, begin, torch.zeros(4, dtype=torch.float64)))
    for _ in range(8):
        state = flow.step(state)
        if state.stopped:  # coordinates that arrive: P̃⁻¹H = ηH/|g| grows beyond all bounds
            break
        assert bool(torch.isfinite(state.point.w).all())
        assert bool((state.point.nu > 0).all())
        if beta2 == 0:
            torch.testing.assert_close(state.point.nu, optimizer.square(state.gradient), rtol=1e-9, atol=0)
    assert state.loss < float(bowl(begin.w))
