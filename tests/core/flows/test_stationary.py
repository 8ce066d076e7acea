"""RMSProp's stationary preconditioner against a conic solver, closed forms and frozen dynamics; its flows against the central flow."""

from __future__ import annotations

import math
from functools import partial

import cvxpy
import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.errors import CflowsError, ConfigError
from cflows_core.flows import predictions
from cflows_core.flows.base import Options, Start, from_plain, to_plain
from cflows_core.flows.central import Central
from cflows_core.flows.comparison import cosine, speed, vanilla_preconditioner
from cflows_core.flows.sensitivity import by_preconditioner
from cflows_core.flows.stationary import Stationary, StationaryLimit, StationaryState
from cflows_core.flows.stationary_dual import minimal_trace_preconditioner, stationary_nu, stationary_preconditioner
from cflows_core.linalg.sdcp import solve_sdcp
from cflows_core.optimizers import State

LR = 0.5


def random_hessian(spectrum: list[float], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))[0]
    return (rotation * np.array(spectrum)) @ rotation.T


def conic(H: np.ndarray, g: np.ndarray, lr: float) -> tuple[np.ndarray, float]:
    """The primal (35), or (36) for lr = inf, as it stands: P [p] and the goal."""
    P = cvxpy.Variable(len(H), nonneg=True)
    goal = cvxpy.sum(P)
    if math.isfinite(lr):
        goal = goal + cvxpy.sum([float(entry) ** 2 / lr**2 * cvxpy.inv_pos(P[i]) for i, entry in enumerate(g) if entry])
    problem = cvxpy.Problem(cvxpy.Minimize(goal), [2 * cvxpy.diag(P) - H >> 0])
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert P.value is not None
    return P.value, float(problem.value)


def solve(H: np.ndarray, g: np.ndarray, lr: float, **options):
    matrix = torch.tensor(H)
    return stationary_preconditioner(lambda V: matrix @ V, torch.tensor(g), lr, **options)


SPECTRA = {
    "one positive": [4.0, *[-0.02] * 5],
    "three positive": [5.0, 3.0, 1.0, *[0.0] * 6],
    "positive definite": [5.0, 4.0, 3.5, 2.0, 1.5, 1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1],
    "indefinite": [3.0, 2.5, 1.0, 0.5, -0.5, -1.0, -2.0, -4.0],
    "zero in the minimal one": [4.0, *[-0.05 - 0.04 * i for i in range(10)]],
}


@pytest.mark.parametrize("lr", [LR, math.inf])
@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("seed", [0, 3])
def test_against_conic_solver(kind: str, seed: int, lr: float) -> None:
    H = random_hessian(SPECTRA[kind], seed)
    g = np.random.default_rng(seed + 100).standard_normal(len(H)) * 0.3
    answer = solve(H, g, lr, tol=1e-6)
    P, goal = conic(H, g, lr)
    assert answer.converged
    # The conic solver's P is good to about 1e-5; the goals, flat at the optimum, agree much better.
    assert np.abs(answer.P.numpy() - P).max() < 1e-4 * P.max()
    assert answer.dual == pytest.approx(goal, rel=1e-6)
    assert answer.primal == pytest.approx(goal, rel=1e-6)
    assert answer.dual <= answer.primal * (1 + 1e-12)
    # Feasible, checked densely and without the solver's own eigenvalues.
    slack = np.linalg.eigvalsh(2 * np.diag(answer.P.numpy()) * (1 + 1e-4) - H)
    assert slack[0] > -1e-6 * P.max()
    Y = (answer.factor @ answer.factor.T).numpy()
    assert np.diagonal(Y).max() <= 0.5 + 1e-12
    # Complementarity, (2P − H)Y = 0, and Y's formula for P wherever it divides by something.
    assert np.abs(2 * answer.P.numpy()[:, None] * Y - H @ Y).max() < 1e-3 * P.max()
    inside = np.diagonal(Y) > 0.25
    np.testing.assert_allclose(answer.P.numpy()[inside], ((H @ Y).diagonal() / (2 * Y.diagonal()))[inside], rtol=1e-3, atol=1e-6)


