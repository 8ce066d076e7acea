"""Is the server well? `/healthz` tells what watches over it; `/health`, this machine alone, how late its event loop was."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

if TYPE_CHECKING:
    from cflows_app.pages.explore import ExplorePage

INTERVAL = 0.02  # seconds between looks at the clock
REMEMBERED = 3000  # looks: one minute
STUCK = 5.0  # seconds of lateness within the last minute, from which on the loop counts as stuck
DISK_SECONDS = 10.0  # between tries of the disk


class Health:
    """Measures how much later than asked the running event loop calls back, and counts what lives. late: called with every lateness."""

    def __init__(self, late: Callable[[float], None] = lambda seconds: None) -> None:
        self.recent: deque[float] = deque(maxlen=REMEMBERED)
        self.longest = 0.0
        self.busiest = 0.0
        self._late = late
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
            self._late(late)
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


class Wellness:
    """Whether the server can do its work: its engine is there, its loop turns, its disk takes data, and it is not stopping.

    engine: awaited; gives the engine, or raises what is wrong with it. folder: where runs are kept; need not exist yet.
    """

    def __init__(self, health: Health, engine: Callable[[], Awaitable[Any]], folder: Path):
        self.stopping = False
        self._health, self._engine, self._folder = health, engine, folder
        self._disk = 0.0, ""  # when the disk was tried, and what was wrong

    async def look(self) -> dict[str, str]:
        """Part -> "ok", or what is wrong with it."""
        return {
            "engine": await self._engine_state(),
            "loop": "ok" if max(self._health.recent, default=0.0) < STUCK else "was held up",
            "disk": await self._disk_state(),
            "server": "stopping" if self.stopping else "ok",
        }

    async def _engine_state(self) -> str:
        engine = asyncio.ensure_future(self._engine())
        try:
            await asyncio.wait_for(engine, 0.05)
        except TimeoutError:
            return "starting"
        except Exception as problem:
            return f"failed ({type(problem).__name__})"
        return "ok"

    async def _disk_state(self) -> str:
        at, said = self._disk
        if not at or time.monotonic() - at > DISK_SECONDS:
            said = await asyncio.to_thread(_try_disk, self._folder) or "ok"
            self._disk = time.monotonic(), said
        return said


def _try_disk(folder: Path) -> str:
    """What is wrong with writing to a folder, or to the one in which it would be made; "" if nothing is."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".cflows-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        return (problem.strerror or str(problem)).lower()
    return ""


class HealthHandler(RequestHandler):
    """GET `/health`: the report. With `?forget`: the report, and begin anew."""

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


class WellnessHandler(RequestHandler):
    """GET `/healthz`: 200 if all is well, else 503, and each part as JSON. `/healthz?live`: 200 as long as the loop turns at all."""

    def initialize(self, wellness: Wellness) -> None:
        self.wellness = wellness

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        if self.get_query_argument("live", None) is not None:
            self.write({"status": "ok"})
            return
        parts = await self.wellness.look()
        well = set(parts.values()) == {"ok"}
        self.set_status(200 if well else 503)
        self.write({"status": "ok" if well else "not ready", **parts})
