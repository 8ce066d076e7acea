"""`next_solve`: eigenvalue solves left out far from the edge, and no crossing missed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cflows_core.linalg.eigen import next_solve

C = 2.0
fixed = settings(derandomize=True, deadline=None, max_examples=300)


def solved_steps(curve: Callable[[int], float], steps: int) -> list[int]:
    """The steps at which a loop that obeys `next_solve` solves."""
    history: list[tuple[float, float]] = []
    step, solved = 0, []
    while step < steps:
        history.append((step, curve(step)))
        solved.append(step)
        step += next_solve(history, C)
    return solved


def first_crossing(curve: Callable[[int], float], steps: int) -> int:
    return next(t for t in range(steps) if curve(t) > C)


CURVES = {
    "linear, slow": lambda t: 0.1 + 0.005 * t,
    "linear, fast": lambda t: 0.1 + 0.09 * t,
    "exponential": lambda t: 0.01 * math.exp(0.02 * t),
    "exponential, 10 % a step": lambda t: 1e-6 * math.exp(0.1 * t) if t < 146 else 2.2,
    "sudden rise after a rest": lambda t: 0.4 if t < 300 else 0.4 + 0.1 * (t - 300),
    "sudden rise close to the edge": lambda t: 1.7 if t < 300 else 1.7 + 0.1 * (t - 300),
    "falling, then rising": lambda t: 1.5 - 0.01 * t if t < 100 else 0.5 + 0.02 * (t - 100),
    "noisy": lambda t: 0.2 + 0.006 * t + 0.03 * math.sin(2.3 * t),
    "accelerating": lambda t: 0.1 + 2e-5 * t**2,
    "negative at first": lambda t: -1 + 0.01 * t,
}


@pytest.mark.parametrize("name", CURVES)
def test_no_crossing_is_missed(name: str) -> None:
    """The first step above the threshold is a solved one, and so is the step before it."""
    curve = CURVES[name]
    crossing = first_crossing(curve, 1000)
    solved = solved_steps(curve, crossing + 1)
    assert solved[-2:] == [crossing - 1, crossing]


@pytest.mark.parametrize("name", ["linear, slow", "exponential", "sudden rise after a rest", "accelerating"])
def test_far_from_the_edge_most_solves_are_saved(name: str) -> None:
    curve = CURVES[name]
    half = next(t for t in range(1000) if curve(t) > 0.5 * C)
    assert len(solved_steps(curve, half)) < 0.25 * half + 5


@fixed
@given(st.lists(st.floats(-0.3, 0.05), min_size=10, max_size=200), st.floats(-1.0, 0.85))
def test_any_curve_that_rises_by_less_than_a_twentieth_a_step(increments: list[float], start: float) -> None:
    """The guarantee: whatever the curve does, below `fastest` = 0.05 c a step every step above the reach, 0.9 c, is solved."""
    curve = C * (start + np.cumsum([0.0, *increments]))
    solved = set(solved_steps(lambda t: curve[t], len(curve)))
    above = [t for t in range(2, len(curve)) if curve[t] > C]
    assert not above or above[0] in solved
    assert all(t in solved for t in range(1, len(curve)) if curve[t - 1] > 0.9 * C and t - 1 in solved)


def test_the_smallest_number_there_is_does_no_harm() -> None:
    curve = [5e-324] * 7 + [0.0625] * 4
    assert solved_steps(lambda t: curve[t], len(curve))[0] == 0


def test_a_leap_is_met_within_the_longest_wait() -> None:
    solved = solved_steps(lambda t: 0.01 if t < 333 else 3.0, 400)
    assert min(t for t in solved if t >= 333) < 333 + 20


def test_special_histories() -> None:
    assert next_solve([], C) == 1
    assert next_solve([(0, 0.1)], C) == 1
    assert next_solve([(0, 0.1), (1, 0.1)], C) == 2  # at most twice the last interval
    assert next_solve([(0, 0.1), (15, 0.1)], C) == 17  # 0.85 c at 0.05 c a step
    assert next_solve([(0, -5.0), (15, -5.0)], C) == 20  # the longest
    assert next_solve([(0, 1.79), (15, 1.81)], C) == 1  # within reach
    assert next_solve([(0, 3.0), (15, 2.5)], C) == 1  # above
    assert next_solve([(0, 0.1), (15, 0.1), (16, math.nan)], C) == 17  # a failed solve says nothing
    assert next_solve([(0, 0.1), (0, 0.1)], C) == 1
    assert isinstance(next_solve([(0, 0.1), (10, 0.2)], C), int)
