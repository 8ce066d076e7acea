"""The Gaussian average of a growing series, against direct sums and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from cflows_app.smoothing import REACH, Smoother, gaussian_average


def directly(values: np.ndarray, sigma: float) -> np.ndarray:
    """The definition: normalised Gaussian weights of all known values within REACH widths."""
    rows = np.arange(len(values))
    weights = np.exp(-0.5 * ((rows[:, None] - rows[None, :]) / sigma) ** 2)
    weights[np.abs(rows[:, None] - rows[None, :]) > int(REACH * sigma + 0.5)] = 0
    known = np.isfinite(values)
    average = (weights * np.where(known, values, 0.0)).sum(1) / (weights * known).sum(1)
    return np.where(known, average, np.nan)


@pytest.mark.parametrize(("n", "sigma"), [(5, 3.0), (60, 2.5), (400, 20.0), (1500, 50.0)])
def test_equals_the_definition(n, sigma):
    values = np.random.default_rng(1).standard_normal(n).cumsum() + 100.0
    values[n // 3 : n // 3 + 2] = np.nan
    # The transform rounds at 1e-16 times the largest deviation from the mean (tens here), summed over some hundred terms.
    np.testing.assert_allclose(gaussian_average(values, sigma), directly(values, sigma), rtol=1e-12)


def test_a_two_cycle_disappears_and_a_slope_stays():
    steps = np.arange(2_000.0)
    smooth = gaussian_average(0.01 * steps + 5.0 * (-1) ** steps, 20.0)
    inside = slice(100, -100)  # towards the ends the average is one-sided
    np.testing.assert_allclose(smooth[inside], 0.01 * steps[inside], atol=1e-3)  # weights below 4e-4 are cut off


def test_no_width_means_no_smoothing():
    values = np.array([1.0, 5.0, np.nan, 2.0])
    np.testing.assert_array_equal(gaussian_average(values, 0.0), values)


def test_nothing_known_gives_nothing():
    assert np.isnan(gaussian_average(np.full(10, np.nan), 2.0)).all()


def test_the_live_end_does_not_jump_with_every_oscillation():
    values = 1.0 + (-1.0) ** np.arange(400)
    ends = [gaussian_average(values[:n], 20.0)[-1] for n in range(300, 310)]
    assert max(ends) - min(ends) < 0.06  # the last value has a weight of 2/(20 sqrt(2 pi)) = 4 %; repeating it would give it half


@pytest.mark.parametrize("pieces", [(1,) * 60, (200, 1, 5, 300, 80), (3, 900)])
def test_growing_by_pieces_equals_all_at_once(pieces):
    values = np.random.default_rng(2).standard_normal(sum(pieces))
    smoother, n = Smoother(6.0), 0
    for piece in pieces:
        n += piece
        got = smoother.update(values[:n])
        np.testing.assert_allclose(got, gaussian_average(values[:n], 6.0), atol=1e-12)


def test_rows_beyond_its_reach_never_change():
    values = np.random.default_rng(3).standard_normal(600)
    smoother = Smoother(5.0)
    before = smoother.update(values[:500]).copy()
    after = smoother.update(values)
    np.testing.assert_array_equal(after[: 500 - smoother.reach], before[: 500 - smoother.reach])
    assert (after[500 - smoother.reach : 500] != before[500 - smoother.reach :]).any()


@pytest.mark.parametrize("pieces", [(180,), (60, 60, 60), (1,) * 180])
def test_no_average_reaches_across_a_break(pieces):
    values = np.where(np.arange(180) < 70, 1.0, 9.0)
    values[120:] = 4.0
    smoother, n = Smoother(10.0), 0
    for piece in pieces:
        n += piece
        got = smoother.update(values[:n], [70, 120])
    values[[70, 120]] = np.nan  # a gap
    np.testing.assert_allclose(got, values, rtol=1e-12)
    assert 1.0 < Smoother(10.0).update(np.where(np.arange(180) < 70, 1.0, 9.0))[70] < 9.0
