"""The engine in this process: control, sharing, delivery and errors, mostly on a stand-in simulation that costs nothing."""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import cflows_core.simulation
from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.engine.host import use_threads
from cflows_core.engine.pacing import Pace, Rate
from cflows_core.engine.warm import warm_up
from cflows_core.errors import ConfigError, DataError, EngineError, StoreError
from cflows_core.frames import Event, Frame
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder, Run

# Small, and at the edge when the flows start, so that each has something to do.
SMALL = RunConfig(width=4, depth=1, n_train=30, lr=0.12, warm_start=2, steps=8, n_eigs=2, threads=1)


class StandIn:
    """The interface of a `Simulation` without its mathematics: each step's loss is `lr * step`."""

    seconds = 0.001
    fail_at = -1
    threads_seen: dict[int, int] = {}  # noqa: RUF012 - shared on purpose: filled from the simulation's thread

    def __init__(self, config: RunConfig, objective: object = None, weights: object = None):
        if config.n_train == 13:
            raise DataError("`n_train` must not be 13, got 13: take another number.")
        if config.n_train == 14:
            raise KeyError("a bug")
        self.config, self.t, self.given = config, 0, objective
        self.objective = SimpleNamespace(device="cpu", dtype=torch.float64, derivatives="exact", n_params=1)

    @property
    def step_number(self) -> int:
        return self.t

    @property
    def finished(self) -> bool:
        return self.t > self.config.warm_start + self.config.steps

    def __next__(self) -> Frame:
        if self.t == self.fail_at:
            raise RuntimeError("the matrix\nis singular")
        time.sleep(self.seconds)
        self.threads_seen[self.config.seed] = torch.get_num_threads()
        live = {name: value for step, name, value in self.config.changes if step <= self.t}
        lr = live.get("lr", self.config.lr)
        events = (Event(self.t, "", "change", "η changed."),) if (self.t, "lr", lr) in self.config.changes else ()
        frame = Frame(self.t, 0.0, 0.0, {"discrete": {"loss": lr * self.t}}, {}, {"discrete": "running"}, events)
        self.t += 1
        return frame

    def set(self, **fields: Any) -> None:
        changes = [*self.config.changes, *((self.t, name, value) for name, value in fields.items())]
        self.config = self.config.replace(changes=changes)

    def extend(self, steps: int) -> None:
        self.config = self.config.replace(steps=self.config.steps + steps)

    def fork(self) -> StandIn:
        twin = StandIn(self.config)
        twin.t = self.t
        return twin

    def save(self, path: Path) -> None:
        Path(path).write_text(f"{self.t} {self.config.to_json()}")

    @classmethod
    def load(cls, path: Path) -> StandIn:
        step, config = Path(path).read_text().split(" ", 1)
        simulation = cls(RunConfig.from_json(config))
        simulation.t = int(step)
        return simulation


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()  # imports hold the interpreter, and so every event loop in it


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Fresh(StandIn):
        threads_seen: dict[int, int] = {}  # noqa: RUF012

    monkeypatch.setattr(cflows_core.simulation, "Simulation", Fresh)
    return Fresh


def with_engine(scenario: Callable[[Engine], Awaitable[None]], threads: int = 1) -> None:
    """Run a scenario in an event loop of its own, and fail if something blocked that loop."""

    async def run() -> None:
        gaps: list[float] = []

        async def beat() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.01)
                gaps.append(time.perf_counter() - before - 0.01)

        watch = asyncio.ensure_future(beat())
        async with Engine.in_process(threads) as engine:
            await asyncio.wait_for(scenario(engine), 60)
        watch.cancel()
        # 0.1 s is the aim (benchmarked on a free machine); here it must hold with every core taken by others.
        assert max(gaps, default=0.0) < 2.0

    asyncio.run(run())


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
        await runner.paused()
        assert not runner.running
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
        ({"seed": 3}, "A running simulation can change lr, substeps, not 'seed'"),
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
        runner.run()
        await asyncio.sleep(1.0)
        await runner.paused()
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


