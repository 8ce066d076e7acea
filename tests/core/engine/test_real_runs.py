"""The engine with the real simulation."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import torch

from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.engine.warm import warm_up
from cflows_core.errors import ConfigError, EngineError, StoreError
from cflows_core.history import History
from cflows_core.simulation import Simulation
from cflows_core.store import Run
from tests.core.engine.stand_in import SMALL, with_engine


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


def test_a_history_that_is_known_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(SMALL, tmp_path / "run.zarr")
        await runner.step(7)
        await runner.close()
        known = History.from_run(Run.open(tmp_path / "run.zarr"))
        whole = await engine.resume(tmp_path / "run.zarr", record=False)
        short = await engine.resume(tmp_path / "run.zarr", record=False, history=known.until(5))  # not up to the checkpoint
        with monkeypatch.context() as patched:
            patched.setattr(History, "from_run", None)  # nothing is read
            again = await engine.resume(tmp_path / "run.zarr", record=False, history=known)
        for resumed in (whole, short, again):
            assert len(resumed.history) == 7
            assert resumed.history.starts_with(known)
            await resumed.step()
        losses = [resumed.history.series("discrete", "loss").tolist() for resumed in (whole, short, again)]
        assert losses[0] == losses[1] == losses[2]
        assert len(known) == 7  # what the caller has stays as it was

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


def test_a_fork_of_a_problem_of_ones_own_outlives_its_process(tmp_path: Path) -> None:
    """Killed before the next checkpoint is due: what it began with lies in its store, and no other problem's steps get there."""
    from cflows_core.problems.objective import Objective

    objective = Objective.from_function(lambda w: 0.5 * (w**2).sum(), 3)
    config = RunConfig(lr=0.5, steps=50, n_eigs=1, observe=[])

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(config, objective=objective, weights=torch.ones(3, dtype=objective.dtype))
        await runner.step(4)
        twin = await runner.fork(tmp_path / "fork.zarr")
        await twin.step(3)
        for name in ("whole", "torn"):
            shutil.copytree(tmp_path / "fork.zarr", tmp_path / name)  # as `kill -9` would leave it
        again = await engine.resume(tmp_path / "whole", objective=objective)
        await again.step(2)
        assert again.history.steps.tolist() == [4, 5, 6, 7, 8]
        expected = list(Simulation(config, objective, torch.ones(3, dtype=objective.dtype)).advance(steps=9))
        assert again.history.series("discrete", "loss").tolist() == [frame.flows["discrete"]["loss"] for frame in expected[4:]]
        (tmp_path / "torn" / "checkpoint.pt").unlink()
        with pytest.raises(StoreError, match="an objective of its own"):
            await engine.resume(tmp_path / "torn")

    with_engine(scenario)


def test_ready_waits_for_the_warm_up() -> None:
    async def scenario(engine: Engine) -> None:
        assert await engine.ready() == [warm_up()]  # it is done once, and remembered

    with_engine(scenario)
