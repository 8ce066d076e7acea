"""Lectures: everyone sees the lecturer's run, nobody can act on it, whoever forks it has their own, and it outlasts a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cflows_app import broadcast as module
from cflows_app.broadcast import ENDED, MANY_LECTURES, NO_LECTURE, Broadcasts
from cflows_app.pages.explore import READ_ONLY, ExplorePage
from cflows_app.session import Session
from cflows_app.texts import lecture
from tests.app.conftest import FakeEngine, done


class Hall:
    """A server, its lecturer's page and those of the audience."""

    def __init__(self, engine: FakeEngine):
        self.engine, self.broadcasts = engine, Broadcasts()
        self.lecturer = self.page()
        self.pages: list[ExplorePage] = []

    def page(self) -> ExplorePage:
        async def ready() -> FakeEngine:
            return self.engine

        return ExplorePage(Session(ready), self.broadcasts)

    def follower(self) -> ExplorePage:
        page = self.page()
        assert self.lecturer.session.broadcast is not None
        self.broadcasts.follow(self.lecturer.session.broadcast.key, page.session)
        self.pages.append(page)
        return page

    def tick(self) -> None:
        for page in (self.lecturer, *self.pages):
            page.tick()


def hold(engine: FakeEngine, scene: Callable[[Hall], Awaitable[None]]) -> None:
    async def whole() -> None:
        hall = Hall(engine)
        hall.lecturer._on_takeaway({"lecture": True})
        await done(hall.lecturer)
        assert hall.lecturer.session.error == ""
        await scene(hall)
        for page in (hall.lecturer, *hall.pages):
            await page.leave()

    asyncio.run(whole())


def test_the_audience_sees_what_the_lecturer_does(stored, fake_engine):
    async def scene(hall: Hall):
        one, late = hall.follower(), hall.follower()
        session = hall.lecturer.session
        await session.do(session.run)
        session.runner.play(40)
        hall.tick()
        assert one.session.runner is late.session.runner is session.runner
        assert session.runner.viewers == 1  # so that the lecturer acts on it, not on a fork
        session.edit("lr", "0.1")
        await asyncio.gather(*session._tasks)
        session.runner.play(5)
        hall.tick()
        assert one.session.run_config.changes == session.run_config.changes != ()
        assert one.session.config.lr == 0.1
        session.choose("digits-mlp-many")
        hall.tick()
        assert (one.session.preset, one.session.runner) == ("digits-mlp-many", None)
        await session.do(session.run)
        await session.do(session.fork)
        hall.tick()
        assert one.session.former is session.former is not None
        assert late.status.state["notes"][0][1].startswith("You follow a lecture, with 1 other: ")
        assert hall.lecturer.status.state["notes"][0][1] == "A lecture is on: 2 people see on its link what this page shows."

    hold(fake_engine, scene)


def test_the_audience_cannot_act(stored, fake_engine):
    async def scene(hall: Hall):
        page, session = hall.follower(), hall.lecturer.session
        await session.do(session.run)
        hall.tick()
        for act in (
            lambda: page._on_form({"edit": "lr", "value": "0.5"}),
            lambda: page._on_form({"preset": "digits-mlp-many"}),
            lambda: page._on_form({"flows": ["discrete"]}),
            lambda: page._on_transport({"speed": 1}),
            *(lambda name=name: page._on_transport({"action": name}) for name in ("run", "pause", "step", "reset", "drop")),
        ):
            page.session.dismiss()
            act()
            await done(page)
            assert page.session.error == READ_ONLY
            assert page.session.runner is session.runner
            assert session.runner.running
            assert session.run_config.changes == ()
        page._on_takeaway({"lecture": True})  # nor give a lecture of it
        await done(page)
        assert page.session.broadcast is None

    hold(fake_engine, scene)


def test_a_fork_is_ones_own(stored, fake_engine):
    async def scene(hall: Hall):
        page, session = hall.follower(), hall.lecturer.session
        await session.do(session.run)
        hall.tick()
        page._on_transport({"action": "fork"})
        await done(page)
        assert page.session.follows is None
        assert page.session.runner is not session.runner
        assert page.session.status == "running"
        await session.do(session.pause)
        hall.tick()
        assert page.session.status == "running"
        assert session.broadcast.followers == 0
        other = hall.follower()  # of a stored run there is nothing to fork but the page itself
        session.choose("digits-mlp")
        hall.tick()
        other._on_transport({"action": "fork"})
        await done(other)
        assert (other.session.follows, other.session.status) == (None, "stored")

    hold(fake_engine, scene)


