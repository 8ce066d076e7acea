"""Toy losses: every closed form against a direct computation that shares none of its algebra."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.func import grad, jacrev

from cflows_core.problems import toy

VALLEYS = [
    toy.Valley(1.0, torch.tensor([0.8], dtype=torch.float64), 0.05, torch.tensor([4.0], dtype=torch.float64)),
    toy.Valley(1.0, torch.tensor([0.8, -0.3], dtype=torch.float64), 0.05, torch.tensor([4.0, 2.0], dtype=torch.float64)),
]


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def hessian(function):
    """Reverse mode twice: forward mode sets off a deprecation warning inside PyTorch."""
    return jacrev(jacrev(function))


def integrate(velocity, w: torch.Tensor, time: float, steps: int) -> torch.Tensor:
    """Classical Runge-Kutta of order four."""
    dt = time / steps
    for _ in range(steps):
        k1 = velocity(w)
        k2 = velocity(w + dt / 2 * k1)
        k3 = velocity(w + dt / 2 * k2)
        w = w + dt / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(w + dt * k3))
    return w


def test_linear() -> None:
    problem = toy.Linear(tensor(2.0, -1.0))
    w = tensor(0.3, 0.4)
    torch.testing.assert_close(-0.1 * grad(problem.loss)(w), problem.velocity(0.1))
    # The fixed point of dΣ/dt = (η²/4)(g₊g₊ᵀ + g₋g₋ᵀ) − 2Σ with the constant gradient a.
    sigma = torch.outer(problem.rod_half_difference(0.1), problem.rod_half_difference(0.1))
    torch.testing.assert_close(0.1**2 / 4 * 2 * torch.outer(problem.a, problem.a), 2 * sigma)


def test_quadratic() -> None:
    A = tensor(3.0, 1.0, 0.0, 1.0, 2.0, 0.5, 0.0, 0.5, -1.0).reshape(3, 3)
    problem, w = toy.Quadratic(A), tensor(1.0, -2.0, 0.5)
    assert problem.n_params == 3
    torch.testing.assert_close(hessian(problem.loss)(w), A)
    iterate = w
    for _ in range(20):
        iterate = iterate - 0.1 * grad(problem.loss)(iterate)
    torch.testing.assert_close(problem.gradient_descent(w, 0.1, 20), iterate)
    flowed = integrate(lambda v: -0.1 * A @ v, w, 20.0, 400)
    torch.testing.assert_close(problem.gradient_flow(w, 0.1, 20.0), flowed, rtol=1e-8, atol=1e-8)  # RK4 at dt = 0.05


def test_quadratic_diverges_just_past_its_critical_learning_rate() -> None:
    problem = toy.Quadratic(torch.diag(tensor(5.0, 1.0)))
    assert problem.critical_lr() == pytest.approx(0.4)
    start = tensor(1.0, 1.0)
    assert problem.gradient_descent(start, 0.99 * 0.4, 2000).norm() < 1e-6
    assert problem.gradient_descent(start, 1.01 * 0.4, 2000).norm() > 1e6


def test_quartic() -> None:
    problem, x = toy.Quartic(2.0, 0.5), tensor(0.7)
    torch.testing.assert_close(grad(problem.loss)(x), 2.0 * x - 0.5 * x**3)
    assert float(hessian(problem.loss)(x)) == pytest.approx(problem.sharpness(0.7))


@pytest.mark.parametrize("lr", [1.05, 1.2, 1.45])
def test_quartic_gradient_descent_settles_on_the_two_cycle(lr: float) -> None:
    """S₀ = 2: the edge is at η = 1, and the 2-cycle is stable below η = 1.5; the contraction is measured."""
    problem = toy.Quartic(2.0, 0.5)
    x = tensor(problem.two_cycle(lr) + 1e-5)
    distances = []
    for _ in range(20):
        for _ in range(2):
            x = x - lr * grad(problem.loss)(x)
        distances.append(float(x) - problem.two_cycle(lr))
    multiplier = problem.two_cycle_multiplier(lr)
    assert multiplier < 1
    # Linear in a distance of 1e-5, so relative corrections of that order.
    assert distances[0] == pytest.approx(1e-5 * multiplier, rel=1e-3, abs=1e-9)
    assert abs(distances[-1]) == pytest.approx(1e-5 * multiplier**20, rel=1e-2, abs=1e-12)


def test_quartic_without_a_two_cycle() -> None:
    problem = toy.Quartic(2.0, 0.5)
    assert problem.two_cycle(0.9) == 0
    assert problem.two_cycle_multiplier(1.55) > 1


@pytest.mark.parametrize("valley", VALLEYS)
def test_valley_floor(valley: toy.Valley) -> None:
    u = 0.1 * torch.arange(1, valley.n_params, dtype=torch.float64)
    w = torch.cat([tensor(0.0), u])
    expected = torch.full((valley.n_params,), valley.h, dtype=torch.float64)
    expected[0] = valley.sharpness(u)
    torch.testing.assert_close(hessian(valley.loss)(w), torch.diag(expected))
    flowed = integrate(lambda v: -0.5 * grad(valley.loss)(v), w, 40.0, 100)
    torch.testing.assert_close(flowed[1:], valley.gradient_flow(u, 0.5, 40.0))
    assert float(flowed[0]) == 0.0


@pytest.mark.parametrize("valley", VALLEYS)
def test_valley_central_flow(valley: toy.Valley) -> None:
    """Against eq. 14 integrated from autograd's ∇L and ∇S alone: gradient flow up to the edge, penalised on it."""
    lr = 0.8
    u0 = torch.zeros(valley.n_params - 1, dtype=torch.float64)
    start = torch.cat([tensor(0.0), u0])

    def sharpness(w: torch.Tensor) -> torch.Tensor:
        return hessian(valley.loss)(w)[0, 0]

    def at_edge(w: torch.Tensor) -> torch.Tensor:
        downhill, steepening = -grad(valley.loss)(w), grad(sharpness)(w)
        variance = 2 * steepening @ downhill / (steepening @ steepening)
        assert float(variance) == pytest.approx(valley.variance(w[1:]))
        return lr * (downhill - 0.5 * variance * steepening)

    reached = valley.time_to_edge(u0, lr)
    before = integrate(lambda w: -lr * grad(valley.loss)(w), start, reached, 50)
    assert float(sharpness(before)) == pytest.approx(2 / lr, rel=1e-9)
    torch.testing.assert_close(before[1:], valley.central_flow(u0, lr, reached))
    after = integrate(at_edge, before, 30.0, 40)
    torch.testing.assert_close(after[1:], valley.central_flow(u0, lr, reached + 30.0))
    assert valley.sharpness(valley.central_flow(u0, lr, reached + 30.0)) == pytest.approx(2 / lr)


