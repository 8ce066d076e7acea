"""Several runs and several viewers: forks, resets, one run for equal configurations, threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest
import torch

import cflows_core.simulation
from cflows_core.config import RunConfig
from cflows_core.engine import Engine, actor
from cflows_core.engine.host import use_threads
from cflows_core.errors import DataError, EngineError
from cflows_core.frames import Frame
from tests.core.engine.stand_in import StandIn, with_engine


def test_fork_shares_the_past_and_goes_its_own_way(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(lr=1.0))
        await runner.step(4)
        fork = await runner.fork()
        assert [frame.step for frame in fork.frames] == [0, 1, 2, 3]
        await fork.set(lr=2.0)
        await asyncio.gather(runner.step(2), fork.step(3))
        assert runner.history.series("discrete", "loss").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        assert fork.history.series("discrete", "loss").tolist() == [0.0, 1.0, 2.0, 3.0, 8.0, 10.0, 12.0]
        assert runner.config.changes == ()
        assert fork.viewers == 1

    with_engine(scenario)


def test_what_fails_to_begin_is_not_kept(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        failed = []
        for _ in range(2):
            with pytest.raises(DataError) as problem:
                await engine.start(RunConfig(n_train=13))
            failed.append(weakref.ref(problem.value))
            del problem
        await asyncio.sleep(0)
        gc.collect()
        assert [ref() for ref in failed] == [None, None]

    with_engine(scenario)


def test_a_fork_that_finds_no_worker_does_not_stay_in_the_one_of_its_run(stand_in: type[StandIn], monkeypatch) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig())
        await runner.step(2)
        place = engine.backend.place

        async def none_free(*_: object) -> None:
            raise EngineError("No worker was free.")

        monkeypatch.setattr(engine.backend, "place", none_free)
        with pytest.raises(EngineError, match="No worker was free"):
            await runner.fork()
        monkeypatch.setattr(engine.backend, "place", place)
        assert not actor._parked
        threads = threading.active_count()
        await runner.step(2)
        await runner.close()
        await until(lambda: threading.active_count() < threads)  # nobody else uses the run's thread

    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.01)

    with_engine(scenario)


def test_reset_drops_the_changes_and_releases_the_old_run(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(lr=1.0))
        await runner.step(4)
        await runner.set(lr=2.0)
        runner.speed = 9.0
        fresh = await runner.reset()
        assert runner.closed
        assert len(runner.frames) == 4  # still readable
        assert fresh.config == RunConfig(lr=1.0)
        assert fresh.speed == 9.0
        await fresh.step(3)
        assert fresh.history.series("discrete", "loss").tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(EngineError, match="closed"):
            await runner.step()

    with_engine(scenario)


def test_identical_configurations_share_one_run(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        one, other = await asyncio.gather(engine.start(RunConfig()), engine.start(RunConfig()))
        assert one is other
        assert one.viewers == 2
        assert await engine.start(RunConfig(seed=1)) is not one
        assert await engine.start(RunConfig(), share=False) is not one
        await one.release()
        assert not one.closed
        await one.set(lr=0.1)
        assert await engine.start(RunConfig()) is not one  # it has been changed, so it is identical no longer
        await one.release()
        assert one.closed

    with_engine(scenario)


def test_a_closed_run_is_not_shared(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        one = await engine.start(RunConfig())
        await one.close()
        await one.close()  # once more does nothing
        assert await engine.start(RunConfig()) is not one

    with_engine(scenario)


def test_a_visitor_who_leaves_while_a_run_opens_leaves_nothing_behind(stand_in: type[StandIn]) -> None:
    async def scenario(engine: Engine) -> None:
        opening = asyncio.ensure_future(engine.start(RunConfig()))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not engine._opening:
                break
        assert not engine._runners

    with_engine(scenario)


def test_threads_belong_to_the_simulation(stand_in: type[StandIn]) -> None:
    """The configuration's own threads win over the engine's, and simulations side by side keep theirs."""

    async def scenario(engine: Engine) -> None:
        runners = [await engine.start(RunConfig(threads=threads, seed=threads, steps=50)) for threads in (0, 1, 3)]
        for runner in runners:
            runner.run()
        for runner in runners:
            while runner.running:
                await asyncio.sleep(0.01)
        assert stand_in.threads_seen == {0: 2, 1: 1, 3: 3}
        assert [runner.info["threads"] for runner in runners] == [2, 1, 3]

    before = torch.get_num_threads()
    with_engine(scenario, threads=2)
    use_threads(before)


def test_a_slow_simulation_does_not_hold_up_another(stand_in: type[StandIn]) -> None:
    slow_step = 0.6

    class Mixed(stand_in):  # type: ignore[misc, valid-type]
        def __next__(self) -> Frame:
            if self.config.seed == 1:
                time.sleep(slow_step)
            return super().__next__()

    cflows_core.simulation.Simulation = Mixed  # the fixture puts the real one back

    async def scenario(engine: Engine) -> None:
        slow, quick = await engine.start(RunConfig(seed=1)), await engine.start(RunConfig(seed=2))
        slow.run()
        await asyncio.sleep(0.05)
        begin = time.perf_counter()
        await quick.step(5)
        assert time.perf_counter() - begin < slow_step  # all five while the other makes its first
        await slow.paused()

    with_engine(scenario)
