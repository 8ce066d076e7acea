"""Measurements against closed forms and direct sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cflows_core import measure


def weighted(y: np.ndarray, at: int, sigma: float) -> float:
    """The Gaussian average at one row by its definition, the edges repeated far enough."""
    far = int(6 * sigma)
    rows = np.arange(-far, len(y) + far)
    values = y[np.clip(rows, 0, len(y) - 1)]
    weights = np.exp(-((rows - at) ** 2) / (2 * sigma**2))
    return float(weights @ values / weights.sum())


@pytest.mark.parametrize("at", [0, 7, 60, 119])
def test_gaussian_smooth_is_the_gaussian_average(at: int) -> None:
    y = np.random.default_rng(0).normal(size=120)
    # the filter cuts the Gaussian at four sigma, of weight 6e-5
    assert measure.gaussian_smooth(y, 8.0)[at] == pytest.approx(weighted(y, at, 8.0), abs=1e-3)


def test_gaussian_smooth_leaves_constants_and_removes_period_two() -> None:
    t = np.arange(300)
    np.testing.assert_allclose(measure.gaussian_smooth(np.full(300, 3.0)), 3.0, rtol=1e-12)
    ramp = measure.gaussian_smooth(0.01 * t + (-1.0) ** t, 10.0)
    # the filter cuts the Gaussian at four sigma, where a period of two leaves exp(-8)/(sigma sqrt(2 pi)) = 1.3e-5
    np.testing.assert_allclose(ramp[60:-60], 0.01 * t[60:-60], atol=2e-5)


def test_gaussian_smooth_leaves_missing_values_out() -> None:
    y = np.full(200, 2.0)
    y[:40] = y[90:100] = y[150] = np.nan
    smooth = measure.gaussian_smooth(y, 20.0)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(y))
    np.testing.assert_allclose(smooth[~np.isnan(y)], 2.0, rtol=1e-12)
    # what comes before a flow's start is not part of its edge: as if the series began there
    late = np.concatenate([np.full(50, np.nan), np.arange(100.0)])
    np.testing.assert_allclose(measure.gaussian_smooth(late, 9.0)[50:], measure.gaussian_smooth(np.arange(100.0), 9.0), rtol=1e-12)
    assert np.isnan(measure.gaussian_smooth(np.full(5, np.nan))).all()
    assert measure.gaussian_smooth(np.array([])).shape == (0,)


def test_columns_are_smoothed_alone() -> None:
    y = np.random.default_rng(1).normal(size=(50, 3))
    y[10, 1] = np.nan
    smooth = measure.gaussian_smooth(y, 4.0)
    for column in range(3):
        np.testing.assert_array_equal(smooth[:, column], measure.gaussian_smooth(y[:, column], 4.0))
    np.testing.assert_allclose(measure.ema(y, 5.0)[:, 1], measure.ema(y[:, 1], 5.0))


def test_ema_is_causal_and_unbiased() -> None:
    y = np.random.default_rng(2).normal(size=60)
    y[7] = np.nan
    average = measure.ema(y, 4.0)
    keep = 0.5 ** (1 / 4)
    for t in (0, 3, 30):
        weights = keep ** (t - np.arange(t + 1)) * np.isfinite(y[: t + 1])
        assert average[t] == pytest.approx(weights @ np.nan_to_num(y[: t + 1]) / weights.sum(), rel=1e-12)
    assert np.isnan(average[7])
    np.testing.assert_array_equal(measure.ema(y[:30], 4.0), average[:30])
    assert measure.ema(np.array([]), 4.0).shape == (0,)
    # after half_life rows the first value has half the weight of the last
    step = np.concatenate([[1.0], np.zeros(4)])
    assert measure.ema(step, 4.0)[4] == pytest.approx(0.5 / sum(keep**i for i in range(5)), rel=1e-12)


def test_midpoint_and_oscillation_split_the_iterate() -> None:
    """w = w* + δ; a straight drift has no oscillation, a period-2 orbit no part in the midpoint."""
    t = np.arange(5.0)[:, None]
    drift, swing = t * np.array([1.0, -2.0]), (-1.0) ** t * np.array([0.3, 0.1])
    w = drift + swing
    np.testing.assert_allclose(measure.midpoint(w[1], w[2], w[3]), drift[2], atol=1e-15)
    np.testing.assert_allclose(measure.oscillation(w[1], w[2], w[3]), swing[2], atol=1e-15)
    as_tensors = [torch.as_tensor(w[i]) for i in (1, 2, 3)]
    torch.testing.assert_close(measure.midpoint(*as_tensors) + measure.oscillation(*as_tensors), as_tensors[1])


def test_path_and_shares() -> None:
    angle = np.linspace(0, np.pi, 2001)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    length = measure.path_length(circle)
    assert length[0] == 0.0
    assert length[-1] == pytest.approx(np.pi, rel=1e-6)  # chords of a half circle: relative error angle²/24
    np.testing.assert_allclose(measure.share_of_path([0.0, 0.5, 1.0], [0.0, 2.0, 5.0]), [np.nan, 0.25, 0.2])
    assert measure.path_length(np.zeros((0, 3))).shape == (0,)
    np.testing.assert_allclose(measure.distance([[3.0, 4.0], [0.0, 0.0]], [0.0, 0.0]), [5.0, 0.0])


def test_squared_displacement_is_the_quadratic_form() -> None:
    random = np.random.default_rng(3)
    preconditioner = random.uniform(1.0, 4.0, size=7)
    modes = np.linalg.qr(random.normal(size=(7, 2)))[0] / np.sqrt(preconditioner)[:, None]  # P-orthonormal
    np.testing.assert_allclose(modes.T @ np.diag(preconditioner) @ modes, np.eye(2), atol=1e-14)
    iterate, centre = random.normal(size=7), random.normal(size=7)
    dense = [float(modes[:, i] @ np.diag(preconditioner) @ (iterate - centre)) ** 2 for i in range(2)]
    np.testing.assert_allclose(measure.squared_displacement(iterate, centre, modes, preconditioner), dense, rtol=1e-12)


def test_empirical_variance_of_an_alternation_is_its_square() -> None:
    amplitude = np.linspace(1.0, 2.0, 400)
    variance = measure.empirical_variance(amplitude * (-1.0) ** np.arange(400), sigma=10.0)
    np.testing.assert_allclose(variance[50:-50], amplitude[50:-50] ** 2, rtol=1e-3)


def test_relative_errors() -> None:
    np.testing.assert_allclose(measure.relative_error([1.1, 2.0, np.nan, 1.0], [1.0, -1.0, 1.0, 0.0]), [0.1, 3.0, np.nan, np.nan])
    assert measure.mean_relative_error([1.1, np.nan, 0.8], [1.0, 1.0, 1.0]) == pytest.approx(0.15)
    assert np.isnan(measure.mean_relative_error([np.nan], [1.0]))


T = np.arange(48)
ORBITS = {
    "rest": (np.full(48, 1.7), 1),
    "nearly at rest": (1.7 + 1e-4 * (-1.0) ** T, 1),
    "dying out": (0.8**T * (-1.0) ** T, 1),
    "alternating": (0.1 * (-1.0) ** T, 2),
    "alternating about a slow drift": (0.1 * (-1.0) ** T + 1e-3 * T, 2),
    "growing three per cent a step": (1e-4 * 1.03**T * (-1.0) ** T, 2),
    "asymmetric": (np.where(T % 2 == 0, 0.4, -0.1), 2),
    "four": (np.array([0.3, -0.2, 0.1, -0.25])[T % 4], 4),
    "three": (np.array([0.3, -0.2, 0.1])[T % 3], 0),
    "growing without oscillation": (1.2**T, 0),
}


@pytest.mark.parametrize("name", ORBITS)
def test_periods(name: str) -> None:
    orbit, expected = ORBITS[name]
    assert measure.period(orbit) == expected


def test_a_single_spike_does_not_hide_a_period() -> None:
    orbit = 0.1 * (-1.0) ** T
    orbit[20] += 5.0
    assert measure.period(orbit) == 2


def test_a_beat_is_no_rest_unless_it_is_asked() -> None:
    """Two modes of period 2 with opposite growth: the amplitude falls to a fifth and comes back, and the period is 2 all along."""
    t = np.arange(40)
    beat = (-1.0) ** t * (1.2 + np.cos(2 * np.pi * (t + 2) / 80))
    assert measure.period(beat) == 1
    assert measure.period(beat, fading=False) == 2


def test_no_period_without_enough_values() -> None:
    assert measure.period(np.ones(11)) == 0
    assert measure.period([*np.ones(20), np.nan]) == 0
    assert measure.period(1e-9 * np.random.default_rng(0).normal(size=40), floor=1e-6) == 1


def test_the_logistic_map_doubles_its_period() -> None:
    """x' = r x (1 - x): period 1, 2 and 4 up to r = 3, 3.449 and 3.544, chaos at 3.9 (textbook values)."""
    found = []
    for r in (2.8, 3.2, 3.5, 3.9):
        x = [0.3]
        for _ in range(600):
            x.append(r * x[-1] * (1 - x[-1]))
        found.append(measure.period(x[-64:]))
    assert found == [1, 2, 4, 0]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=60), st.floats(0.5, 20.0))
