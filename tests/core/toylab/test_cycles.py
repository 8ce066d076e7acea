"""The matrix of a step, 2-cycles with their multipliers, and the modulation of swings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cflows_core import Optimizer
from cflows_core.optimizers import State
from cflows_core.problems.toy import Quadratic, Quartic
from cflows_core.toylab import cycle, step_eigenvalues, swinging, swings, transition_matrix
from cflows_core.toylab.walk import iterates
from tests.oracles import NINE

IDENTITY, ADAPTIVE = NINE[:3], NINE[3:]


def vector(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


@pytest.mark.parametrize("beta1", [0.5, 0.9])
@pytest.mark.parametrize("name", NINE)
def test_eigenvalues_leave_the_unit_circle_at_minus_one(name: str, beta1: float) -> None:
    """Inside below λ = c, one of them −1 at c, outside above; the other is −β₁ or β₁/(1 + 2β₁) there."""
    optimizer = Optimizer(name, lr=0.3, beta1=beta1)
    c, b = optimizer.threshold, optimizer.beta1
    values = step_eigenvalues(optimizer, [0.5 * c, 0.99 * c, c, 1.01 * c])
    largest = np.abs(values).max(1)
    assert largest[0] < 1
    assert largest[1] < 1
    assert largest[3] > 1
    assert values[2][np.argmin(np.abs(values[2] + 1))] == pytest.approx(-1, abs=1e-12)
    if optimizer.momentum != "none":
        other = -b if optimizer.momentum == "heavy_ball" else b / (1 + 2 * b)
        assert values[2][np.argmax(np.abs(values[2] + 1))] == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize("name", NINE)
def test_the_matrix_is_that_of_the_steps(name: str) -> None:
    """β₂ = 1 freezes ν, so that steps on a quadratic of two weights are linear: the matrix times a state is the next."""
    optimizer, A = Optimizer(name, lr=0.3, beta2=1.0, bias_correction=False), torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    w = vector(0.4, -0.3)
    state = optimizer.start(w, A @ w)
    for _ in range(3):
        after = optimizer.step(state, A @ optimizer.gradient_point(state))
        matrix = transition_matrix(optimizer, state, A)
        z, z_after = (s.w if s.m is None else torch.cat([s.w, s.m]) for s in (state, after))
        torch.testing.assert_close(matrix @ z, z_after, rtol=1e-12, atol=1e-14)
        state = after


@pytest.mark.parametrize("sharpness", [0.7, 30.0])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_two_cycle_of_a_quadratic(name: str, sharpness: float) -> None:
    """|δ*| = η/c whatever the sharpness, from a guess 20 % off; only Adam's is unstable, by 1.14 a step."""
    optimizer, loss = Optimizer(name, lr=0.1, beta1=0.9, beta2=0.99, eps=0.0), Quadratic(vector(sharpness)[None])
    size = optimizer.lr / optimizer.threshold
    found = cycle(loss, optimizer, swinging(loss, optimizer, vector(1.2 * size)))
    assert found.found, found.note
    assert abs(float(found.half_difference[0])) == pytest.approx(size, rel=1e-9)
    assert found.stable == (name not in ("adam", "scalar_adam"))
    if not found.stable:
        assert math.sqrt(found.multiplier) == pytest.approx(1.14, abs=0.005)


@pytest.mark.parametrize("name", ["adam", "nadam"])
def test_the_multiplier_is_how_iterates_leave_or_come(name: str) -> None:
    """The distance to the cycle, from 1e-10 of it on, every second step: it obeys the pair of multipliers that the Jacobian has."""
    optimizer, loss = Optimizer(name, lr=0.1, beta1=0.9, beta2=0.99, eps=0.0, bias_correction=False), Quadratic(vector(5.0)[None])
    found = cycle(loss, optimizer, swinging(loss, optimizer, vector(optimizer.lr / optimizer.threshold)))
    begin = State(torch.as_tensor(found.w[0]), 0.0, torch.as_tensor(found.m[0]), torch.as_tensor(found.nu[0]))
    path = iterates(loss, optimizer, State(begin.w * (1 + 1e-10), 0.0, begin.m, begin.nu), 60)
    off = np.array([float(state.w - begin.w) for state in path[::2]])
    # Two steps of a linear map with multipliers μ, μ̄ obey o'' = 2 Re μ o' − |μ|² o once the small third one has gone.
    late = off[8:]
    trace, product = np.linalg.lstsq(np.stack([late[1:-1], -late[:-2]], axis=1), late[2:], rcond=None)[0]
    assert math.sqrt(product) == pytest.approx(found.multiplier, rel=1e-3)
    assert trace == pytest.approx(2 * found.multipliers[0].real, rel=1e-3)


@pytest.mark.parametrize(("share", "stable"), [(1.02, True), (1.49, True), (1.51, False), (1.9, False)])
@pytest.mark.parametrize("name", IDENTITY)
def test_two_cycle_of_the_quartic_breaks_at_three_halves(name: str, share: float, stable: bool) -> None:
    """For all three; gradient descent's multiplier is (2ηS₀ − 5)²."""
    optimizer = Optimizer(name, lr=0.1)
    loss = Quartic(share * optimizer.threshold / optimizer.lr, 3.0)
    x = math.sqrt((share - 1) * optimizer.threshold / optimizer.lr / 3)
    found = cycle(loss, optimizer, swinging(loss, optimizer, vector(1.001 * x / optimizer.swing)))
    assert found.found, found.note
    assert found.stable == stable
    np.testing.assert_allclose(np.abs(found.x[:, 0]), x, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.w[:, 0]), x / optimizer.swing, rtol=1e-9)
    if name == "gd":
        assert found.multiplier == pytest.approx(loss.two_cycle_multiplier(0.1), rel=1e-6)


def test_at_rest_there_is_no_cycle() -> None:
    optimizer, loss = Optimizer("gd", lr=0.1), Quartic(5.0, 1.0)
    found = cycle(loss, optimizer, swinging(loss, optimizer, vector(0.1)))
    assert not found.found
    assert not found.stable
    assert found.note.startswith("No 2-cycle is near this start")


def test_modulation_of_a_beat() -> None:
    """(−1)ᵗ (1 + 0.3 cos 2πt/37): its own period, amplitude and mean square."""
    t = np.arange(1500)
    found = swings((-1.0) ** t * (1 + 0.3 * np.cos(2 * np.pi * t / 37)))
    assert found.modulation == pytest.approx(37, rel=0.01)
    assert found.rms == pytest.approx(math.sqrt(1 + 0.045), rel=0.01)
    assert (found.least, found.most) == (pytest.approx(0.7, abs=0.01), pytest.approx(1.3, abs=0.01))
    assert math.isnan(swings((-1.0) ** t).modulation)


def test_adams_limit_cycle() -> None:
    """It leaves the 2-cycle for a modulated swing whose mean square is nearly that of the 2-cycle."""
    optimizer, loss = Optimizer("adam", lr=0.1, beta1=0.9, beta2=0.99, eps=0.0, bias_correction=False), Quadratic(vector(5.0)[None])
    size = optimizer.lr / optimizer.threshold
    begin = swinging(loss, optimizer, vector(1.01 * size))
    found = swings([float(state.w) for state in iterates(loss, optimizer, begin, 3000)[1000:]])
    assert found.rms == pytest.approx(size, rel=0.1)
    assert found.most > 1.2 * size
    assert found.least < 0.8 * size
    assert 4 < found.modulation < 500
