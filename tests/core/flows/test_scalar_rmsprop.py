"""Scalar RMSProp at the edge of stability: the closed forms of [CF] Section 4, eq. 27 to 29, each from dense matrices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows import FLOWS, base, central, force
from cflows_core.flows.base import Options, Start
from cflows_core.flows.central import Central, CentralState
from cflows_core.optimizers import State
from tests.oracles import Array, Valleys, gradient, hessian, hessian_gradient

LR = 0.1


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact eigenpairs, and β afresh in every substep."""
    monkeypatch.setattr(base, "EIGEN_TOLERANCE", 1e-8)
    monkeypatch.setattr(central, "REFRESH", 1)
    monkeypatch.setattr(force, "MISSED", -1.0)


class Net:
    """A tanh network 2-5-1 of 21 weights on fixed random data, MSE."""

    n_params = 21

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(4)
        self.x = torch.randn(2, 12, generator=generator, dtype=torch.float64)
        self.y = torch.sin(2 * self.x[0]) + self.x[1] ** 2

    def __call__(self, w: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(w[:10].reshape(5, 2) @ self.x + w[10:15, None])
        return 0.5 * ((w[15:20] @ hidden + w[20] - self.y) ** 2).mean()

    def start(self) -> Array:
        """Some way down by gradient descent, with a gradient left."""
        w = torch.randn(21, generator=torch.Generator().manual_seed(5), dtype=torch.float64).numpy()
        for _ in range(40):
            w = w - 0.05 * gradient(self, w)
        return w


class Slope:
    """A valley in turned coordinates, whose sharpness grows where the loss falls."""

    n_params = 7

    def __init__(self) -> None:
        self.valley = Valleys(1, 6, sharpness=2.0)
        self.turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(6), dtype=torch.float64))[0]

    def __call__(self, w: torch.Tensor) -> torch.Tensor:
        return self.valley(self.turn @ w)

    def start(self) -> Array:
        return self.turn.T.numpy() @ np.array([1e-3, 0, 0, 0, 0, 0, 0])


PROBLEMS = {"net": (Net(), (0.25, 0.4, 1.0)), "slope": (Slope(), (0.1, 0.3, 1.0))}  # with learning rates that oscillate there


def sharpness(f, w: Array) -> tuple[float, Array]:
    """S(w), and ∇S = uᵀ∇H u from differences of the dense Hessian (its largest eigenvalue is simple)."""
    values, vectors = np.linalg.eigh(hessian(f, w))
    return float(values[-1]), np.einsum("lij,i,j->l", hessian_gradient(f, w), vectors[:, -1], vectors[:, -1])


def equation_27(f, w: Array, lr: float, beta2: float) -> float:
    """σ² = {β₂⟨−∇L, ∇S⟩ + (1 − β₂)[S²/4 − |∇L|²/η²]} / {½β₂|∇S|² + (1 − β₂)S²/η²} ([CF] eq. 27)."""
    (S, dS), g = sharpness(f, w), gradient(f, w)
    progressive = beta2 * (-g @ dS) + (1 - beta2) * (S**2 / 4 - g @ g / lr**2)
    return float(progressive / (beta2 * dS @ dS / 2 + (1 - beta2) * S**2 / lr**2))


def equation_29(f, w: Array, lr: float, beta2: float) -> Array:
    """dw/dt = −(2/S)(∇L + ½σ²∇S), in terms of w alone ([CF] eq. 29)."""
    S, dS = sharpness(f, w)
    return -2 / S * (gradient(f, w) + 0.5 * equation_27(f, w, lr, beta2) * dS)


def at_edge(f, w: Array, lr: float, beta2: float, substeps: int = 8) -> tuple[Central, CentralState]:
    """The central flow at w with ν = (ηS/2)², exactly at the edge."""
    flow = Central(Objective.from_function(f, f.n_params), Optimizer("scalar_rmsprop", lr=lr, beta2=beta2, eps=0.0), Options(substeps))
    nu = (lr * np.linalg.eigvalsh(hessian(f, w))[-1] / 2) ** 2
    point = State(torch.tensor(w), nu=torch.tensor(nu))
    return flow, flow.init(Start(point, point, torch.zeros_like(point.w)))


def variance(state: CentralState) -> float:
    """σ²: Σ's one eigenvalue, in weight units."""
    assert len(state.variances) == 1
    return float(state.variances[0] * state.modes[:, 0] @ state.modes[:, 0])


