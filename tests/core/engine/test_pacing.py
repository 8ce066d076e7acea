"""How many steps may be asked for, and how many a second were made."""

from __future__ import annotations

import pytest

from cflows_core.engine.pacing import Balance, Pace, Rate


def test_pace_earns_no_burst() -> None:
    pace = Pace()
    assert pace.allowance(10.0, 0.0) == (1, 0.0)
    pace.spend(1)
    assert pace.allowance(10.0, 0.0) == (0, pytest.approx(0.1))
    allowed, _ = pace.allowance(10.0, 60.0)  # a minute later
    assert allowed == 1
    assert pace.allowance(None, 61.0) == (None, 0.0)


@pytest.mark.parametrize("speed", [0.5, 7.0, 30.0, 400.0])
def test_pace_keeps_the_speed(speed: float) -> None:
    """Simulated for 100 s with calls that take 3 ms."""
    pace, now, steps, calls = Pace(), 0.0, 0, 0
    while now < 100.0:
        allowed, wait = pace.allowance(speed, now)
        assert allowed is not None
        if allowed == 0:
            now += wait
            continue
        pace.spend(allowed)
        steps, calls, now = steps + allowed, calls + 1, now + 0.003
    assert steps == pytest.approx(100 * speed, rel=0.02, abs=1)
    assert calls <= min(steps, 100 / 0.03)  # fast runs make several steps a call, one every 30 ms at most


def test_rate_is_that_of_the_last_two_seconds() -> None:
    rate = Rate()
    assert rate.value == 0.0
    rate.start(0.0)
    for tick in range(1, 101):
        rate.add(10 if tick <= 50 else 1, 0.1 * tick)
    assert rate.value == pytest.approx(10.0, rel=0.01)


def test_balance_says_what_the_last_two_seconds_went_to() -> None:
    balance = Balance()
    assert balance.largest == ""
    balance.start(10.0)
    balance.add(11.0, computing=0.9)
    assert balance.largest == "computing"
    balance.add(12.5, speed=1.4)
    assert balance.largest == "speed"
    balance.add(16.0, computing=0.5)  # and 3 s of something else
    assert balance.largest == "waiting"
    balance.start(20.0)
    assert balance.largest == ""