def test_a_cancelled_step_loses_no_frames(stand_in: type[StandIn]) -> None:
    stand_in.seconds = 0.05

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runner.step(), 0.01)
        await runner.step()
        assert [frame.step for frame in runner.frames] == [0, 1]

    with_engine(scenario)


def test_errors_at_the_start_reach_the_caller(stand_in: type[StandIn], caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(engine: Engine) -> None:
        with pytest.raises(DataError, match="must not be 13"):
            await engine.start(RunConfig(n_train=13))
        with pytest.raises(EngineError, match=r"KeyError: 'a bug'"):
            await engine.start(RunConfig(n_train=14))
        assert not engine._runners

    with_engine(scenario)
    assert "a call to a simulation failed" in caplog.text  # the traceback is for whoever runs the server


def test_a_simulation_that_fails_keeps_its_frames(stand_in: type[StandIn], tmp_path: Path) -> None:
    stand_in.fail_at = 20

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(), tmp_path / "run.zarr")
        runner.run()
        assert not await runner.wait_for(20, timeout=30)
        await runner.paused()
        assert not runner.running
        assert runner.error.startswith("The simulation failed at step 20 (RuntimeError: the matrix is singular)")
        assert "\n" not in runner.error
        assert [frame.step for frame in runner.frames] == list(range(20))
        with pytest.raises(EngineError, match="failed at step 20"):
            await runner.step()
        stand_in.fail_at = -1
        runner.run()  # the fault has gone
        assert await runner.wait_for(25, timeout=30)
        assert runner.error == ""
        await runner.close()
        assert len(Run.open(tmp_path / "run.zarr")) >= 25

    with_engine(scenario)


