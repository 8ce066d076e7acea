"""Closed forms in one dimension (math.md 7, [RF] C.3, D.2, E.3), of the discrete iterates and of the rod flow, for all nine optimizers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cflows_core import Objective, Optimizer
from cflows_core.flows.base import Options, Start
from cflows_core.flows.rod import Rod, RodState
from cflows_core.optimizers import State
from cflows_core.problems.toy import Linear, Quadratic, Quartic
from tests.oracles import NINE

LR, BETA1 = 0.1, 0.9
IDENTITY = ("gd", "heavy_ball", "nesterov")
ADAPTIVE = tuple(name for name in NINE if name not in IDENTITY)
STARTS_UNCORRECTED = {"bias_correction": False, "eps": 0.0}  # so that ψ = 1 and the states below are those of the closed forms


def vector(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def state(optimizer: Optimizer, w: float, m: float, nu: float) -> State:
    """In one dimension, without what the kind does not have."""
    square = None if not optimizer.adaptive else vector(nu)[0] if optimizer.kind == "scalar" else vector(nu)
    return State(vector(w), 0.0, None if optimizer.momentum == "none" else vector(m), square)


def iterates(optimizer: Optimizer, toy, begin: State, steps: int) -> list[State]:
    states = [begin]
    for _ in range(steps):
        states.append(optimizer.step(states[-1], slope(toy, optimizer.gradient_point(states[-1]))))
    return states


def slope(toy, x: torch.Tensor) -> torch.Tensor:
    """L′, written out."""
    if isinstance(toy, Quartic):
        return toy.S0 * x - toy.gamma * x**3
    return toy.A[0] * x if isinstance(toy, Quadratic) else toy.a


def rods(optimizer: Optimizer, toy, centre: State, zeta: float, m_zeta: float, steps: int, substeps: int = 2) -> tuple[Rod, list[RodState]]:
    # As if it were large: recording the loss for replay would cost more than these runs.
    objective = Objective(lambda w: toy.loss(w).reshape(()), 1, bytes_per_example=1e9)
    flow = Rod(objective, optimizer, Options(substeps=substeps, n_eigs=1))
    states = [flow.init(Start(centre, centre, vector(zeta), None if centre.m is None else vector(m_zeta)))]
    for _ in range(steps):
        states.append(flow.step(states[-1]))
    return flow, states


def threshold(name: str) -> float:
    b = 0.0 if name in ("gd", "scalar_rmsprop", "rmsprop") else BETA1
    return 2 * (1 + b) / (1 - b) / (1 + 2 * b if name in ("nesterov", "scalar_nadam", "nadam") else 1)


# Linear


@pytest.mark.parametrize("name", NINE)
def test_linear(name: str) -> None:
    """Steady velocity −ηa, adaptive −η sign a; the rod's half-length is half of that step, its momentum does not swing."""
    a = -0.3
    toy, optimizer = Linear(vector(a)), Optimizer(name, lr=LR, beta1=BETA1, **(STARTS_UNCORRECTED if name in ADAPTIVE else {}))
    velocity = -LR * (math.copysign(1, a) if optimizer.adaptive else a)
    path = iterates(optimizer, toy, state(optimizer, 0.0, 0.0, 0.5), 2000 if optimizer.adaptive else 200)
    assert float(path[-1].w - path[-2].w) == pytest.approx(velocity, rel=1e-7)
    _, path = rods(optimizer, toy, state(optimizer, 0.0, 0.0, a**2), 0.02, 0.03, 90)
    assert float(path[-1].point.w - path[-2].point.w) == pytest.approx(velocity, rel=1e-3)
    assert float(path[-1].zeta.norm()) == pytest.approx(abs(velocity) / 2, rel=1e-3)
    if path[-1].momentum_zeta is not None:
        assert float(path[-1].momentum_zeta.norm()) < 1e-3


# Quadratic, identity preconditioner


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize(("ratio", "grows"), [(0.99, False), (1.01, True)])
def test_rod_decays_below_the_edge_of_a_quadratic_only(name: str, ratio: float, grows: bool) -> None:
    """Started along the 2-cycle's direction (a, −2a/η); the iterates do the same."""
    toy, optimizer = Quadratic(vector(ratio * threshold(name) / LR)[None]), Optimizer(name, lr=LR, beta1=BETA1)
    _, path = rods(optimizer, toy, state(optimizer, 0.0, 0.0, 0.0), 0.1, -0.2 / LR, 60)
    sizes = [float(rod.zeta.norm()) for rod in path]
    assert (sizes[-1] > sizes[20]) == grows
    assert (sizes[-1] > 0.1) == grows
    discrete = [abs(float(point.w)) for point in iterates(optimizer, toy, state(optimizer, 0.1, -0.2 / LR, 0.0), 60)]
    assert (discrete[-1] > discrete[20]) == grows


