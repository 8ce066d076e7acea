"""Decimation: few points, no spike lost, nothing moved by more than a bucket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cflows_app.decimate import MAX_POINTS, Plan


def test_a_short_run_is_drawn_as_it_is():
    steps, values = np.arange(700), np.sin(np.arange(700.0))
    plan = Plan.make(0, 700)
    np.testing.assert_array_equal(plan.steps(steps), steps)
    np.testing.assert_array_equal(plan.values(values), values)


@pytest.mark.parametrize("n", [MAX_POINTS, 2_500, 10_000, 123_457])
def test_a_long_run_takes_at_most_half_of_the_points_and_leaves_room_to_grow(n):
    plan = Plan.make(0, n, keep=80)
    assert plan.points <= MAX_POINTS // 2
    assert plan.points == len(plan.steps(np.arange(n))) == len(plan.values(np.zeros(n)))
    assert plan.grown(n + MAX_POINTS // 2).points <= MAX_POINTS


@settings(deadline=None, max_examples=60)
@given(st.integers(MAX_POINTS, 40_000), st.integers(0, 300), st.floats(0, 1), st.sampled_from([-50.0, 50.0]))
def test_a_spike_of_one_step_is_drawn_where_it_was(n, keep, where, height):
    row = min(int(where * n), n - 1)
    values = np.cos(np.arange(n))
    values[row] = height
    plan = Plan.make(0, n, keep=keep)
    shown = np.flatnonzero(plan.values(values) == height)
    assert 1 <= len(shown) <= 2  # twice if it is alone in its bucket
    assert (np.abs(plan.steps(np.arange(n))[shown] - row) < plan.width).all()


def test_a_million_steps_lose_no_spike():
    values = np.random.default_rng(0).standard_normal(1_000_000)
    drawn = Plan.make(0, len(values), keep=80).values(values)
    assert (drawn.min(), drawn.max()) == (values.min(), values.max())


def test_the_extremes_stand_in_the_order_of_their_occurrence():
    values = np.tile([0.0, 5.0, 0.0, -5.0], 1000)
    plan = Plan.make(0, len(values))
    drawn = plan.values(values)[: 2 * plan.n_buckets].reshape(-1, 2)
    assert (drawn[1:] == [5.0, -5.0]).all()  # every bucket sees the high one first (the first may be shorter)
    assert (plan.values(-values)[: 2 * plan.n_buckets].reshape(-1, 2)[1:] == [-5.0, 5.0]).all()


def test_missing_values_leave_a_gap_and_hide_nothing():
    values = np.ones(8_000)
    values[:3_000] = np.nan
    values[5_001] = 9.0
    values[4_000:4_100:2] = np.nan
    drawn = Plan.make(0, 8_000).values(values)
    steps = Plan.make(0, 8_000).steps(np.arange(8_000))
    assert np.isnan(drawn[steps < 2_900]).all()
    assert np.isfinite(drawn[steps > 3_100]).all()
    assert drawn[np.isfinite(drawn)].max() == 9.0


def test_a_grown_plan_leaves_the_former_points_alone():
    values = np.random.default_rng(0).standard_normal(6_000)
    plan = Plan.make(0, 5_000)
    before, after = plan.values(values), plan.grown(5_400).values(values)
    np.testing.assert_array_equal(after[: len(before)], before)
    np.testing.assert_array_equal(after[len(before) :], values[5_000:5_400])
    assert after[plan.point(5_000)] == values[5_000]


def test_a_window_draws_only_its_rows():
    plan = Plan.make(1_000, 1_300)
    np.testing.assert_array_equal(plan.steps(np.arange(1_000, 1_300)), np.arange(1_000, 1_300))
