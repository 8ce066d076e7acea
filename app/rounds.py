"""Pages are drawn in rounds: one after another, and between two of them the server does what else waits.

With a periodic callback for each page, as Bokeh offers them, fifty pages that are due at once are drawn in one go. Whatever takes several
turns of the event loop, as a run's next steps do on their way from the worker, then waits for such a go each time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import panel as pn
from bokeh.document import Document
from bokeh.events import DocumentReady
from panel.io.state import set_curdoc

from cflows_app import turnstile
from cflows_app.pages.page import Page
from cflows_app.shell import page_template

logger = logging.getLogger("cflows")

APART = 0.05  # seconds from the beginning of a round to that of the next, at least


class Rounds:
    """Draws the news of all pages that visitors have open. pages: those that browsers have, with their documents."""

    def __init__(self) -> None:
        self.pages: dict[Page, Document] = {}
        self._drawing: dict[Page, asyncio.Future[Any]] = {}
        self._leaving: set[asyncio.Future[Any]] = set()

    def open(self, page: Page) -> pn.Template:
        """The page, in the document that is being made, and drawn from when its browser has it until its visitor leaves."""
        theme = "dark" if pn.state.cookies.get("cflows-theme") == "dark" else "light"
        document = pn.state.curdoc
        page.tick()
        if document is not None:
            # Not before: Panel drops what changes between the moment at which the page is sent and the one at which the browser has it.
            document.on_event(DocumentReady, lambda _: self.pages.setdefault(page, document))
            document.on_session_destroyed(lambda _: self._left(page))
        return page_template(page, theme, login=bool(turnstile.user.get()))

    async def go(self) -> None:
        """Draw until cancelled."""
        while True:
            begin = time.monotonic()
            for page, document in list(self.pages.items()):
                # A page whose browser is slow to take its news is passed over; nobody waits for it.
                if page not in self._drawing and page in self.pages:
                    self._drawing[page] = asyncio.ensure_future(self._draw(page, document))
                    await asyncio.sleep(0)
            await asyncio.sleep(max(0.0, begin + APART - time.monotonic()))

    async def _draw(self, page: Page, document: Document) -> None:
        async def draw(document: Document) -> None:
            with set_curdoc(document), pn.io.hold(document):  # all news in one message, which the browser draws once
                page.draw()

        try:
            if document.session_context is not None:
                await document.session_context.with_locked_document(draw)
        except Exception:
            logger.exception("the page %s could not be drawn", page.name)
        finally:
            self._drawing.pop(page, None)

    def _left(self, page: Page) -> None:
        self.pages.pop(page, None)
        leaving = asyncio.ensure_future(page.leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
