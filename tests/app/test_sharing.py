"""Many visitors on one server: one run for all who ask for it, turns, and what each may have computed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cflows_app import main, turnstile
from cflows_app.allowance import Allowance, Visitor
from cflows_app.footing import limit
from cflows_app.session import Session
from cflows_app.share import Asked
from cflows_app.texts import status_label, waits
from cflows_core.config import RunConfig
from cflows_core.engine.journal import Journal
from cflows_core.engine.queue import Queue
from cflows_core.errors import ConfigError
from cflows_core.presets import DEFAULT
from cflows_core.store.export import recorded
from tests.app.conftest import FakeEngine, play, synthetic_history

WIDE = RunConfig(width=8)


def another(engine: FakeEngine, visitor: Visitor | None = None) -> Session:
    async def ready() -> FakeEngine:
        return engine

    session = Session(ready)
    session.visitor = visitor or Visitor("another")
    return session


async def settled(session: Session) -> None:
    await asyncio.gather(*session._tasks)


def test_whoever_opens_the_address_of_a_run_that_goes_watches_it(stored, fake_engine):
    async def scene(session: Session):
        session.open(Asked(DEFAULT, WIDE))
        await session.do(session.run)
        session.runner.play(40)
        late = another(fake_engine)
        late.open(Asked(DEFAULT, WIDE))
        await settled(late)
        assert late.runner is session.runner
        assert len(late.history) == 40
        assert late.status == "running"
        await session.release()  # who started it may leave
        assert late.runner.running
        assert len(fake_engine.runners) == 1
        await late.release()

    play(fake_engine, scene)


def test_the_first_screens_run_is_computed_once_for_all(stored, fake_engine):
    async def scene(session: Session):
        others = [another(fake_engine) for _ in range(5)]
        for visitor in (session, *others):
            await visitor.do(visitor.run)
        assert len(fake_engine.runners) == 1
        assert fake_engine.runners[0].viewers == 6
        for visitor in others:
            await visitor.release()

    play(fake_engine, scene)


def test_one_who_pauses_does_not_split_the_others(stored, fake_engine):
    async def scene(session: Session):
        session.edit("width", "8")
        await session.do(session.step)
        others = [another(fake_engine) for _ in range(3)]
        for visitor in others:
            visitor.edit("width", "8")
            await visitor.do(visitor.run)
        assert session.status == "paused"
        assert {id(visitor.runner) for visitor in others} == {id(others[0].runner)}
        for visitor in others:
            await visitor.release()

    play(fake_engine, scene)


def test_what_was_computed_before_is_drawn_when_its_address_is_opened(stored, fake_engine, tmp_path):
    journal = Journal(tmp_path)
    recorded(synthetic_history(50, WIDE), WIDE, {}, journal.new(WIDE))
    fake_engine.journal = journal

    async def scene(session: Session):
        session.open(Asked(DEFAULT, WIDE))
        await settled(session)
        assert (session.status, len(session.history)) == ("stored", 50)
        assert session.run_config == WIDE
        session.open(Asked(DEFAULT, RunConfig(width=9)))
        await settled(session)
        assert (session.status, len(session.history)) == ("new", 0)

    play(fake_engine, scene)


def test_a_finished_run_of_somebody_else_is_shown_not_extended(stored, fake_engine):
    async def scene(session: Session):
        session.edit("width", "8")
        await session.do(session.run)
        session.runner.play(30)
        session.runner.finished, session.runner.running = True, False
        late = another(fake_engine)
        late.edit("width", "8")
        await late.do(late.run)
        assert late.runner is session.runner
        assert late.run_config.steps == session.config.steps
        await late.do(late.run)  # now that it is on screen
        assert late.runner is not session.runner
        assert late.run_config.steps == 2 * session.config.steps
        await late.release()

    play(fake_engine, scene)


def test_a_visitor_has_so_many_runs_at_a_time_and_may_watch_others(stored, fake_engine):
    async def scene(session: Session):
        one, two = Visitor("one", Allowance(runs=2)), Visitor("two", Allowance(runs=2))
        sessions = [another(fake_engine, one) for _ in range(4)]
        for width, visitor in enumerate(sessions[:3], start=5):
            visitor.edit("width", str(width))
            await visitor.do(visitor.run)
        assert [visitor.error for visitor in sessions[:2]] == ["", ""]
        assert sessions[2].error.startswith("On this server a visitor has at most 2 runs at a time, paused or not:")
        assert sessions[2].status == "new"
        await sessions[0].do(sessions[0].fork)  # that would be a third one
        assert sessions[0].error.startswith("On this server a visitor has at most 2 runs")
        sessions[3].edit("width", "5")
        await sessions[3].do(sessions[3].run)  # somebody's, their own at that
        assert sessions[3].runner is sessions[0].runner
        free = another(fake_engine, two)
        free.edit("width", "20")
        await free.do(free.run)
        assert free.error == ""
        await sessions[1].release()
        await sessions[2].do(sessions[2].run)
        assert sessions[2].error == ""
        for visitor in (*sessions, free):
            await visitor.release()

    play(fake_engine, scene)


def test_steps_and_weights_are_limited(stored, fake_engine):
    async def scene(session: Session):
        session.visitor = Visitor("one", Allowance(steps=900, weights=2000))
        session.edit("steps", "5000")
        await session.do(session.run)
        assert session.error.startswith("On this server a run has at most 900 steps, and this one has 5,")
        session.edit("steps", "500")
        session.edit("width", "512")
        await session.do(session.run)
        assert session.error.startswith("On this server a model has at most 2,000 weights, and this one has ")
        session.edit("width", "8")
        await session.do(session.run)
        assert session.error == ""
        session.runner.finished, session.runner.running = True, False
        await session.do(session.run)
        assert session.error.startswith("On this server a run has at most 900 steps")
        assert session.runner.config.steps == 500

    play(fake_engine, scene)


@pytest.mark.parametrize("wrong", [{"runs": -1}, {"steps": 1.5}, {"weights": -3}])
def test_wrong_allowances(wrong):
    with pytest.raises(ConfigError, match="is a whole number from 1 on, or 0 for any number, got"):
        Allowance(**wrong)


def test_the_queue_is_told(stored, fake_engine):
    async def scene(session: Session):
        queue = Queue(1)
        first, second = queue.join("one", lambda: 5.0), queue.join("two", lambda: 5.0)
        await first.take()
        session.edit("width", "8")
        await session.do(session.run)
        session.runner.turn = second
        waiting = asyncio.ensure_future(second.take())
        await asyncio.sleep(0)
        sentence = "The server computes one run at a time, in turns: this one is number 1 of 1 in the queue, and begins in about 5 s."
        assert waits(session) == [("remark", sentence)]
        assert (status_label(session), limit(session, 0.0)) == ("waiting for its turn",) * 2
        first.leave()
        await waiting
        assert waits(session) == []
        assert status_label(session) == "running"

    play(fake_engine, scene)


@pytest.mark.parametrize(
    ("user", "cookie", "name"),
    [
        ("", "", ""),
        ("", "0123456789abcdef" * 2, "browser 0123456789abcdef0123456789abcdef"),
        ("visitor", "0123456789abcdef" * 2, "browser 0123456789abcdef0123456789abcdef"),  # everyone's name behind a password
        ("ada@example.org", "0123456789abcdef" * 2, "user ada@example.org"),
        ("", "<script>", ""),
    ],
)
def test_visitors_are_told_apart(monkeypatch, user, cookie, name):
    monkeypatch.setattr(main, "pn", SimpleNamespace(state=SimpleNamespace(cookies={"cflows-visitor": cookie}, curdoc=None)))
    told = turnstile.user.set(user)
    try:
        assert main._visitor() == name
    finally:
        turnstile.user.reset(told)