def test_averages_stay_within_the_values(values: list[float], width: float) -> None:
    y = np.array(values)
    known = y[np.isfinite(y)]
    for average in (measure.gaussian_smooth(y, width), measure.ema(y, width)):
        np.testing.assert_array_equal(np.isnan(average), np.isnan(y))
        if len(known):
            slack = 1e-9 * np.abs(known).max() + np.finfo(float).tiny  # what is smaller than that has few digits, or none
            assert np.nanmin(average) >= known.min() - slack
            assert np.nanmax(average) <= known.max() + slack


@pytest.mark.parametrize("fading", [True, False])
def test_periods_of_many_rows_are_those_of_each(fading: bool) -> None:
    """Rest, drift, periods 2 to 5, chaos, decay, growth, noise and what is not finite."""
    t, generator = np.arange(60), np.random.default_rng(0)
    logistic = [0.3]
    for _ in range(59):
        logistic.append(3.9 * logistic[-1] * (1 - logistic[-1]))
    rows = [np.ones(60), 1 + 1e-9 * t, 0.1 * t, (-1.0) ** t, np.cos(t * np.pi / 2) + 0.3 * (-1.0) ** t, np.cos(2 * np.pi * t / 3)]
    rows += [np.cos(2 * np.pi * t / 5), logistic, 0.9**t * (-1.0) ** t, 0.98**t * (-1.0) ** t, 1.02**t * (-1.0) ** t]
    rows += [generator.normal(size=60), np.where(t == 7, np.nan, 1.0), np.where(t == 7, np.inf, 1.0), np.zeros(60)]
    rows += list(
        generator.normal(size=(40, 1)) * (-1.0) ** t + generator.choice([0.01, 0.04, 0.06], (40, 1)) * generator.normal(size=(40, 60))
    )
    for cut in (60, 12, 11):
        x = np.array(rows)[:, :cut]
        expected = [measure.period(row, fading=fading) for row in x]
        assert measure.periods(x, fading=fading).tolist() == expected
    assert {1, 2, 4, 0} <= {measure.period(row, fading=fading) for row in np.array(rows)}