def test_a_full_disk_pauses_and_loses_nothing(stand_in: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = False
    commit = Recorder.commit

    def commit_if_there_is_room(recorder: Recorder) -> None:
        if full:
            raise StoreError("The disk is full: the steps committed so far are safe there.") from OSError(errno.ENOSPC, "")
        commit(recorder)

    monkeypatch.setattr(Recorder, "commit", commit_if_there_is_room)

    async def scenario(engine: Engine) -> None:
        nonlocal full
        out = tmp_path / "run.zarr"
        runner = await engine.start(RunConfig(steps=100_000), out)
        await runner.step(150)
        committed = len(Run.open(out))
        assert committed == 150  # a step is committed when it is asked for alone
        full = True
        runner.run()
        while runner.running:
            await asyncio.sleep(0.01)
        assert runner.error.startswith("The disk is full")
        seen = len(runner.frames)
        assert seen > 150  # computed, and still shown
        assert len(Run.open(out)) == committed
        with pytest.raises(EngineError, match="The disk is full"):
            await runner.step()
        assert len(runner.frames) == seen  # nothing is computed that cannot be stored
        full = False
        await runner.step()
        assert runner.error == ""
        assert Run.open(out).steps.tolist() == list(range(seen + 1))

    with_engine(scenario)


def test_a_path_in_use_is_told_at_once(stand_in: type[StandIn], tmp_path: Path) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(RunConfig(), tmp_path / "run.zarr")
        await runner.step(3)
        with pytest.raises(StoreError, match=r"run\.zarr"):
            await engine.start(RunConfig(seed=1), tmp_path / "run.zarr")
        with pytest.raises(StoreError, match="no stored run"):
            await engine.resume(tmp_path / "nothing.zarr")

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


# With the real simulation


def test_the_engine_gives_what_the_simulation_gives() -> None:
    """Same configuration, same threads: bit for bit, however the steps are asked for."""
    expected = list(Simulation(SMALL))

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(SMALL)
        await runner.step(2)
        runner.run()
        while runner.running:
            await asyncio.sleep(0.01)
        assert [frame.step for frame in runner.frames] == [frame.step for frame in expected]
        for frame, direct in zip(runner.frames, expected, strict=True):
            assert (frame.status, frame.distance, frame.events) == (direct.status, direct.distance, direct.events)
            assert frame.flows["discrete"]["loss"] == direct.flows["discrete"]["loss"]

    with_engine(scenario)


def test_fork_and_reset_of_a_real_run() -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(SMALL)
        await runner.step(6)
        fork = await runner.fork()
        await runner.set(lr=0.5)
        await asyncio.gather(runner.step(3), fork.step(3))
        fresh = await runner.reset()
        await fresh.step(9)
        original, changed = fork.history.series("discrete", "loss"), runner.history.series("discrete", "loss")
        assert fresh.history.series("discrete", "loss").tolist() == original.tolist()  # the fork was never changed
        assert changed[:6].tolist() == original[:6].tolist()
        assert changed[8] != original[8]
        gradients = [history.series("discrete", "gradients")[8] for history in (fresh.history, fork.history)]
        assert gradients[0] == gradients[1]  # twins share an objective, and each counts its own work

    with_engine(scenario)


def test_resume_continues_a_stored_run(tmp_path: Path) -> None:
    whole = [frame.flows["discrete"]["loss"] for frame in Simulation(SMALL)]

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(SMALL, tmp_path / "run.zarr")
        await runner.step(7)
        await runner.close()
        beside = await engine.resume(tmp_path / "run.zarr", record=False)
        assert beside.out is None
        await beside.step()
        again = await engine.resume(tmp_path / "run.zarr")
        assert again.config == SMALL
        assert [frame.step for frame in again.frames] == list(range(7))
        await again.step(100)
        assert again.finished
        assert again.history.series("discrete", "loss").tolist() == whole
        await again.close()
        run = Run.open(tmp_path / "run.zarr")
        assert run.series("discrete", "loss").tolist() == whole
        assert run.meta["threads"] == 1

    with_engine(scenario)


def test_save_writes_a_state_that_loads(tmp_path: Path) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(SMALL)
        await runner.step(4)
        await runner.save(tmp_path / "state.pt")
        assert Simulation.load(tmp_path / "state.pt").step_number == 4
        with pytest.raises((StoreError, EngineError), match=r"state\.pt"):
            await runner.save(tmp_path / "nowhere" / "state.pt")
        await runner.step()

    with_engine(scenario)


def test_a_problem_of_ones_own(tmp_path: Path) -> None:
    from cflows_core.problems.objective import Objective

    objective = Objective.from_function(lambda w: 0.5 * (w**2).sum(), 3)
    objective.third(torch.ones(3, dtype=objective.dtype), torch.eye(3, dtype=objective.dtype))  # loads what it needs

    async def scenario(engine: Engine) -> None:
        problem = {"objective": objective, "weights": torch.ones(3, dtype=torch.float64)}
        runner = await engine.start(RunConfig(lr=0.5, steps=5, n_eigs=1, observe=[]), **problem)
        await runner.step(3)
        assert runner.history.series("discrete", "loss").tolist() == pytest.approx([1.5, 0.375, 0.09375])
        fresh = await runner.reset(tmp_path / "run.zarr")
        await fresh.step(2)
        assert fresh.history.series("discrete", "loss")[0] == 1.5
        await fresh.release()
        with pytest.raises(StoreError, match="an objective of its own"):
            await engine.resume(tmp_path / "run.zarr")
        again = await engine.resume(tmp_path / "run.zarr", objective=objective)
        await again.step()
        assert again.history.series("discrete", "loss")[2] == pytest.approx(0.09375)
        with pytest.raises(ConfigError, match="`weights`"):  # which ones it began with, nobody knows any more
            await again.reset()

    with_engine(scenario)


def test_ready_waits_for_the_warm_up() -> None:
    async def scenario(engine: Engine) -> None:
        assert await engine.ready() == [warm_up()]  # it is done once, and remembered

    with_engine(scenario)
