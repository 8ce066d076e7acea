"""What the toy lab computes and draws, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cflows_app.toylab import results
from cflows_app.toylab.landscape import contours, curvatures
from cflows_app.toylab.orbit import BINS, thinned
from cflows_core.config import OPTIMIZER_NAMES
from tests.app.toys import at


def test_the_diagram_of_gradient_descent_on_the_quartic_is_the_known_one():
    found = results.diagram((at(sharpness=2.0, gamma=3.0, lr=1.0), ("lr",)))
    relative = found.values[0] * 2.0  # η S₀
    away = np.abs(relative - 2) > 0.05  # close to the edge it takes long to come to rest
    np.testing.assert_array_equal(found.period[away & (relative < 2)], 1)
    inside = (relative > 2.05) & (relative < 2.95)
    np.testing.assert_array_equal(found.period[inside], 2)
    cycle = np.sqrt((2.0 - 2 / found.values[0][inside]) / 3.0)
    np.testing.assert_allclose(np.abs(found.points[inside]).max(axis=1), cycle, rtol=1e-6)
    # The cubic map's 2-cycle splits at 1 + √5, and beyond 4 nothing holds it.
    np.testing.assert_array_equal(found.period[(relative > 3.05) & (relative < 1 + math.sqrt(5) - 0.02)], 2)
    assert set(found.period[(relative > 1 + math.sqrt(5) + 0.01) & (relative < 3.28)]) == {4}
    np.testing.assert_array_equal(found.period[relative > 4.01], -1)
    assert found.middle(4) * 2.0 == pytest.approx(3.26, abs=0.03)
    assert found.middle(7) is None


def test_a_diagram_does_not_depend_on_what_it_goes_over():
    one, other = at(lr=2.5), at(lr=3.1, length="200")
    assert results.diagram((one, ("lr",))) is results.diagram((other, ("lr",)))
    momentum = at(optimizer="heavy_ball", beta1=0.5)
    assert results.general(momentum, ("lr",)) != results.general(momentum.changed("beta1", 0.6), ("lr",))
    assert results.general(momentum, ("lr", "beta1")) == results.general(momentum.changed("beta1", 0.6), ("lr", "beta1"))


def test_a_map_over_momentum_shows_the_threshold(quick):
    found = results.diagram((at(loss="quadratic", optimizer="heavy_ball"), ("lr", "beta1")))
    lr, beta1 = np.meshgrid(*found.values, indexing="ij")
    relative = lr / (2 * (1 + beta1) / (1 - beta1))
    assert found.flat
    assert set(found.period[relative > 1.1]) == {-1}
    assert set(found.period[(relative < 0.9) & (beta1 < 0.9)]) == {1}


def test_points_that_would_be_drawn_on_one_another_are_drawn_once():
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (3, 5000))
    values, columns = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    x, y = thinned(values, places, columns, -1.0, 1.0)
    assert set(x) == {1.0, 3.0}
    for value, row in zip(values[columns], places[columns], strict=True):
        kept = y[x == value]
        assert len(kept) <= BINS
        assert np.abs(row[:, None] - kept[None]).min(axis=1).max() <= 2 / BINS  # nothing vanished


def test_the_tinted_region_is_where_the_curvature_exceeds_the_edge():
    setting = at(lr=2.5)
    scene = results.walked(setting)
    assert scene.critical(7) == pytest.approx(2 / 2.5)
    x = np.linspace(-1, 1, 2001)
    np.testing.assert_allclose(curvatures(setting.toy, x), 1 - 3 * x**2, atol=1e-12)
    bound = math.sqrt((1 - 2 / 2.5) / 3)
    assert np.abs(x[curvatures(setting.toy, x) > scene.critical(7)]).max() == pytest.approx(bound, abs=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_the_walk_that_comes_at_once_is_that_with_its_flows(optimizer):
    setting = at(optimizer=optimizer, length="50")
    setting = setting.changed("lr", 0.9 * setting.typical)
    quick, whole = results.walked(setting), results.followed(setting)
    rows = min(len(quick.walk.w), len(whole.walk.w)) - 1  # the last midpoint is of two iterates or of three
    for name in ("w", "x", "loss", "eigenvalue", "centre", "eigenvalue_centre"):
        np.testing.assert_allclose(
            getattr(quick.walk, name)[1:rows], getattr(whole.walk, name)[1:rows], rtol=1e-9, atol=1e-12, err_msg=name
        )
    assert whole.period is not None


def test_a_step_at_the_edge_has_the_eigenvalue_minus_one():
    for optimizer in ("gd", "heavy_ball", "nesterov"):
        setting = at(loss="quadratic", optimizer=optimizer)
        scene = results.walked(setting.changed("lr", setting.typical))
        assert np.abs(scene.eigenvalues + 1).min(axis=1).max() == pytest.approx(0, abs=1e-7)


def test_contours_are_places_of_equal_loss():
    setting = at(loss="valley")
    xs, ys = contours(setting, (0.0, 3.0, -1.0, 1.0))
    assert len(xs) > 8
    for u, x in zip(xs, ys, strict=True):
        values = (1 + u) * np.log1p(0.5 * x**2) + 0.015 * (u - 3) ** 2
        assert np.ptp(values) < 0.02 * (1 + np.abs(values).max())


def test_the_table_has_every_closed_form_and_they_agree():
    rows = results.expected(at(optimizer="nesterov"))
    assert len(rows) >= 5
    assert all(row["agrees"] for row in rows)
    assert all(row["formula"].startswith("<math") and row["source"] for row in rows)