def test_default_tolerance_and_weak_duality() -> None:
    for seed in range(5):
        H = random_hessian(SPECTRA["positive definite"], seed)
        g = np.random.default_rng(seed).standard_normal(len(H))
        answer = solve(H, g, LR)
        assert answer.converged
        assert answer.top <= 2 * (1 + 1e-4)
        assert -1e-12 <= answer.gap <= 1e-5
        P, goal = conic(H, g, LR)
        assert np.abs(answer.P.numpy() - P).max() < 1e-3 * P.max()
        assert answer.dual == pytest.approx(goal, rel=1e-5)


@pytest.mark.parametrize(("curvature", "slope"), [(6.0, 0.5), (6.0, 4.0), (-3.0, 0.7), (-3.0, 0.01), (0.0, 1.0), (5.0, 0.0), (0.0, 0.0)])
def test_one_weight_in_closed_form(curvature: float, slope: float) -> None:
    """P + g²/(η²P) falls up to P = |g|/η, and P ≥ H/2: P̄ = max(|g|/η, H/2)."""
    answer = solve(np.array([[curvature]]), np.array([slope]), LR)
    assert float(answer.P) == pytest.approx(max(slope / LR, curvature / 2), rel=1e-6)
    assert answer.converged
    matrix = torch.tensor([[curvature]]).double()
    minimal = minimal_trace_preconditioner(lambda V: matrix @ V, torch.ones(1).double())
    assert float(minimal.P) == pytest.approx(max(curvature / 2, 0), rel=1e-6)


def test_without_gradient_it_is_the_minimal_trace_one_which_the_limit_of_large_lr_approaches() -> None:
    H = random_hessian(SPECTRA["three positive"], 1)
    g = np.random.default_rng(1).standard_normal(len(H))
    matrix = torch.tensor(H)
    minimal = minimal_trace_preconditioner(lambda V: matrix @ V, torch.tensor(g), tol=1e-8)
    still = solve(H, 0 * g, LR, tol=1e-8)
    far = solve(H, g, 1e4, tol=1e-8)
    torch.testing.assert_close(still.P, minimal.P, rtol=1e-5, atol=0)
    torch.testing.assert_close(far.P, minimal.P, rtol=1e-3, atol=0)
    # [CF] footnote 53: the second term can only slow down.
    near = solve(H, g, LR)
    gradient = torch.tensor(g)
    assert speed(near.P, gradient) < speed(minimal.P, gradient)


def test_start_rank_and_certificate() -> None:
    """A rank too small is raised until the certificate holds; an earlier answer is a good start; the answer depends on the seed little."""
    H = random_hessian([5.0, 4.8, 4.6, 4.4, 4.2, 4.0, *[0.1] * 6], 2)
    g = np.random.default_rng(2).standard_normal(len(H)) * 0.1
    narrow = solve(H, g, LR, rank=1, tol=1e-7)
    wide = solve(H, g, LR, rank=12, seed=5, tol=1e-7)
    assert narrow.converged
    assert narrow.factor.shape[1] > 1
    torch.testing.assert_close(narrow.P, wide.P, rtol=1e-4, atol=0)
    again = solve(H * 1.001, g, LR, start=narrow.factor)
    cold = solve(H * 1.001, g, LR)
    assert again.converged
    assert again.n_products < cold.n_products
    torch.testing.assert_close(again.P, cold.P, rtol=1e-3, atol=0)


def test_modes_at_the_edge() -> None:
    H = random_hessian(SPECTRA["positive definite"], 4)
    answer = solve(H, np.full(len(H), 0.1), LR, tol=1e-8)
    U, P = answer.edge_modes.numpy(), answer.P.numpy()
    np.testing.assert_allclose(U.T @ (P[:, None] * U), np.eye(U.shape[1]), atol=1e-9)
    np.testing.assert_allclose(H @ U, 2 * P[:, None] * U, atol=1e-4)
    Y = answer.factor.numpy()
    outside = Y - U @ (U.T @ (P[:, None] * Y))  # the range of Y lies in the edge space
    assert np.abs(outside).max() < 1e-3


