"""Is the server well? Told at `/health` as JSON: how late its event loop was (nothing heavy may run in it), and how many runs go on."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from tornado.web import RequestHandler

if TYPE_CHECKING:
    from cflows_app.pages.explore import ExplorePage

INTERVAL = 0.02  # seconds between looks at the clock
REMEMBERED = 3000  # looks: one minute


class Health:
    """Measures how much later than asked the running event loop calls back, and counts what lives."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=REMEMBERED)
        self.longest = 0.0
        self.busiest = 0.0
        self._pages: weakref.WeakSet[ExplorePage] = weakref.WeakSet()

    def came(self, page: ExplorePage) -> ExplorePage:
        """Count a page while it lives."""
        self._pages.add(page)
        return page

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            asked, worked = time.perf_counter() + INTERVAL, time.thread_time()
            await asyncio.sleep(INTERVAL)
            late = max(0.0, time.perf_counter() - asked)
            self.recent.append(late)
            self.longest = max(self.longest, late)
            # What the loop itself computed meanwhile: on a machine with more work than cores, lateness is mostly others' work.
            self.busiest = max(self.busiest, time.thread_time() - worked)

    def report(self) -> dict[str, dict[str, float]]:
        """What `/health` tells.

        loop, in milliseconds: mean and longest lateness of the last minute; since `forget`, the longest, and the most that the loop
        itself computed at a stretch. runs: how many a visitor watches. alive: threads, and pages of *Explore*, one of
        them made ahead of its visitor; the handler adds the sessions.
        """
        recent = list(self.recent) or [0.0]
        loop = {
            "mean_ms": 1e3 * sum(recent) / len(recent),
            "recent_ms": 1e3 * max(recent),
            "longest_ms": 1e3 * self.longest,
            "busiest_ms": 1e3 * self.busiest,
        }
        runners = {id(page.session.runner) for page in self._pages if page.session.runner is not None}
        alive = {"pages": len(self._pages), "threads": threading.active_count()}
        return {"loop": loop, "runs": {"watched": len(runners)}, "alive": alive}

    def forget(self) -> None:
        """Begin anew."""
        self.recent.clear()
        self.longest = self.busiest = 0.0


class HealthHandler(RequestHandler):
    """GET: the report. GET with `?forget`: the report, and begin anew."""

    def initialize(self, health: Health) -> None:
        self.health = health

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        # The handler's application is Bokeh's, which knows the sessions: open pages, and those left within the last half minute.
        sessions = sum(len(self.application.get_sessions(path)) for path in self.application.app_paths)  # type: ignore[attr-defined]
        report = self.health.report()
        report["alive"]["sessions"] = sessions
        self.write(report)
        if self.get_query_argument("forget", None) is not None:
            self.health.forget()
