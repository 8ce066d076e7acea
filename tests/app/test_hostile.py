"""Visitors who are quick, clumsy or unlucky: what they do at the wrong moment harms no one, and nothing is said that is not so."""

from __future__ import annotations

import asyncio

import pytest

from cflows_app.export import snapshot
from cflows_app.session import Session
from cflows_core.config import RunConfig
from cflows_core.errors import EngineError
from tests.app.conftest import FakeRunner, play

OTHER = "digits-mlp-many"


@pytest.fixture
def slow_copies(monkeypatch) -> asyncio.Event:
    """Copies of runs are made only once this is set; a run that was closed meanwhile cannot be copied."""
    made, fork = asyncio.Event(), FakeRunner.fork

    async def slow(runner: FakeRunner) -> FakeRunner:
        await made.wait()
        if runner.closed:
            raise EngineError("This run is closed: start it again.")
        return await fork(runner)

    monkeypatch.setattr(FakeRunner, "fork", slow)
    return made


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("turn", [lambda session: session.choose(OTHER), lambda session: session.edit("width", "7")])
@pytest.mark.parametrize("action", ["fork", "pause", "step", "_slow_down"])
def test_what_a_visitor_turns_to_while_a_run_is_copied_stands_and_others_keep_theirs(stored, fake_engine, slow_copies, action, turn, shared):
    async def scene(session: Session):
        session.edit("width", "5")
        await session.do(session.run)
        runner = session.runner
        if shared:
            runner.retain()
        doing = session.do(getattr(session, action))
        await asyncio.sleep(0)
        turn(session)
        wanted = session.config
        await asyncio.sleep(0)
        slow_copies.set()
        await doing
        assert (session.runner, session.former, session.config, session.error) == (None, None, wanted, "")
        assert runner.viewers == shared  # the other visitor's run goes on
        assert runner.closed != shared
        if shared:
            await runner.release()

    play(fake_engine, scene)


def test_what_is_kept_is_the_run_that_was_on_screen(stored, fake_engine, monkeypatch, tmp_path):
    async def scene(session: Session):
        await session.do(session.run)
        save = session.runner.save

        async def slow(path):
            session.choose(OTHER)
            await save(path)

        monkeypatch.setattr(session.runner, "save", slow)
        taken = await snapshot(session, tmp_path)
        assert (taken.config, len(taken.rows)) == (RunConfig(), 300)

    play(fake_engine, scene)