def solved(f, w: Array, lr: float, beta2: float) -> tuple[float, float]:
    """σ² at w, at the edge, as one substep solves for it: the limit dt → 0 from two, and by how much they differ."""
    flow, state = at_edge(f, w, lr, beta2)
    dt = 0.01 / max(1.0, (1 - beta2) / beta2)
    one, two = (variance(flow._substep(state, fraction * dt, solve=True)) for fraction in (1, 0.5))
    return 2 * two - one, abs(one / two - 1)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("beta2", [0.99, 0.9, 0.5, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_covariance_in_one_substep_is_equation_27(problem: str, beta2: float) -> None:
    """And it strictly increases in η at the same weights ([CF] 4.3.2)."""
    f, ladder = PROBLEMS[problem]
    w, found = f.start(), []
    for lr in ladder:
        sigma, gap = solved(f, w, lr, beta2)
        assert gap < 5e-3
        assert sigma == pytest.approx(equation_27(f, w, lr, beta2), rel=2e-4)
        found.append(sigma)
    assert (np.diff(found) > 0).all()


@pytest.mark.usefixtures("_exact")
def test_covariance_tends_to_normalised_gradient_descents() -> None:
    """σ² → η²/4 − |∇L|²/S² as β₂ → 0, the gap closing like β₂/(1 − β₂) (eq. 27's, to first order)."""
    f, lr = PROBLEMS["slope"][0], LR
    w = f.start()
    gaps = [solved(f, w, lr, beta2)[0] / normalised(f, w, lr) - 1 for beta2 in (0.5, 0.2, 0.05, 0.01)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > 0
    assert gaps[3] < 1e-3
    np.testing.assert_allclose(np.array(gaps) / [1, 1 / 4, 1 / 19, 1 / 99], gaps[1] * 4, rtol=0.05)


def normalised(f, w: Array, lr: float) -> float:
    """η²/4 − |∇L|²/S²: eq. 27 at β₂ = 0."""
    g = gradient(f, w)
    return lr**2 / 4 - g @ g / np.linalg.eigvalsh(hessian(f, w))[-1] ** 2


def followed(f, lr: float, beta2: float, substeps: int, steps: int = 2) -> Iterator[tuple[CentralState, Array, Array]]:
    """After every step of the central flow: its state, the velocity of w in the last substep, and that substep's mid-point."""
    flow, state = at_edge(f, f.start(), lr, beta2, substeps)
    for _ in range(steps):
        for _ in range(substeps):
            before, state = state.point.w.numpy(), flow._substep(state, 1 / substeps, solve=True)
        assert not state.stopped
        w = state.point.w.numpy()
        yield state, (w - before) * substeps, (w + before) / 2


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize(("problem", "lr", "beta2"), [
    ("net", 0.3, 0.99), ("net", 0.3, 0.05), ("slope", 0.1, 0.99), ("slope", 0.1, 0.9), ("slope", 0.1, 0.5), ("slope", 0.1, 0.2),
    ("slope", 0.1, 0.05),
])  # fmt: skip
def test_run_at_the_edge(problem: str, lr: float, beta2: float) -> None:
    """η/√ν = 2/S (eq. 28), the velocity is eq. 29's, in terms of w alone, and σ² is eq. 27's: all converging with the substep."""
    f = PROBLEMS[problem][0]
    errors = []
    for substeps in (4, 16):
        covariance, edge, velocity = [], [], []
        for state, moved, middle in followed(f, lr, beta2, substeps):
            S = np.linalg.eigvalsh(hessian(f, state.point.w.numpy()))[-1]
            edge.append(abs(lr / float(state.point.nu.sqrt()) / (2 / S) - 1))
            covariance.append(abs(variance(state) / equation_27(f, middle, lr, beta2) - 1))
            expected = equation_29(f, middle, lr, beta2)
            velocity.append(np.linalg.norm(moved - expected) / np.linalg.norm(expected))
        assert max(edge) < (2e-4 if substeps == 4 else 2e-5)
        errors.append([max(covariance), max(velocity)])
    assert errors[1][0] < 1e-2
    assert errors[1][1] < 6e-3
    assert (np.array(errors[1]) < 0.4 * np.array(errors[0])).all()


@pytest.mark.parametrize("beta2", [0.99, 0.5, 0.05, 0.0])
def test_effective_step_stays_two_over_sharpness_with_the_default_numerics(beta2: float) -> None:
    """η/√ν = 2/S after every one of 25 whole steps (eq. 28), with two substeps and β up to twenty substeps old."""
    f = PROBLEMS["slope"][0]
    flow, state = at_edge(f, f.start(), LR, beta2, Options().substeps)
    for _ in range(25):
        state = flow.step(state)
        assert len(state.variances) == 1
        S = np.linalg.eigvalsh(hessian(f, state.point.w.numpy()))[-1]
        assert LR / float(state.point.nu.sqrt()) == pytest.approx(2 / S, rel=1e-3)


@pytest.mark.usefixtures("_exact")
def test_small_beta2_along_a_run() -> None:
    """σ² against η²/4 − |∇L|²/S² after every step, extrapolated to dt → 0: nearer the smaller β₂ is, and there at β₂ = 0."""
    f, lr, worst = PROBLEMS["slope"][0], LR, []
    for beta2 in (0.5, 0.2, 0.05, 0.0):
        coarse, fine = ([variance(state) / normalised(f, middle, lr) - 1 for state, _, middle in followed(f, lr, beta2, n)] for n in (4, 8))
        worst.append(np.abs(2 * np.array(fine) - np.array(coarse)).max())
    assert worst[0] > worst[1] > worst[2] > worst[3]
    assert worst[3] < 1e-3


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("kind", ["discrete", "stable", "central", "rod"])
def test_frozen_average_is_gradient_descent_in_every_flow(kind: str) -> None:
    """β₂ = 1: gradient descent at η/√ν₀ (footnote 37), from below the edge to beyond it."""
    f = PROBLEMS["slope"][0]
    w = torch.tensor(f.start())
    g = torch.tensor(gradient(f, w.numpy()))
    rate = 0.999
    objective = Objective.from_function(f, f.n_params)
    pair = (Optimizer("scalar_rmsprop", lr=rate * float(g.norm()), beta2=1.0, eps=0.0), Optimizer("gd", lr=rate))
    paths = []
    for optimizer in pair:
        flow = FLOWS[kind](objective, optimizer, Options(substeps=2, n_eigs=2))
        point = optimizer.start(w, g)
        state, path = flow.init(Start(point, point, 1e-2 * f.turn[0])), []
        for _ in range(6):
            state = flow.step(state)
            assert not state.stopped
            path.append(torch.cat([state.point.w, state.values[:1]]))
        if kind == "central":
            path.append(((state.modes * state.variances) @ state.modes.T).flatten())
            assert float(path[-1].norm()) > 1e-3
        else:
            assert float(state.values[0]) > 2.0
        paths.append(path)
    for ours, theirs in zip(*paths, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