def test_valley_times_to_the_edge() -> None:
    valley = VALLEYS[0]
    zero = tensor(0.0)
    assert valley.time_to_edge(zero, 2.0) == 0.0  # 2/η = s₀: there already
    assert math.isinf(valley.time_to_edge(zero, 0.1))  # 2/η = 20 lies above the sharpest point of the floor
    torch.testing.assert_close(valley.central_flow(zero, 0.1, 50.0), valley.gradient_flow(zero, 0.1, 50.0))
    assert valley.variance(valley.target + 1.0) == 0.0


@pytest.mark.parametrize("valley", VALLEYS)
def test_gradient_descent_follows_the_valleys_central_flow(valley: toy.Valley) -> None:
    """From the edge with x near σ, gradient descent's mean over its oscillation stays near u(t), and x² averages to σ².

    Exact for a slow drift only. Here the drift would sharpen by 0.1 % of the edge a step, and the window holds half a
    dozen slow cycles, not a whole number: measured 0.1 % in u and 6 % in x².
    """
    lr, steps, window = 0.8, 1200, 600
    valley = dataclasses.replace(valley, h=valley.h / 50)
    u0 = valley.a * (2 / lr - valley.s0) / (valley.a @ valley.a)
    w = torch.cat([tensor(0.7 * math.sqrt(valley.variance(u0))), u0])
    squares, positions = [], []
    for step in range(steps + 1):
        if step >= steps - window:
            squares.append(float(w[0] ** 2))
            positions.append(w[1:].clone())
        w = w - lr * grad(valley.loss)(w)
    predicted = torch.stack([valley.central_flow(u0, lr, time) for time in range(steps - window, steps + 1)]).mean(0)
    mean = torch.stack(positions).mean(0)
    assert float((mean - predicted).norm()) < 0.005 * float(predicted.norm())
    assert sum(squares) / len(squares) == pytest.approx(valley.variance(predicted), rel=0.1)
