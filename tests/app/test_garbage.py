"""Looks for garbage pass over the pages that are open, and find those that were left."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from cflows_app.operation import garbage


class Page:
    """With a cycle, as pages have."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.unfreeze()


def test_what_lives_is_set_aside_and_found_again_once_it_is_left():
    page = Page()
    garbage.keep()
    gone = weakref.ref(page)
    del page
    gc.collect()
    assert gone() is not None  # as when Bokeh looks, whenever a visitor leaves
    garbage.keep()
    assert gone() is None


def test_pages_are_set_aside_when_they_come_and_looked_for_after_visitors_left(monkeypatch):
    monkeypatch.setattr(garbage, "LOOK", 0.01)
    monkeypatch.setattr(garbage, "APART", 0.05)
    counts = {"came": 0, "left": 0}

    async def wait(until) -> None:
        async with asyncio.timeout(10):
            while not until():
                await asyncio.sleep(0.01)

    async def scene() -> None:
        watching = asyncio.ensure_future(garbage.watch(lambda: counts["came"], lambda: counts["left"]))
        await asyncio.sleep(0.02)
        page, before = Page(), gc.get_freeze_count()
        counts["came"] += 1
        await wait(lambda: gc.get_freeze_count() > before)
        gone = weakref.ref(page)
        del page
        gc.collect()
        await asyncio.sleep(0.1)
        assert gone() is not None
        counts["left"] += 1
        await wait(lambda: gone() is None)
        watching.cancel()

    asyncio.run(scene())