def test_frozen_weights_bring_nu_and_covariance_to_rest_at_the_stationary_preconditioner() -> None:
    """Second oracle: ν̇ = κ₂(g² + diag(HΣH) − ν) with Σ from the complementarity problem, w held fixed, [CF] eq. 34."""
    H = random_hessian(SPECTRA["three positive"], 6)
    p = len(H)
    g = np.random.default_rng(6).standard_normal(p) * 0.5
    optimizer = Optimizer("rmsprop", lr=LR, beta2=0.99, eps=0.0)
    w = torch.zeros(p, dtype=torch.float64)
    nu, sigma = np.full(p, (LR * 3.0) ** 2), np.zeros((p, p))
    # The projection is linear in ν, so that where it rests is off by its step's second order: big steps to get there, then small ones.
    for share in [0.05] * 200 + [0.004] * 1200:
        nu = nu + share * (g * g - nu)
        P = np.sqrt(nu) / LR
        values, vectors = np.linalg.eigh(H / np.sqrt(np.outer(P, P)))
        critical = values > 0.975 * 2
        if not critical.any():
            continue
        U, values = vectors[:, critical] / np.sqrt(P)[:, None], values[critical]
        through_nu = by_preconditioner(optimizer, State(w, nu=torch.tensor(nu)), torch.tensor(U), torch.tensor(values))
        assert through_nu is not None
        X = solve_sdcp(torch.tensor(np.diag(2 - values)), share * through_nu).X.numpy()
        sigma = U @ X @ U.T
        nu = nu + share * (H @ sigma @ H).diagonal()
    answer = solve(H, g, LR, tol=1e-8)
    np.testing.assert_allclose(nu, stationary_nu(answer.P, LR).numpy(), rtol=1e-3)
    assert cosine(torch.tensor(nu), stationary_nu(answer.P, LR)) > 1 - 1e-6
    # At rest Σ = (η²/2) Y.
    Y = (answer.factor @ answer.factor.T).numpy()
    np.testing.assert_allclose(sigma, LR**2 / 2 * Y, atol=5e-3 * np.abs(sigma).max())


def test_measures() -> None:
    H = random_hessian(SPECTRA["indefinite"], 0)
    gradient = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    P = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    assert speed(P, gradient) == 8.5
    assert speed(P, gradient.flip(0)) == math.inf
    assert speed(torch.tensor(2.0).double(), gradient) == 2.5
    matrix = torch.tensor(H)
    baseline = vanilla_preconditioner(lambda V: matrix @ V, torch.zeros(8).double())
    assert float(baseline) == pytest.approx(1.5, rel=1e-10)
    assert float(vanilla_preconditioner(lambda V: -V, torch.zeros(3).double())) == 0.0
    torch.testing.assert_close(stationary_nu(P, 2.0), torch.tensor([16.0, 1.0, 0.0]).double())
    assert cosine(gradient, 3 * gradient) == pytest.approx(1.0)


def test_errors_are_sentences() -> None:
    g = torch.ones(3, dtype=torch.float64)

    def identity(V: torch.Tensor) -> torch.Tensor:
        return V

    for call, words in [
        (lambda: stationary_preconditioner(identity, g, 0.0), "`lr` must be positive, got 0"),
        (lambda: stationary_preconditioner(identity, g, math.nan), "`lr` must be positive, got nan"),
        (lambda: stationary_preconditioner(identity, g[None], 1.0), r"flat tensor \[p\], got \[1, 3\]"),
        (lambda: stationary_preconditioner(identity, g * math.nan, 1.0), "gradient must be finite"),
        (lambda: stationary_preconditioner(identity, g, 1.0, rank=0), "`rank` must be at least 1, got 0"),
        (lambda: stationary_preconditioner(identity, g, 1.0, start=g), r"`start` must be a finite tensor \[3, r\]"),
        (lambda: stationary_preconditioner(identity, g, 1.0, tol=1.0), "`tol` must be between 0 and 1, got 1"),
        (lambda: stationary_preconditioner(lambda V: V[:1], g, 1.0), "must return H V of V's shape"),
        (lambda: stationary_preconditioner(lambda V: V * math.nan, g, 1.0), "must return finite numbers"),
        (lambda: speed(g, g[:2]), r"`speed` needs P \[p\] or \[\]"),
        (lambda: speed(-g, g), "must not be negative, got -1"),
        (lambda: cosine(g, g[:2]), "compares two tensors"),
    ]:
        with pytest.raises(CflowsError, match=words):
            call()
    objective = Objective.from_function(lambda w: (w * w).sum(), 3)
    for optimizer in (Optimizer("adam", lr=0.1), Optimizer("rmsprop", lr=0.1, bias_correction=True)):
        with pytest.raises(ConfigError, match="rmsprop without bias correction"):
            Stationary(objective, optimizer, Options())


