"""What a Prometheus server may collect at `/metrics`: visitors, runs, steps, how late the event loop is, memory, refusals, the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from tornado.web import RequestHandler

logger = logging.getLogger("cflows")

LATENESS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
STATES = ("running", "paused", "finished", "failed")


class Run(Protocol):
    """What is read of a run; `cflows_core.engine.Runner` is one."""

    config: Any
    history: Any
    closed: bool
    finished: bool

    @property
    def running(self) -> bool: ...
    @property
    def error(self) -> str: ...


class Metrics:
    """The server's numbers. What changes by itself is looked at when it is collected; the rest is counted as it happens.

    queue: how many runs wait for a worker, None where there is no queue.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queue: Callable[[], int] | None = None
        self._runs: Callable[[], Iterable[Run]] = tuple
        self._visitors: Callable[[], Mapping[str, int]] = dict
        self._seen: WeakKeyDictionary[Run, tuple[int, str]] = WeakKeyDictionary()  # run -> its rows and state, when last looked at
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry}
        self.visitors = Gauge("cflows_visitors", "Pages open now.", ["page"], **own)
        self.visits = Counter("cflows_visits", "Pages opened since the start.", ["page"], **own)
        self.runs = Gauge("cflows_runs", "Runs in the workers' memory now, by state.", ["state"], **own)
        self.started = Counter("cflows_runs_started", "Runs begun since the start.", **own)
        self.failed = Counter("cflows_runs_failed", "Runs that went wrong since the start.", **own)
        self.steps = Counter("cflows_steps", "Optimizer steps recorded since the start, of all runs.", **own)
        self.lateness = Histogram("cflows_loop_lateness_seconds", "How late the event loop was.", buckets=LATENESS, **own)
        self.refused = Counter("cflows_refused_requests", "Requests that were refused, by reason.", ["reason"], **own)
        self.queued = Gauge("cflows_queue_length", "Runs that wait for a worker.", **own)
        for state in STATES:
            self.runs.labels(state)

    def watch(self, runs: Callable[[], Iterable[Run]], visitors: Callable[[], Mapping[str, int]]) -> None:
        """Look at these: all runs; and page -> how many have it open."""
        self._runs, self._visitors = runs, visitors

    def refuse(self, kind: str) -> None:
        """Count a request that was refused."""
        self.refused.labels(kind).inc()

    def look(self) -> None:
        """Take in what changed by itself since the last look; to be called every second or so, and before it is told."""
        counts = dict.fromkeys(STATES, 0)
        for run in self._runs():
            rows, former = self._seen.get(run, (0, ""))
            state = _state(run)
            counts[state] += 1
            self.steps.inc(max(0, len(run.history) - rows) if former else 0)
            self._seen[run] = len(run.history), state
            if state != former:
                self._note(run, former, state)
        for state, number in counts.items():
            self.runs.labels(state).set(number)
        for page, number in self._visitors().items():
            self.visitors.labels(page).set(number)
        self.queued.set(self.queue() if self.queue is not None else 0)

    def _note(self, run: Run, former: str, state: str) -> None:
        facts = {"run": run.config.hash, "step": int(run.history.steps[-1]) if len(run.history) else 0}
        if not former:
            self.started.inc()
            logger.info("a run began", extra=facts)
        if state == "failed":
            self.failed.inc()
            logger.error("a run failed: %s", run.error, extra=facts)
        elif state == "finished":
            logger.info("a run ended", extra=facts)

    def told(self) -> bytes:
        """In Prometheus' text format."""
        self.look()
        return generate_latest(self.registry)


def _state(run: Run) -> str:
    return "failed" if run.error else "running" if run.running else "finished" if run.finished else "paused"


def memory() -> float:
    """Megabytes of this process's memory that are in use."""
    return psutil.Process().memory_info().rss / 2**20


class MetricsHandler(RequestHandler):
    """GET `/metrics`."""

    def initialize(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.write(self.metrics.told())
