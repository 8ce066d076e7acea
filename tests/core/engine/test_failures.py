"""What goes wrong while a run starts or goes on costs a sentence and no frame."""

from __future__ import annotations

import asyncio
import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.engine.actor import SimulationActor
from cflows_core.engine.backends import Handle, InProcess, LocalHandle, WorkerLost
from cflows_core.engine.dask_cluster import DaskCluster
from cflows_core.engine.runner import LOSSES
from cflows_core.errors import DataError, EngineError, StoreError
from cflows_core.store import Recorder, Run
from tests.core.engine.stand_in import StandIn, with_engine


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


def test_a_run_that_was_given_up_goes_on_when_asked_again(stand_in: type[StandIn], tmp_path: Path) -> None:
    """A run whose workers die again and again is not started for ever by itself; once they live, Run goes on."""
    deaths: list[str] = []

    class Mortal(LocalHandle):
        async def call(self, method: str, *args: Any) -> Any:
            if deadly and method == "advance" and not self.lost:
                self.lost = True
                deaths.append(method)
                await self.close()
            if self.lost:
                raise WorkerLost("The worker process was lost.")
            return await super().call(method, *args)

    class Here(InProcess):
        async def place(self, near: Handle | None = None, device: str = "auto") -> LocalHandle:
            return Mortal(SimulationActor(self.threads))

    async def scenario() -> None:
        nonlocal deadly
        async with Engine(Here(1)) as engine:
            runner = await engine.start(RunConfig(steps=100_000), tmp_path / "run.zarr")
            for former in (1, 1 + LOSSES):  # a replacement a loss, but for the last one
                runner.run()
                assert not await runner.wait_for(1, timeout=30)
                await runner.paused()
                assert "Run tries again" in runner.error
                assert len(deaths) == former + LOSSES
            deadly = False
            runner.run()
            assert await runner.wait_for(20, timeout=30), runner.error
            assert runner.error == ""
            assert runner.history.steps[:20].tolist() == list(range(20))

    deadly = True
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_scheduler_lost_while_a_run_is_placed_counts_as_a_lost_worker() -> None:
    lost = pytest.importorskip("distributed.client", reason="Dask is missing: pip install 'cflows[app]'").FutureCancelledError

    async def cancelled() -> None:
        raise lost("SimulationActor-1", "scheduler-connection-lost")

    client = SimpleNamespace(
        scheduler=SimpleNamespace(address="tcp://127.0.0.1:1"),
        submit=lambda *_, **__: SimpleNamespace(result=cancelled, release=lambda: None),
        as_current=nullcontext,
    )
    with pytest.raises(WorkerLost):
        asyncio.run(DaskCluster(client, None, 1).place())
