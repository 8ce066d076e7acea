"""Control and delivery: run, pause, step, set, speed, and cursors of several viewers."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.errors import ConfigError
from tests.core.engine.stand_in import StandIn, with_engine


def test_run_pause_step(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(steps=100_000))
        assert not runner.running
        assert len(runner.frames) == 0
        runner.run()
        runner.run()  # once more does nothing
        assert runner.running
        assert await runner.wait_for(50, timeout=30)
        assert runner.steps_per_second > 0
        runner.pause()
        assert runner.pausing  # the steps being computed are still to come
        await runner.paused()
        assert not runner.running
        assert not runner.pausing
        assert runner.steps_per_second == 0
        seen = len(runner.frames)
        await asyncio.sleep(0.15)
        assert len(runner.frames) == seen
        await runner.step()
        await runner.step(5)
        assert [frame.step for frame in runner.frames] == list(range(seen + 6))
        assert runner.step_number == seen + 5

    with_engine(scenario)


def test_step_while_running_pauses_first(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(steps=100_000))
        runner.run()
        await runner.wait_for(5, timeout=30)
        await asyncio.gather(runner.step(), runner.step(2))  # two viewers at once
        assert not runner.running
        assert [frame.step for frame in runner.frames] == list(range(len(runner.frames)))

    with_engine(scenario)


def test_the_first_frame_after_a_click_comes_alone(stand_in: type[StandIn]) -> None:
    """A slice is 80 ms, but whoever clicks sees one step first."""
    stand_in.seconds = 0.02

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig())
        runner.run()
        await runner.wait_for(0, timeout=30)
        assert len(runner.frames) == 1

    with_engine(scenario)


def test_a_run_ends_and_can_be_extended(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(steps=20, warm_start=10))
        runner.run()
        assert not await runner.wait_for(31, timeout=30)  # there is no 32nd frame
        await runner.paused()
        assert runner.finished
        assert [frame.step for frame in runner.frames] == list(range(31))
        await runner.step()  # does nothing
        runner.run()
        assert not runner.running
        await runner.extend(5)
        assert not runner.finished
        await runner.step(100)
        assert runner.step_number == 35
        assert runner.config.steps == 25

    with_engine(scenario)


def test_cursors_of_several_viewers(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(steps=10))
        await runner.step(3)
        first, cursor = runner.since(0)
        assert [frame.step for frame in first] == [0, 1, 2]
        assert runner.since(cursor) == ([], 3)
        await runner.step(4)
        news, cursor = runner.since(cursor)
        assert [frame.step for frame in news] == [3, 4, 5, 6]
        late, late_cursor = runner.since(0)
        assert len(late) == late_cursor == cursor == 7

    with_engine(scenario)


def test_waiting_ends_at_its_time_limit(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig())
        begin = time.perf_counter()
        assert not await runner.wait_for(0, timeout=0.05)
        assert time.perf_counter() - begin < 5

    with_engine(scenario)


def test_changes_apply_from_the_next_step_and_are_recorded(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(lr=1.0))
        await runner.step(5)
        await runner.set(lr=0.5)
        await runner.step(2)
        assert runner.history.series("discrete", "loss").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 2.5, 3.0]
        assert runner.config.changes == ((5, "lr", 0.5),)
        assert [event.step for event in runner.history.changes] == [5]

    with_engine(scenario)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lr": -0.1}, "`lr` must be positive, got -0.1"),
        ({"seed": 3}, "A running simulation can change lr, beta1, beta2, eps, substeps, not 'seed'"),
        ({"learning_rate": 0.1}, "not 'learning_rate'"),
        ({"lr": "fast"}, "`lr` must be"),
    ],
)
def test_a_wrong_change_leaves_the_run_as_it_was(stand_in: type[StandIn], changes: dict[str, Any], sentence: str) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(lr=1.0, steps=100_000))
        runner.run()
        await runner.wait_for(0, timeout=30)
        with pytest.raises(ConfigError, match=sentence):
            await runner.set(**changes)
        assert runner.running
        assert runner.error == ""
        assert runner.config.changes == ()
        assert await runner.wait_for(len(runner.frames) + 5, timeout=30)

    with_engine(scenario)


def test_speed_limits_the_steps(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(steps=100_000))
        runner.speed = 40.0
        assert runner.limited_by == ""
        runner.run()
        await asyncio.sleep(1.0)
        assert runner.limited_by == "speed"
        await runner.paused()
        assert runner.limited_by == ""
        made = len(runner.frames)
        assert made <= 44  # one at once, 40 earned, a slice's rounding; a loaded machine makes fewer
        for wrong in (0, -1.0, math.inf, math.nan):
            with pytest.raises(ConfigError, match="`speed` must be a positive number"):
                runner.speed = wrong
        runner.speed = 0.1  # one step in ten seconds: pausing must not wait for the next
        runner.run()
        await runner.wait_for(made, timeout=30)
        begin = time.perf_counter()
        await runner.paused()
        assert time.perf_counter() - begin < 2

    with_engine(scenario)
