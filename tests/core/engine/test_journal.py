"""The journal: runs that name no path are stored, found again by their configuration, and computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.engine.journal import Journal
from cflows_core.errors import StoreError
from cflows_core.simulation import Simulation
from cflows_core.store import Run
from tests.core.engine.stand_in import SMALL

LONG = SMALL.replace(steps=1000, checkpoint_every=5)


def with_journal(folder: Path, scenario: Callable[[Engine], Awaitable[None]], room: int = 2**30) -> None:
    async def play() -> None:
        async with Engine.in_process(1) as engine:
            engine.journal = Journal(folder, room)
            await asyncio.wait_for(scenario(engine), 100)

    asyncio.run(play())


def losses(config: RunConfig, steps: int) -> list[float]:
    return [frame.flows["discrete"]["loss"] for frame in Simulation(config).advance(steps=steps)]


def test_a_server_that_ends_loses_nothing(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(23)

    async def second(engine: Engine) -> None:
        runner = await engine.start(LONG)
        assert len(runner.history) == 23  # all of it, not up to the last checkpoint
        await runner.step(7)
        assert runner.history.series("discrete", "loss").tolist() == losses(LONG, 30)

    with_journal(tmp_path, first)
    with_journal(tmp_path, second)
    assert len(list(tmp_path.glob("*.zarr"))) == 1


def test_steps_after_the_checkpoint_are_computed_again_unseen(tmp_path: Path) -> None:
    """As after `kill -9`: the rows are there, the checkpoint is behind them."""

    async def first(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(23)
        checkpoint = next(tmp_path.glob("*.zarr")) / "checkpoint.pt"
        kept.append(checkpoint.read_bytes())

    async def second(engine: Engine) -> None:
        runner = await engine.start(LONG)
        assert len(runner.history) == 23
        await runner.set(lr=0.05)  # at the step that is drawn last, not at the checkpoint
        await runner.step(2)
        assert runner.config.changes == ((23, "lr", 0.05),)
        assert runner.history.series("discrete", "loss").tolist() == losses(runner.config, 25)

    kept: list[bytes] = []
    with_journal(tmp_path, first)
    (next(tmp_path.glob("*.zarr")) / "checkpoint.pt").write_bytes(kept[0])
    with_journal(tmp_path, second)


def test_what_was_changed_is_found_by_its_changes(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(10)
        await runner.set(lr=0.05)
        await runner.step(5)
        changed.append(runner.config)

    async def second(engine: Engine) -> None:
        plain, other = await engine.start(LONG), await engine.start(changed[0])
        assert (len(plain.history), len(other.history)) == (0, 15)

    changed: list[RunConfig] = []
    with_journal(tmp_path, first)
    with_journal(tmp_path, second)


def test_a_fork_is_stored_with_its_past(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(10)
        fork = await runner.fork()
        await fork.set(lr=0.05)
        await fork.step(5)
        await runner.step(2)
        forked.append(fork.config)

    async def second(engine: Engine) -> None:
        runner, fork = await engine.start(LONG), await engine.start(forked[0])
        assert runner.history.series("discrete", "loss").tolist() == losses(LONG, 12)
        assert fork.history.series("discrete", "loss").tolist() == losses(forked[0], 15)
        await fork.step(2)
        assert fork.history.series("discrete", "loss").tolist() == losses(forked[0], 17)

    forked: list[RunConfig] = []
    with_journal(tmp_path, first)
    with_journal(tmp_path, second)


def test_reset_begins_again_beside_it(tmp_path: Path) -> None:
    async def scenario(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(10)
        fresh = await runner.reset()
        assert len(fresh.history) == 0
        await fresh.step(3)
        again = await engine.start(LONG)
        assert len(again.history) == 10  # what got furthest

    with_journal(tmp_path, scenario)


def test_a_run_of_the_shelf_is_shared_and_left_as_it_is(tmp_path: Path) -> None:
    async def scenario(engine: Engine) -> None:
        async def start() -> object:
            return await engine.start(LONG, base=base)

        one, other = await asyncio.gather(start(), start())
        assert one is other
        assert len(one.history) == 12
        await one.step(3)
        assert one.history.series("discrete", "loss").tolist() == losses(LONG, 15)
        assert len(Run.open(base)) == 12

    async def store(engine: Engine) -> None:
        runner = await engine.start(LONG, base)
        await runner.step(12)

    base = tmp_path / "base.zarr"
    with_journal(tmp_path / "other", store)
    with_journal(tmp_path / "journal", scenario)


def test_what_cannot_be_read_is_computed_again(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(6)

    async def second(engine: Engine) -> None:
        runner = await engine.start(LONG)
        await runner.step(6)
        assert runner.error == ""
        assert runner.history.series("discrete", "loss").tolist() == losses(LONG, 6)

    with_journal(tmp_path, first)
    path = next(tmp_path.glob("*.zarr"))
    (path / "zarr.json").write_bytes((path / "zarr.json").read_bytes()[:100])
    with_journal(tmp_path, second)


def test_a_folder_that_cannot_be_written_does_not_stop_anyone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")

    async def scenario(engine: Engine) -> None:
        runner = await engine.start(LONG)
        assert runner.out is None
        await runner.step(3)
        assert len(runner.history) == 3

    with_journal(tmp_path / "file" / "journal", scenario)
    assert "Runs cannot be stored in" in caplog.text


def test_the_oldest_make_room_but_not_what_is_written(tmp_path: Path) -> None:
    async def scenario(engine: Engine) -> None:
        runners = [await engine.start(LONG.replace(seed=seed)) for seed in range(4)]
        for runner in runners:
            await runner.step(2)
        for runner in runners[1:]:
            await runner.close()
        engine.journal = Journal(tmp_path, 1)
        await engine.start(LONG.replace(seed=9))
        left = {Run.open(path).config.seed for path in tmp_path.glob("*.zarr") if (path / "zarr.json").exists()}
        assert left == {0, 9}
        await runners[0].step(2)
        assert runners[0].error == ""

    with_journal(tmp_path, scenario)


def test_find_says_none_where_there_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nothing")
    assert journal.find(LONG) is None
    path, there = journal.place(LONG)
    assert (path.parent, there) == (tmp_path / "nothing", False)
    with pytest.raises(StoreError):
        journal.place(LONG, tmp_path / "no run")


def test_room_is_not_made_by_an_open_run_that_nobody_writes(tmp_path: Path) -> None:
    """Its worker was killed, and with it went the lock; it is asked for again later."""

    async def scenario(engine: Engine) -> None:
        assert engine.journal is not None
        paused = await engine.start(LONG)
        await paused.step(10)
        assert paused.out is not None
        await paused._handle.call("close")  # type: ignore[attr-defined]  # the lock is free
        journal = engine.journal
        assert journal.find(LONG) == Path(paused.out)
        await (await engine.start(LONG.replace(seed=1))).step(10)
        assert Run.open(paused.out).rows == 10
        await paused.close()
        await engine.start(LONG.replace(seed=2))
        assert journal.find(LONG) is None

    with_journal(tmp_path, scenario, room=1)
