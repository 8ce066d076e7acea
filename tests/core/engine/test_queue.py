"""The queue: nobody computes beyond the places, nobody starves, and what it says of the wait comes true."""

from __future__ import annotations

import asyncio
import random

import pytest

from cflows_core.engine.queue import Queue, Turn


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    places: int, quantum: float, jobs: list[tuple[str, float]], tick: float = 0.5
) -> tuple[list[float], list[float], list[float], int]:
    """Jobs (owner, seconds needed), all there from the start: first estimate, first beginning and end of each, and the most at a time."""

    async def play() -> tuple[list[float], list[float], list[float], int]:
        clock = Clock()
        queue = Queue(places, quantum, clock)
        left = [needed for _, needed in jobs]
        began, ended, most = [-1.0] * len(jobs), [-1.0] * len(jobs), 0

        async def work(index: int, turn: Turn) -> None:
            while left[index] > 0:
                await turn.take()
                began[index] = clock.now if began[index] < 0 else began[index]
                at = clock.now
                while left[index] > 0 and not turn.over:
                    await moved.wait()
                    left[index] -= clock.now - at
                    at = clock.now
                turn.leave()
            ended[index] = clock.now

        moved = asyncio.Event()
        turns = [queue.join(owner, lambda index=index: left[index]) for index, (owner, _) in enumerate(jobs)]
        tasks = [asyncio.ensure_future(work(index, turn)) for index, turn in enumerate(turns)]
        await asyncio.sleep(0)
        estimates = [turn.estimate for turn in turns]
        while not all(task.done() for task in tasks):
            most = max(most, queue.computing)
            clock.now += tick
            moved.set()
            moved.clear()
            for _ in range(4 * len(jobs)):
                await asyncio.sleep(0)
        assert (queue.computing, queue.waiting) == (0, 0)
        return estimates, began, ended, most

    return asyncio.run(play())


def test_places_are_kept_and_estimates_come_true() -> None:
    jobs = [(f"visitor {index}", 4.0 + index % 3) for index in range(9)]
    estimates, began, ended, most = simulate(2, 5.0, jobs)
    assert most == 2
    assert estimates[:2] == [0.0, 0.0]
    # A tick of half a second passes where one leaves and another begins.
    assert began == pytest.approx(estimates, abs=0.5 * 5)
    assert max(ended) >= sum(needed for _, needed in jobs) / 2


def test_nobody_waits_for_the_end_of_a_long_run() -> None:
    _, began, ended, _ = simulate(1, 5.0, [("long", 1000.0), ("short", 2.0), ("other", 2.0)])
    assert began[1] <= 6.0
    assert ended[1] <= 8.5
    assert ended[2] <= 11.5


def test_a_visitor_with_many_runs_does_not_push_others_back() -> None:
    jobs = [("greedy", 5.0)] * 8 + [("modest", 5.0)]
    _, began, _, _ = simulate(2, 5.0, jobs)
    assert began[-1] == sorted(began)[2]  # next after the two that had places from the start


def test_turns_go_round() -> None:
    """Whoever owns them, runs that need the same end about together."""
    rng = random.Random(0)
    jobs = [(f"visitor {rng.randrange(6)}", 20.0) for _ in range(6)]
    owners = {owner for owner, _ in jobs}
    _, began, ended, _ = simulate(2, 2.0, jobs)
    assert max(began) <= 2.5 * len(jobs) / 2
    assert max(ended) - min(ended) <= 40.0
    assert len(owners) > 1


def test_without_a_limit_nobody_waits() -> None:
    _, began, _, most = simulate(0, 5.0, [("one", 3.0)] * 20)
    assert set(began) == {0.0}
    assert most == 20


def test_leaving_while_waiting_frees_the_next() -> None:
    async def play() -> None:
        queue = Queue(1, clock=Clock())
        first, second, third = (queue.join(name, lambda: 100.0) for name in "abc")
        await first.take()
        waiting = [asyncio.ensure_future(turn.take()) for turn in (second, third)]
        await asyncio.sleep(0)
        assert (first.position, second.position, third.position) == (0, 1, 2)
        assert (second.estimate, third.estimate) == (10.0, 20.0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert (second.position, third.position) == (0, 1)
        first.leave()
        await asyncio.wait_for(waiting[1], 1)
        assert (queue.computing, queue.waiting) == (1, 0)
        third.leave()
        third.leave()  # once more does nothing
        assert queue.computing == 0

    asyncio.run(play())
