"""Drawings take turns with everything else."""

from __future__ import annotations

import pytest

from cflows_app.turns import LOST, SHORTEST, Turns


@pytest.fixture
def turns() -> Turns:
    """With a browser that has answered once, at time 0."""
    turns = Turns()
    turns.sent(0.0)
    turns.drawn(1, 0.0)
    return turns


def test_without_a_browser_nothing_waits():
    turns = Turns()
    for _ in range(3):
        assert turns.open(0.0)
        turns.sent(0.0)


def test_the_next_waits_for_the_last_and_then_as_long_again(turns):
    turns.sent(10.0)
    assert not turns.open(10.2)
    turns.drawn(2, 10.3)
    assert not turns.open(10.59)
    assert turns.open(10.61)


def test_a_quick_browser_gets_no_more_than_is_seen(turns):
    turns.sent(10.0)
    turns.drawn(2, 10.01)
    assert not turns.open(10.0 + 0.9 * SHORTEST)
    assert turns.open(10.0 + 1.1 * SHORTEST)


def test_a_lost_answer_costs_a_moment(turns):
    turns.sent(10.0)
    assert not turns.open(10.0 + 0.9 * LOST)
    assert turns.open(10.0 + LOST)
    turns.sent(13.0)
    turns.drawn(2, 13.1)  # late, of the one before
    assert not turns.open(13.5)


@pytest.mark.parametrize("answer", ["3", None, {}, -1, float("nan")])
def test_a_strange_answer_changes_nothing(turns, answer):
    turns.sent(10.0)
    turns.drawn(answer, 10.1)
    assert not turns.open(11.0)
