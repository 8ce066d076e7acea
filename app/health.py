"""Is the server well? How late its event loop was, told at `/health` as JSON: nothing heavy may ever run in it."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from tornado.web import RequestHandler

INTERVAL = 0.02  # seconds between looks at the clock
REMEMBERED = 3000  # looks: one minute


class LoopLag:
    """Measures how much later than asked the running event loop calls back."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=REMEMBERED)
        self.longest = 0.0
        self.busiest = 0.0

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

    def report(self) -> dict[str, float]:
        """Milliseconds: mean and longest lateness of the last minute; since `forget`, the longest, and the most that the loop computed at a stretch."""
        recent = list(self.recent) or [0.0]
        return {
            "mean_ms": 1e3 * sum(recent) / len(recent),
            "recent_ms": 1e3 * max(recent),
            "longest_ms": 1e3 * self.longest,
            "busiest_ms": 1e3 * self.busiest,
        }

    def forget(self) -> None:
        """Begin anew."""
        self.recent.clear()
        self.longest = self.busiest = 0.0


class HealthHandler(RequestHandler):
    """GET: the report. GET with `?forget`: the report, and begin anew."""

    def initialize(self, lag: LoopLag) -> None:
        self.lag = lag

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write({"loop": self.lag.report()})
        if self.get_query_argument("forget", None) is not None:
            self.lag.forget()
