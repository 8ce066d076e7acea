"""Lectures: what a lecturer has on screen is on the screens of all who open the link, read-only; whoever would try something forks it."""

from __future__ import annotations

import asyncio
import secrets
import time
import weakref
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cflows_app.session import Session
    from cflows_core.engine import Runner

KEPT = 900.0  # seconds for which a lecture waits for its lecturer to come back
MOST = 50  # lectures at a time
NO_LECTURE = "There is no lecture at this address, or it has ended: ask for a new link."
MANY_LECTURES = f"This server holds {MOST} lectures at a time, and all are on: end another one, or try later."
ENDED = "The lecture has ended: what was shown stays here, and is yours now."


class Broadcast:
    """One lecture.

    key: in the link for the audience. secret: in the lecturer's own address, so that a page that is loaded again goes on with the lecture.
    over: it has ended.
    """

    def __init__(self, lecturer: Session):
        self.key, self.secret = secrets.token_urlsafe(6), secrets.token_urlsafe(16)
        self.over = False
        self._lecturer: Session | None = lecturer
        self._last = lecturer  # whose screen it was when they left
        self._left_at = 0.0
        self._ending: asyncio.Task[None] | None = None
        self._held: list[Runner] = []  # while there is no lecturer nobody else keeps the run
        self._audience: weakref.WeakSet[Session] = weakref.WeakSet()

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._audience)

    @property
    def away(self) -> bool:
        """Whether the lecturer's page is gone, and may come back."""
        return self._lecturer is None and not self.over

    @property
    def forgotten(self) -> bool:
        """Whether nobody lectures, nor has for long."""
        return self.over or (self._lecturer is None and time.monotonic() - self._left_at > KEPT)

    def join(self, session: Session) -> None:
        """One more follows."""
        self._audience.add(session)
        session.follows = self
        self.keep_up(session)

    def leave(self, session: Session) -> None:
        """One follows no longer, and keeps nothing of the lecture."""
        self._audience.discard(session)
        session.follows = None

    def keep_up(self, session: Session) -> None:
        """Turn a follower's page to what the lecturer's shows; cheap when it does already."""
        shown = self._last
        if self.over:
            self.leave(session)
            session.keep_shown()
            session.error = ENDED
        elif (session.runner, session.former, session.stored) != (shown.runner, shown.former, shown.stored):
            session.mirror(shown)
        elif session.config != shown.config or session.shown != shown.shown:
            session.config, session.shown, session.preset = shown.config, list(shown.shown), shown.preset

    def lecturer_leaves(self, session: Session) -> None:
        """The lecturer's page is gone: what it computed goes on for a while, in case it comes back, unless it has by now."""
        if session is not self._lecturer:
            return
        self._lecturer, self._left_at = None, time.monotonic()
        asyncio.get_running_loop().call_later(KEPT + 1.0, self._expire, context=Context())  # the page's would hold its document
        self._held = [version.retain() for version in (self._last.runner, self._last.former) if version is not None]
        self._last = self._last.picture()

    async def lecturer_returns(self, session: Session) -> None:
        """The lecturer has loaded the page again."""
        if self._lecturer is not None:
            self._lecturer.broadcast = None  # a page that the server takes to be open still, or a second one
        session.mirror(self._last)
        session.broadcast, self._lecturer, self._last = self, session, session
        for version in session.versions:
            version.retain()
        await self._let_go()

    async def end(self) -> None:
        """No more lecture: every page keeps what it shows."""
        self.over = True
        if self._lecturer is not None:
            self._lecturer.broadcast = None
        for session in list(self._audience):
            self.keep_up(session)
        await self._let_go()

    def _expire(self) -> None:
        """End what nobody has come back to: its run would go on for no one."""
        if self.forgotten and not self.over:
            self._ending = asyncio.ensure_future(self.end())

    async def _let_go(self) -> None:
        held, self._held = self._held, []
        await asyncio.gather(*(version.release() for version in held))


class Broadcasts:
    """All lectures of a server."""

    def __init__(self) -> None:
        # Held by their pages, and by the time for which they wait for one: what has ended keeps no run in memory.
        self._on: weakref.WeakValueDictionary[str, Broadcast] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._on)

    async def begin(self, lecturer: Session) -> str:
        """A lecture begins, unless one is on; a sentence on why it cannot, or nothing."""
        await self.tidy()
        if lecturer.broadcast is not None:
            return ""
        if len(self._on) >= MOST:
            return MANY_LECTURES
        lecturer.broadcast = Broadcast(lecturer)
        self._on[lecturer.broadcast.key] = lecturer.broadcast
        return ""

    def follow(self, key: str, session: Session) -> None:
        """Show a lecture, or say that there is none."""
        broadcast = self._on.get(key)
        if broadcast is None or broadcast.forgotten:
            session.error = NO_LECTURE
        else:
            broadcast.join(session)

    async def resume(self, secret: str, session: Session) -> None:
        """Go on with a lecture whose page was loaded again, or say that there is none."""
        for broadcast in list(self._on.values()):
            if secrets.compare_digest(broadcast.secret.encode(), secret.encode()) and not broadcast.forgotten:
                await broadcast.lecturer_returns(session)
                return
        session.error = NO_LECTURE

    async def tidy(self) -> None:
        """End what nobody has come back to."""
        for broadcast in [broadcast for broadcast in self._on.values() if broadcast.forgotten]:
            self._on.pop(broadcast.key, None)
            await broadcast.end()
