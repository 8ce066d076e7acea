"""Vertical limits: nothing that matters is cut off, and they rarely move."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.models import Range1d

from cflows_app.views.limits import DECADES, Limits


def fitted(*anchors, others=(), **options) -> tuple[float, float]:
    axis = Range1d(0, 1)
    Limits(axis, **options).fit([np.asarray(a, dtype=float) for a in anchors], [np.asarray(o, dtype=float) for o in others])
    return axis.start, axis.end


def test_all_anchors_are_inside_with_a_margin():
    start, end = fitted([1, 5], [np.nan, 3, 9])
    assert 0 < start < 1
    assert 9 < end < 10


def test_nothing_known_leaves_the_limits():
    assert fitted([np.nan, np.inf]) == (0, 1)


def test_a_constant_curve_is_in_the_middle():
    start, end = fitted([4.0, 4.0])
    assert start < 4 < end
    assert (start + end) / 2 == pytest.approx(4)


def test_others_widen_the_limits_but_do_not_dwarf_the_anchors():
    assert 1.4 < fitted([0, 1], others=[[0.5, 1000]])[1] < 2
    assert fitted([0, 1], others=[[0.5, 1.2]])[1] < 1.4
    assert fitted(others=[[3, 7]])[0] > 2  # alone, they are what there is


def test_a_floor_is_reached():
    assert fitted([2, 5], floor=0.0)[0] == 0
    assert fitted([-2, 5], floor=0.0)[0] < -2


def test_what_is_never_negative_has_no_place_below_zero():
    assert fitted([0.01, 5])[0] == 0
    assert fitted([3, 5])[0] > 2
    assert fitted([-0.01, 5])[0] < -0.01


def test_a_log_scale_leaves_out_what_it_cannot_draw():
    start, end = fitted([0.0, -1.0, 1e-3, 1.0], scale="log")
    assert 1e-4 < start < 1e-3
    assert 1 < end < 10
    start, end = fitted([1e-30, 1.0], scale="log")
    assert np.log10(end / start) < DECADES + 1


def test_the_limits_move_seldom_while_a_curve_grows():
    axis, moves = Range1d(0, 1), 0
    limits = Limits(axis)
    for n in range(2, 400):
        before = axis.end
        limits.fit([np.arange(float(n))])
        assert axis.end >= n - 1
        moves += axis.end != before
    assert moves < 50


def test_the_limits_close_in_when_half_is_empty_and_not_before():
    axis = Range1d(0, 1)
    limits = Limits(axis)
    limits.fit([np.array([0.0, 10.0])])
    wide = axis.end
    limits.fit([np.array([0.0, 7.0])])
    assert axis.end == wide
    limits.fit([np.array([0.0, 4.0])])
    assert axis.end < 5


def test_limits_of_the_visitor_are_told_from_given_ones():
    axis = Range1d(0, 1)
    limits = Limits(axis)
    limits.fit([np.array([0.0, 10.0])])
    assert limits.given(axis.start, axis.end)
    assert not limits.given(axis.start, axis.end - 1)
