"""Pages are made one after another, and between two of them the server does what else waits.

Making a page takes the event loop for some tenths of a second. Forty visitors who come at once would else have all of theirs made in one
go: half a minute in which nobody who is in sees a new point, and after which the first have given up.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any

from bokeh.server.urls import per_app_patterns
from panel.io.server import DocHandler

COOKIE, YEAR = "cflows-visitor", 365 * 86400
BROWSER = re.compile(r"[0-9a-f]{32}")
# For whom a page is being made. user: who has logged in, "" for nobody, or where no login is. browser: its random number.
user: ContextVar[str] = ContextVar("user", default="")
browser: ContextVar[str] = ContextVar("browser", default="")
LEFT = 0.5  # of the time that making a page took, that is left to everything else before the next


class Turnstile(DocHandler):
    """The handler of every page's address, which lets in one visitor at a time, in the order in which they came."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        async with self.application.settings.setdefault("turnstile", asyncio.Lock()):
            begin = time.monotonic()
            self._meet()
            await super().get(*args, **kwargs)  # type: ignore[misc]
            await asyncio.sleep(LEFT * (time.monotonic() - begin))

    def _meet(self) -> None:
        """Find out who comes. A browser that comes for the first time gets its number."""
        ask = self.application.settings.get("user")
        user.set(ask(self.request) if ask else "")
        number = self.get_cookie(COOKIE, "")
        if not BROWSER.fullmatch(number):
            number = secrets.token_hex(16)
            secure = self.request.protocol == "https"
            self.set_cookie(COOKIE, number, max_age=YEAR, httponly=True, secure=secure, samesite="Lax")
        browser.set(number)


def install() -> None:
    """Let servers that are made from now on use it."""
    per_app_patterns[:] = [(entry[0], Turnstile, *entry[2:]) if entry[1] is DocHandler else entry for entry in per_app_patterns]
