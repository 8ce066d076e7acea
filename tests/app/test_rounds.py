"""Pages are drawn one after another: fairly, each in its document, and none waits for one that is slow or fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from bokeh.document import Document
from panel.io.state import state

from cflows_app.rounds import Rounds


class Context:
    """A session's context whose document is locked while `slow` is not set."""

    def __init__(self, document: Document):
        self.document, self.free = document, asyncio.Event()
        self.free.set()

    async def with_locked_document(self, draw: Any) -> None:
        await self.free.wait()
        await draw(self.document)


class Sheet:
    """A page that notes when it is drawn, and for which document."""

    name = "Sheet"

    def __init__(self, log: list[Any]):
        self.log, self.broken, self.document, self.left = log, False, Document(), False
        self.context = Context(self.document)
        self.document._session_context = lambda: self.context  # type: ignore[assignment]  # as a reference to it, which Bokeh keeps

    def draw(self) -> None:
        self.log.append((self, state.curdoc))
        if self.broken:
            raise RuntimeError("broken")

    async def leave(self) -> None:
        self.left = True


def played(scene, pages: int = 3) -> None:
    async def play() -> None:
        log: list[Any] = []
        rounds, sheets = Rounds(), [Sheet(log) for _ in range(pages)]
        rounds.pages.update({sheet: sheet.document for sheet in sheets})  # type: ignore[dict-item]
        going = asyncio.ensure_future(rounds.go())
        try:
            await scene(rounds, sheets, log)
        finally:
            going.cancel()

    asyncio.run(play())


async def drawn(log: list[Any], times: int) -> None:
    async with asyncio.timeout(10):
        while len(log) < times:
            await asyncio.sleep(0.01)


def test_all_are_drawn_in_turns_each_in_its_document():
    async def scene(rounds, sheets, log):
        await drawn(log, 9)
        assert [sheet for sheet, _ in log[:9]] == 3 * sheets
        assert all(sheet.document is document for sheet, document in log)

    played(scene)


def test_between_two_drawings_everything_else_has_its_turn():
    async def scene(rounds, sheets, log):
        async def hops() -> None:
            """What takes several turns of the event loop."""
            for _ in range(3):
                await asyncio.sleep(0)
            log.append("hops")

        sheets[0].draw = lambda: log.append("first") or asyncio.ensure_future(hops())
        await drawn(log, 21)
        assert log.index("hops") < 6  # with a callback for each page, which are all due at once, it would come behind the last one

    played(scene, pages=20)


def test_nobody_waits_for_a_page_whose_document_is_locked_nor_for_one_that_fails(caplog: pytest.LogCaptureFixture):
    async def scene(rounds, sheets, log):
        slow, broken, well = sheets
        slow.context.free.clear()
        broken.broken = True
        await drawn(log, 6)
        assert {sheet for sheet, _ in log} == {broken, well}
        slow.context.free.set()
        await asyncio.sleep(0.2)
        assert slow in {sheet for sheet, _ in log}

    with caplog.at_level(logging.ERROR, logger="cflows"):
        played(scene)
    assert "the page Sheet could not be drawn" in caplog.text


def test_who_has_left_is_drawn_no_more():
    async def scene(rounds, sheets, log):
        await drawn(log, 3)
        rounds._left(sheets[1])
        await asyncio.sleep(0)
        log.clear()
        await drawn(log, 4)
        assert sheets[1] not in {sheet for sheet, _ in log}
        assert [sheet.left for sheet in sheets] == [False, True, False]

    played(scene)