# The flows, on a network with 13 weights


FLOW_LR = 0.05
INPUTS = torch.randn(12, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.sin(2 * INPUTS[:, 0]) - INPUTS[:, 1]


def network(w: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(INPUTS @ w[:6].reshape(2, 3) + w[6:9])
    return 0.5 * ((hidden @ w[9:12] + w[12] - TARGETS) ** 2).mean()


def flow_of(kind: type[Stationary] | type[Central], beta2: float = 0.9, lr: float = FLOW_LR, substeps: int = 2):
    objective = Objective.from_function(network, 13)
    return kind(objective, Optimizer("rmsprop", lr=lr, beta2=beta2, eps=0.0), Options(substeps=substeps, n_eigs=6))


def trained(beta2: float = 0.9, lr: float = FLOW_LR) -> State:
    """Where RMSProp is after 200 steps, at the centre of two."""
    objective, optimizer = Objective.from_function(network, 13), Optimizer("rmsprop", lr=lr, beta2=beta2, eps=0.0)
    w = torch.randn(13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = optimizer.start(w, objective.grad(w))
    for _ in range(200):
        before, state = state, optimizer.step(state, objective.grad(state.w))
    return State((before.w + state.w) / 2, 200.5, None, state.nu)


def begin(flow, point: State):
    return flow.init(Start(point, point, torch.zeros_like(point.w)))


def test_covariance_holds_the_edge_space_at_the_edge() -> None:
    """Definition of (37)'s Σ, by differences of dense Hessians: 0 ⪯ X ⊥ d/dt Uᵀ(2P − H)U ⪰ 0 at the velocities of w and of ν."""
    for beta2 in (0.5, 0.9, 0.99):
        flow = flow_of(Stationary, beta2)
        state = begin(flow, trained())
        assert len(state.variances) == 2
        U = state.modes
        eye = torch.eye(13, dtype=torch.float64)
        assert state.point.nu is not None
        square = state.gradient**2 + predictions.oscillation_squares(flow.objective.hvp(state.point.w, U), state.variances)
        nu_velocity = (1 - beta2) / beta2 * (square - state.point.nu)
        step = 1e-4 * flow.velocity(state)
        H_change = (flow.objective.hvp(state.point.w + step, eye) - flow.objective.hvp(state.point.w - step, eye)) / 2e-4
        P_change = nu_velocity / (2 * FLOW_LR * state.point.nu.sqrt())
        widening = U.T @ (2 * P_change[:, None] * U - H_change @ U)
        size = float((U.T @ H_change @ U).abs().max())  # what the oscillations and ν̇ have to balance
        assert float(torch.linalg.eigvalsh(widening)[0]) > -1e-3 * size
        assert abs(float(widening.diagonal() @ state.variances)) < 1e-3 * size * float(state.variances.sum())


def test_small_beta2_gives_the_covariance_at_rest() -> None:
    point = trained()
    fast, limit = (begin(flow_of(Stationary, beta2), point) for beta2 in (1e-4, 0.0))
    torch.testing.assert_close(fast.variances, limit.variances, rtol=5e-3, atol=1e-6)
    sigmas = [(state.modes * state.variances) @ state.modes.T for state in (fast, limit)]
    torch.testing.assert_close(sigmas[0], sigmas[1], rtol=0, atol=1e-2 * float(sigmas[1].abs().max()))
    torch.testing.assert_close(limit.modes.T @ (limit.P[:, None] * limit.modes), torch.eye(2).double(), rtol=0, atol=1e-9)


def test_limit_moves_by_the_gradient_of_the_trace() -> None:
    """(38): P̂ dw/dt = −[∇L + (η²/4)∇tr P̂], the trace's slope by differences of solutions."""
    flow = flow_of(StationaryLimit)
    state = begin(flow, trained())
    w = state.point.w
    push = -state.P * flow.velocity(state) - state.gradient
    for seed in range(2):
        direction = torch.randn(13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        traces = [
            minimal_trace_preconditioner(partial(flow.objective.hvp, w + sign * 1e-4 * direction), w, tol=1e-9).primal for sign in (1, -1)
        ]
        slope = (traces[0] - traces[1]) / 2e-4
        assert float(push @ direction) == pytest.approx(FLOW_LR**2 / 4 * slope, rel=5e-3)


def test_near_the_central_flow_once_nu_is_stationary() -> None:
    point = trained()
    central, stationary = flow_of(Central, substeps=4), flow_of(Stationary, substeps=4)
    c, s = begin(central, point), begin(stationary, point)
    for _ in range(15):
        c, s = central.step(c), stationary.step(s)
    assert not s.stopped
    assert c.point.nu is not None
    assert s.point.nu is not None
    assert cosine(c.point.nu, s.point.nu) > 0.999
    assert float((s.point.w - c.point.w).norm()) < 0.05 * float((c.point.w - point.w).norm())
    assert s.point.tau == pytest.approx(c.point.tau)
    torch.testing.assert_close(s.variances, c.variances, rtol=0.1, atol=2e-5)
    assert s.values[:2].numpy() == pytest.approx(2.0, rel=1e-4)
    ours, theirs = stationary.series(s), central.series(c)
    for name in ("loss", "predicted_loss", "predicted_grad_norm_sq", "grad_norm_sq"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.1), name
    assert set(ours) <= set(theirs)


def test_state_survives_a_checkpoint_and_a_change_of_the_learning_rate() -> None:
    flow = flow_of(Stationary)
    state = begin(flow, trained())
    restored = from_plain(StationaryState, to_plain(state))
    torch.testing.assert_close(flow.step(restored).point.w, flow.step(state).point.w, rtol=0, atol=0)
    changed = flow_of(Stationary, lr=2 * FLOW_LR).changed(state)
    assert changed.ceiling == state.ceiling
    assert float(changed.P.sum()) < float(state.P.sum())  # the second term of (35) shrinks


def test_stops_with_a_sentence() -> None:
    optimizer = Optimizer("rmsprop", lr=0.1)

    def saddle(w: torch.Tensor) -> torch.Tensor:
        return 4 * w[0] ** 2 - 0.5 * w[1] ** 2

    start = State(torch.tensor([0.1, 0.2], dtype=torch.float64))
    limit = begin(StationaryLimit(Objective.from_function(saddle, 2), optimizer, Options()), start)
    assert "nothing bounds its step" in limit.stopped
    broken = Stationary(Objective.from_function(lambda w: (w * w).sum() / (1 - w[0]).clamp_min(0).sqrt(), 2), optimizer, Options())
    state = begin(broken, State(torch.tensor([2.0, 0.0], dtype=torch.float64)))
    assert "no longer a finite number" in state.stopped
    # A quadratic has no third derivatives to hold it, but ν̇ alone holds the edge.
    curvature = torch.tensor([30.0, 4.0, 1.0], dtype=torch.float64)
    flow = Stationary(Objective.from_function(lambda w: 0.5 * (curvature * w * w).sum(), 3), optimizer, Options())
    state = begin(flow, State(torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)))
    before = state.loss
    state = flow.step(state)
    assert not state.stopped
    assert state.loss < 0.1 * before
