"""What a visitor leaves behind: nothing of theirs is held once they have gone, whatever they set going for others."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bokeh.document import Document
from panel.io.state import set_curdoc

from cflows_app import broadcast
from cflows_app.ahead import Ahead
from cflows_app.broadcast import Broadcasts
from cflows_app.main import _keep_imports
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import Session
from tests.app.conftest import FakeEngine, play, play_page


def set_going() -> Any:
    """What outlives its visitor: a connection to a worker leaves a cancelled timer in the loop, a run its driver."""
    loop = asyncio.get_running_loop()
    return loop.call_later(1e6, print), loop.create_task(asyncio.sleep(1e6))


def by_session(page: ExplorePage, action: Callable[[], Awaitable[None]]) -> set[asyncio.Task[None]]:
    page.session.do(action)
    return page.session._tasks


def by_page(page: ExplorePage, action: Callable[[], Awaitable[None]]) -> set[asyncio.Task[None]]:
    page._do(action())
    return page._tasks


def by_lecture(page: ExplorePage, action: Callable[[], Awaitable[None]]) -> set[asyncio.Task[None]]:
    page.session.broadcast = broadcast.Broadcast(page.session)
    page.session.broadcast.lecturer_leaves(page.session)  # it is waited for
    return by_page(page, action)


@pytest.mark.parametrize("how", [by_session, by_page, by_lecture])
def test_what_a_visitor_sets_going_does_not_hold_their_document(stored, fake_engine, how):
    async def scene(page: ExplorePage):
        left = []

        async def action() -> None:
            left.append(set_going())

        document = Document()
        held = weakref.ref(document)
        with set_curdoc(document):
            tasks = how(page, action)
        await asyncio.gather(*tasks)
        del document
        gc.collect()
        assert left
        assert held() is None
        left[0][0].cancel()
        left[0][1].cancel()

    play_page(fake_engine, scene)


def test_the_page_made_before_the_start_does_not_stay_for_ever():
    class Made:
        def __init__(self) -> None:
            self.itself = self  # a page refers to itself, too, through its parts

    made: list[weakref.ref[Made]] = []

    def make() -> Made:
        page = Made()
        made.append(weakref.ref(page))
        return page

    async def scene() -> None:
        pages = Ahead(make)
        await pages.ready()
        await asyncio.sleep(0.1)  # the thread that made it has still to put it down
        try:
            _keep_imports(pages)
            await pages.ready()
            page = pages.take()
            await pages.ready()
            await asyncio.sleep(0.1)
            del page
            gc.collect()
            assert [ref() is None for ref in made] == [True, True, False]  # the last one is made ahead
        finally:
            gc.unfreeze()

    asyncio.run(scene())


def test_a_lecture_that_has_ended_keeps_no_run(stored, fake_engine: FakeEngine, monkeypatch):
    monkeypatch.setattr(broadcast, "KEPT", -0.95)

    async def scene(session: Session):
        broadcasts = Broadcasts()
        await broadcasts.begin(session)
        await session.do(session.run)
        runner, lecture = session.runner, weakref.ref(session.broadcast)
        await session.release()
        session.broadcast = None
        assert not runner.closed
        await asyncio.sleep(0.2)
        gc.collect()
        assert runner.closed
        assert lecture() is None  # and nobody had to begin another one
        assert len(broadcasts) == 0

    play(fake_engine, scene)