@pytest.mark.parametrize("beta1", [0.5, 0.9])
@pytest.mark.parametrize(("name", "size", "other"), [
    ("heavy_ball", lambda b: (1 + b) / (1 - b), lambda b: -b),
    ("nesterov", lambda b: (1 + b) / (1 + 3 * b), lambda b: b / (1 + 2 * b)),
])  # fmt: skip
def test_two_cycle_exactly_at_the_edge(name: str, size, other, beta1: float) -> None:
    """Its amplitude from (x₀, m₀ = 0), and the iteration's second eigenvalue."""
    optimizer = Optimizer(name, lr=LR, beta1=beta1)
    toy, x0 = Quadratic(vector(optimizer.threshold / LR)[None]), 0.3
    w = [float(point.w) for point in iterates(optimizer, toy, state(optimizer, x0, 0.0, 0.0), 400)]
    assert abs(w[-1]) == pytest.approx(x0 * size(beta1), rel=1e-9)
    assert w[-1] == pytest.approx(-w[-2], rel=1e-9)
    # What is left of the 2-cycle decays by the other eigenvalue.
    rest = [value - (-1) ** step * w[400] for step, value in enumerate(w)]
    assert rest[3] / rest[2] == pytest.approx(other(beta1), rel=1e-6)


# Quadratic, adaptive preconditioner


def cycle(optimizer: Optimizer, sharpness: float) -> tuple[float, float, float]:
    """The 2-cycle's δ*, its momentum m* at that point, and ν*: |δ*| = η/c whatever the sharpness."""
    b, delta = optimizer.beta1, optimizer.lr / optimizer.threshold
    g = sharpness * delta
    return delta, -(1 - b) / (1 + b) * g, g * g


@pytest.mark.parametrize("sharpness", [0.7, 30.0])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_two_cycle_is_a_fixed_point(name: str, sharpness: float) -> None:
    """(δ*, m*, ν*) maps to (−δ*, −m*, ν*), and the rod with that half-difference stays where it is."""
    optimizer = Optimizer(name, lr=LR, beta1=BETA1, **STARTS_UNCORRECTED)
    toy = Quadratic(vector(sharpness)[None])
    delta, m, nu = cycle(optimizer, sharpness)
    one, two = iterates(optimizer, toy, state(optimizer, delta, m, nu), 1)
    assert float(two.w) == pytest.approx(-delta, rel=1e-10)
    assert float(two.nu) == pytest.approx(nu, rel=1e-10)
    if one.m is not None:
        assert float(two.m) == pytest.approx(-m, rel=1e-10)
    _, path = rods(optimizer, toy, state(optimizer, 0.0, 0.0, nu), delta, m, 3)
    assert float(path[-1].zeta.norm()) == pytest.approx(delta, rel=1e-8)
    assert float(path[-1].point.w.abs()) < 1e-12
    assert float(path[-1].point.nu) == pytest.approx(nu, rel=1e-8)


@pytest.mark.parametrize("name", [name for name in ADAPTIVE if name not in ("adam", "scalar_adam")])
def test_adaptive_two_cycle_attracts(name: str) -> None:
    """RMSProp's and NAdam's iterates and rods come to |δ*| = η/c (RMSProp: η/2) from a third away; sooner with a smaller β₂."""
    optimizer = Optimizer(name, lr=LR, beta1=BETA1, beta2=0.9, **STARTS_UNCORRECTED)
    toy = Quadratic(vector(30.0)[None])
    delta, m, nu = cycle(optimizer, 30.0)
    path = iterates(optimizer, toy, state(optimizer, 1.3 * delta, m, 0.8 * nu), 1200)
    assert abs(float(path[-1].w - path[-2].w)) / 2 == pytest.approx(delta, rel=1e-3)
    _, path = rods(optimizer, toy, state(optimizer, 0.0, 0.0, 0.8 * nu), 1.3 * delta, m, 250)
    assert float(path[-1].zeta.norm()) == pytest.approx(delta, rel=3e-3)


@pytest.mark.parametrize("name", ["adam", "scalar_adam"])
def test_adams_two_cycle_repels_and_its_mean_square_stays(name: str) -> None:
    """Multiplier beyond 1 at β₁ = 0.9, β₂ = 0.99: iterates and rod leave it; the iterates' RMS stays within 10 % of η/c all the same."""
    sharpness = 5.0
    optimizer = Optimizer(name, lr=LR, beta1=BETA1, beta2=0.99, **STARTS_UNCORRECTED)
    toy = Quadratic(vector(sharpness)[None])
    delta, m, nu = cycle(optimizer, sharpness)
    w = np.array([float(point.w) for point in iterates(optimizer, toy, state(optimizer, 1.001 * delta, m, nu), 4000)])
    assert np.abs(np.abs(w[:300]) / delta - 1).max() > 0.1
    assert np.sqrt(np.mean(w[1000:] ** 2)) == pytest.approx(delta, rel=0.1)
    _, path = rods(optimizer, toy, state(optimizer, 0.0, 0.0, nu), 1.01 * delta, m, 150)
    sizes = np.array([float(rod.zeta.norm()) for rod in path])
    assert np.abs(sizes / delta - 1).max() > 0.1


