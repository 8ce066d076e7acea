"""Who is here: the pages that are open, from when the server made them until their visitors have gone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import panel as pn

if TYPE_CHECKING:
    from cflows_app.pages.page import Page

logger = logging.getLogger("cflows")


class Guests:
    """Counts and logs those who come and leave. came: called with the name of a page that was opened."""

    def __init__(self, came: Callable[[str], Any] = lambda name: None):
        self.number = self.left = 0  # how many have come so far, and left
        self._pages: set[Page] = set()
        self._came = came

    def receive(self, open_page: Callable[[], pn.Template]) -> pn.Template:
        """The page that `open_page` makes for the visitor whose document is being made."""
        template = open_page()
        page, document = template.page, pn.state.curdoc  # type: ignore[attr-defined]
        if document is not None and document.session_context is not None:
            facts = {"page": page.name, "address": getattr(document.session_context.request, "remote_ip", None) or "unknown"}
            self._pages.add(page)
            self.number += 1
            self._came(page.name)
            logger.info("a page was opened", extra=facts)
            document.on_session_destroyed(lambda _: self._left(page, facts))
        return template

    def receiving(self, open_page: Callable[[], pn.Template]) -> Callable[[], pn.Template]:
        """`receive` as a plain function, which is all that Panel takes for one."""
        return lambda: self.receive(open_page)

    def counts(self) -> Counter[str]:
        """Page's name -> how many have it open."""
        return Counter(page.name for page in self._pages)

    def tell(self, sentence: str) -> None:
        """Say something on every page."""
        for page in self._pages:
            page.tell(sentence)

    def _left(self, page: Page, facts: dict[str, str]) -> None:
        self._pages.discard(page)
        self.left += 1
        logger.info("a page was left", extra=facts)