def test_a_reloaded_page_goes_on_with_its_lecture(stored, fake_engine):
    async def scene(hall: Hall):
        page, session = hall.follower(), hall.lecturer.session
        await session.do(session.run)
        runner, secret = session.runner, session.broadcast.secret
        hall.tick()
        await hall.lecturer.leave()
        assert "page is closed" in lecture(page.session)[0][1]
        hall.tick()
        assert page.session.runner is runner
        assert not runner.closed
        hall.lecturer = hall.page()
        await hall.broadcasts.resume(secret, hall.lecturer.session)
        assert hall.lecturer.session.runner is runner
        assert runner.viewers == 1
        await hall.lecturer.session.do(hall.lecturer.session.pause)
        hall.tick()
        assert page.session.status == "paused"
        # A browser that reloads comes back before the server has noticed that it was gone.
        again = hall.page()
        await hall.broadcasts.resume(secret, again.session)
        assert hall.lecturer.session.broadcast is None  # there is one lecturer
        await hall.lecturer.leave()
        hall.lecturer = again
        hall.tick()
        assert page.session.runner is again.session.runner is runner
        assert (runner.viewers, runner.closed) == (1, False)

    hold(fake_engine, scene)


def test_the_end_leaves_everyone_what_was_shown(stored, fake_engine):
    async def scene(hall: Hall):
        page, session = hall.follower(), hall.lecturer.session
        await session.do(session.run)
        hall.tick()
        hall.lecturer._on_takeaway({"lecture": False})
        await done(hall.lecturer)
        assert session.broadcast is None
        assert (page.session.follows, page.session.error) == (None, ENDED)
        runner = session.runner
        await hall.lecturer.leave()
        assert not runner.closed
        assert page.session.runner is runner

    hold(fake_engine, scene)


def test_nobody_waits_for_ever_for_a_lecturer(stored, fake_engine, monkeypatch):
    async def scene(hall: Hall):
        session = hall.lecturer.session
        await session.do(session.run)
        broadcast, runner = session.broadcast, session.runner
        await hall.lecturer.leave()
        await hall.broadcasts.tidy()
        assert not runner.closed
        monkeypatch.setattr(module, "KEPT", -1.0)
        await hall.broadcasts.tidy()
        assert runner.closed

        monkeypatch.setattr(module, "KEPT", 900.0)
        hall.lecturer = hall.page()
        await hall.broadcasts.begin(hall.lecturer.session)
        session, broadcast = hall.lecturer.session, hall.lecturer.session.broadcast
        await session.do(session.run)
        runner = session.runner
        monkeypatch.setattr(module, "KEPT", -0.9)  # nobody need begin another one for it to end
        await hall.lecturer.leave()
        await asyncio.sleep(0.3)
        assert runner.closed
        await hall.broadcasts.tidy()
        assert (len(hall.broadcasts), broadcast.over) == (0, True)

    hold(fake_engine, scene)


def test_wrong_keys_are_one_sentence(stored, fake_engine, monkeypatch):
    async def scene(hall: Hall):
        for wrong in ("", "nobody", "ü" * 300, hall.lecturer.session.broadcast.secret):
            page = hall.page()
            hall.broadcasts.follow(wrong, page.session)
            assert (page.session.follows, page.session.error) == (None, NO_LECTURE)
            await page.leave()
        for wrong in ("nobody", "ü", hall.lecturer.session.broadcast.key):  # the audience's key does not make one the lecturer
            page = hall.page()
            await hall.broadcasts.resume(wrong, page.session)
            assert (page.session.broadcast, page.session.error) == (None, NO_LECTURE)
            await page.leave()
        monkeypatch.setattr(module, "MOST", 1)
        assert await hall.broadcasts.begin(hall.page().session) == MANY_LECTURES

    hold(fake_engine, scene)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_how_many_follow_is_said(stored, fake_engine, number):
    async def scene(hall: Hall):
        for _ in range(number):
            hall.follower()
        who = {0: "nobody sees", 1: "1 person sees", 3: "3 people see"}[number]
        assert lecture(hall.lecturer.session) == [("remark", f"A lecture is on: {who} on its link what this page shows.")]

    hold(fake_engine, scene)