# Quartic, identity preconditioner


@pytest.mark.parametrize("name", IDENTITY)
def test_two_cycle_of_the_quartic(name: str) -> None:
    """Past the edge the gradient point alternates between ±√((S₀ − c/η)/γ), Nesterov's iterate between 1/(1 + 2β₁) of it; rods rest."""
    optimizer = Optimizer(name, lr=LR, beta1=BETA1)
    edge, gamma = threshold(name) / LR, 3.0
    toy = Quartic(1.2 * edge, gamma)
    x = math.sqrt((1.2 * edge - edge) / gamma)
    w = x / (1 + 2 * BETA1 if name == "nesterov" else 1)
    path = iterates(optimizer, toy, state(optimizer, 1.02 * w, -2 * w / LR, 0.0), 1500)
    assert abs(float(path[-1].w)) == pytest.approx(w, rel=1e-6)
    assert float(path[-1].w) == pytest.approx(-float(path[-2].w), rel=1e-6)
    assert abs(float(optimizer.gradient_point(path[-1]))) == pytest.approx(x, rel=1e-6)
    _, rod = rods(optimizer, toy, state(optimizer, 0.0, 0.0, 0.0), 1.1 * w, -2.2 * w / LR, 100)
    assert not rod[-1].stopped
    assert float(rod[-1].zeta.norm()) == pytest.approx(w, rel=1e-4)
    assert float(rod[-1].momentum_zeta.norm() if rod[-1].momentum_zeta is not None else 2 * w / LR) == pytest.approx(2 * w / LR, rel=1e-4)


@pytest.mark.parametrize("name", IDENTITY)
def test_rod_dies_on_the_quartic_below_the_edge(name: str) -> None:
    optimizer = Optimizer(name, lr=LR, beta1=BETA1)
    toy = Quartic(0.97 * threshold(name) / LR, 3.0)
    _, rod = rods(optimizer, toy, state(optimizer, 0.0, 0.0, 0.0), 0.05, -0.1 / LR, 100)
    assert float(rod[-1].zeta.norm()) < 0.9 * float(rod[-50].zeta.norm())


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize(("share", "stays"), [(1.05, True), (1.4, True), (1.52, False)])
def test_discrete_two_cycle_of_the_quartic_breaks_at_three_halves(name: str, share: float, stays: bool) -> None:
    """Stable for S₀ < 1.5 c/η; beyond, an asymmetric 2-cycle takes over. The rod's stays (tested from 2 % away)."""
    optimizer = Optimizer(name, lr=LR, beta1=BETA1)
    edge, gamma = threshold(name) / LR, 3.0
    toy = Quartic(share * edge, gamma)
    w = math.sqrt((share - 1) * edge / gamma) / (1 + 2 * BETA1 if name == "nesterov" else 1)
    off = 1e-4
    path = iterates(optimizer, toy, state(optimizer, (1 + off) * w, -2 * w / LR, 0.0), 1500)
    worst = max(abs(abs(float(point.w)) / w - 1) for point in path[-10:])
    assert worst < off if stays else worst > 0.05
    _, rod = rods(optimizer, toy, state(optimizer, 0.0, 0.0, 0.0), 1.02 * w, -2.04 * w / LR, 50)
    assert float(rod[-1].zeta.norm()) == pytest.approx(w, rel=3e-3)


@pytest.mark.parametrize("name", IDENTITY)
def test_quartic_splits_into_an_asymmetric_cycle(name: str) -> None:
    """Just past 1.5 c/η: period 2 still, but its two points are no longer opposite."""
    optimizer, edge = Optimizer(name, lr=LR, beta1=BETA1), threshold(name) / LR
    w = math.sqrt(0.52 * edge / 3) / (1 + 2 * BETA1 if name == "nesterov" else 1)
    path = iterates(optimizer, Quartic(1.52 * edge, 3.0), state(optimizer, 1.01 * w, -2 * w / LR, 0.0), 3000)
    a, b, c = (float(point.w) for point in path[-3:])
    assert a == pytest.approx(c, rel=1e-9)
    assert abs(abs(a) / abs(b) - 1) > 0.05
