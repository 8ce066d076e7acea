"""Starts the dashboard: workers and web server side by side, a page a visitor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import panel as pn
from tornado.websocket import WebSocketClosedError

from cflows_app import share, turnstile
from cflows_app.ahead import Ahead
from cflows_app.allowance import ANYTHING, Allowance, Visitor
from cflows_app.broadcast import Broadcasts
from cflows_app.door.gate import Gate
from cflows_app.door.hosting import HERE, Hosting
from cflows_app.door.login import VISITOR
from cflows_app.door.server import open_server
from cflows_app.export import ExportHandler, Exports
from cflows_app.lessons.library import Library
from cflows_app.operation import garbage
from cflows_app.operation.guests import Guests
from cflows_app.operation.health import Health, HealthHandler, Wellness, WellnessHandler
from cflows_app.operation.metrics import Metrics, MetricsHandler
from cflows_app.operation.stopping import SENTENCE, Signals, settle
from cflows_app.pages.compare import ComparePage
from cflows_app.pages.explore import ExplorePage
from cflows_app.pages.gallery import GalleryPage
from cflows_app.pages.lessons import LessonsPage
from cflows_app.pages.page import Page
from cflows_app.pages.toylab import ToyLabPage
from cflows_app.rounds import Rounds
from cflows_app.session import Session
from cflows_app.shelf import Shelf
from cflows_core.engine import Engine
from cflows_core.engine.journal import Journal
from cflows_core.engine.queue import Queue
from cflows_core.errors import EngineError
from cflows_core.problems import files
from cflows_core.problems.files import ProblemFile

logger = logging.getLogger("cflows")

AT_ONCE = 16  # runs that compute at a time: with more, nobody's moves
JOURNAL = ".journal"
P = TypeVar("P", ExplorePage, LessonsPage)

COUNT = 0.5  # seconds between looks at what runs have done
EVERYWHERE = ("", "0.0.0.0", "::")


def serve(
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    *,
    workers: int = 1,
    threads: int = 1,
    scheduler: str = "",
    hosting: Hosting | None = None,
    problems: Sequence[ProblemFile] = (),
    runs: Path = Path("runs"),
    lessons: Path | None = None,
    at_once: int = AT_ONCE,
    allowance: Allowance = ANYTHING,
) -> None:
    """Serve the dashboard until interrupted.

    port: 0 takes any free one. workers, threads: local worker processes, and PyTorch's threads in each simulation. scheduler: the address
    of a Dask scheduler to use instead. hosting: who may come in, this machine alone if nothing is said (docs/operating.md). problems: files
    of one's own, checked, whose problems the page offers beside the data sets. runs: the folder in which runs are kept, opened and
    compared; what is computed is stored there, too, in `JOURNAL`. at_once: how many runs compute at a time, 0 for any number; the others
    take turns with them. allowance: what one visitor may have computed. lessons: a folder of lessons of one's own
    (docs/lessons.md). Raises EngineError where no worker, or no port, is to be had.
    """
    files.use(problems)
    make_engine = partial(Engine.connect, scheduler) if scheduler else partial(Engine.local, workers, threads)
    make_engine = partial(_engine, partial(make_engine, problems=problems), Journal(runs / JOURNAL), at_once)
    port = _usable(port, address)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, address, show, make_engine, hosting or Hosting.read(address), Shelf(runs), Library(lessons), allowance))


async def _engine(make: Callable[[], Awaitable[Engine]], journal: Journal, at_once: int) -> Engine:
    engine = await make()
    engine.journal, engine.queue = journal, Queue(at_once)
    return engine


async def _serve(
    port: int,
    address: str,
    show: bool,
    make_engine: Callable[[], Awaitable[Engine]],
    hosting: Hosting,
    shelf: Shelf,
    library: Library,
    allowance: Allowance,
) -> None:
    metrics = Metrics()
    health, guests = Health(metrics.lateness.observe), Guests(lambda name: metrics.visits.labels(name).inc())
    asyncio.get_running_loop().set_exception_handler(_tell)
    async with _starting(make_engine) as engine:
        exports, broadcasts, wellness = Exports(), Broadcasts(), Wellness(health, engine, shelf.folder)
        pages = Ahead(lambda: exports.came(health.came(ExplorePage(Session(engine, shelf=shelf), broadcasts))))
        await pages.ready()

        def greeted(page: P) -> P:
            page.session.visitor = Visitor(_visitor(), allowance)
            return page

        routes: dict[str, Callable[[], Page]] = {
            "/": lambda: explore(greeted(pages.take())),
            "/compare": lambda: compare(ComparePage(shelf)),
            "/lessons": lambda: lessons(greeted(LessonsPage(Session(engine, shelf=shelf), library))),
            "/toylab": lambda: toylab(ToyLabPage()),
            "/gallery": lambda: gallery(GalleryPage()),
        }
        handlers = [
            (r"/export/([\w-]+)/(\w+)", ExportHandler, {"exports": exports}),
            (r"/healthz", WellnessHandler, {"wellness": wellness}),
            (r"/metrics", MetricsHandler, {"metrics": metrics}),
            *([] if hosting.public else [(r"/health", HealthHandler, {"health": health})]),
        ]
        rounds = Rounds()
        received = {path: guests.receiving(partial(_opened, rounds, make)) for path, make in routes.items()}
        server, gate = open_server(received, handlers, hosting, port, address, _names(address, port), metrics.refuse)
        signals = Signals()
        signals.listen()  # after Panel has set a handler of its own, which would stop the loop under our feet
        server.start()
        rubbish = garbage.watch(lambda: guests.number, lambda: guests.left)
        chores = [asyncio.ensure_future(chore) for chore in (health.watch(), _count(metrics, engine, guests), rounds.go(), rubbish)]
        url = f"{'https' if hosting.certificate else 'http'}://{_names(address, port)[0]}/"
        print(f"cflows is at {url}  (Ctrl-C stops it)", flush=True)
        logger.info("the server has started", extra={"port": port, "public": hosting.public})
        if show:
            webbrowser.open(url)
        _keep_imports(pages)
        try:
            await _unless(signals.asked, engine())
            await signals.asked.wait()
            await _farewell(gate, wellness, guests, engine)
        finally:
            for chore in chores:
                chore.cancel()
            server.stop()
            logger.info("the server has stopped")


def _keep_imports(pages: Ahead[Any]) -> None:
    """What was imported stays: looking through it for garbage would hold the loop up for a fifth of a second."""
    pages.drop()  # the first page, for whose sake all was imported, would stay as well, with all that its visitor had computed
    garbage.keep()
    pages.prepare()


async def _count(metrics: Metrics, engine: Callable[[], Awaitable[Engine]], guests: Guests) -> None:
    """Keep the metrics up to date until cancelled."""
    running = await engine()
    metrics.watch(lambda: running.runners, guests.counts)
    metrics.queue = lambda: running.queue.waiting
    while True:
        metrics.look()
        await asyncio.sleep(COUNT)


async def _farewell(gate: Gate, wellness: Wellness, guests: Guests, engine: Callable[[], Awaitable[Engine]]) -> None:
    gate.closing, wellness.stopping = SENTENCE, True
    running = await engine()
    await settle(guests.tell, lambda: running.runners, running.close)


@contextlib.asynccontextmanager
async def _starting(make_engine: Callable[[], Awaitable[Engine]]) -> AsyncIterator[Callable[[], Awaitable[Engine]]]:
    """Start the engine while the page is made ready; gives a function that waits for it. Closed at the end."""
    starting = asyncio.ensure_future(make_engine())

    async def engine() -> Engine:
        return await asyncio.shield(starting)

    try:
        yield engine
    finally:
        with contextlib.suppress(EngineError):
            await (await starting).close()


async def _unless(stop: asyncio.Event, engine: Awaitable[Engine]) -> None:
    """Wait until the engine has started, or the user stops the server first. Raises EngineError if it cannot start."""
    started, stopped = asyncio.ensure_future(engine), asyncio.ensure_future(stop.wait())
    await asyncio.wait([started, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if started.done():
        started.result()


def explore(page: ExplorePage) -> Page:
    """The page Explore for one visitor, with what its address asks for."""
    follow, lecture = share.lecture_asked(pn.state.session_args)
    runs = share.runs_asked(pn.state.session_args)
    if follow:
        page.broadcasts.follow(follow, page.session)
    elif lecture:
        page.session.do(page.broadcasts.resume, lecture, page.session)
    elif runs:
        page.session.visit(runs[-1])
    elif (asked := share.read(pn.state.session_args)) is not None:
        page.session.open(asked)
    return page


def compare(page: ComparePage) -> Page:
    """The page Compare for one visitor, with the runs that its address names."""
    page.pick(share.runs_asked(pn.state.session_args))
    return page


def lessons(page: LessonsPage) -> Page:
    """The page Lessons for one visitor, at the step that its address names."""
    page.open(*share.step_asked(pn.state.session_args))
    return page


def gallery(page: GalleryPage) -> Page:
    """The page Gallery for one visitor, at the figure that its address names."""
    page.open(share.figure_asked(pn.state.session_args))
    return page


def toylab(page: ToyLabPage) -> Page:
    """The page Toy lab for one visitor, with the setting that its address asks for."""
    page.open(pn.state.session_args)
    return page


def _opened(rounds: Rounds, make: Callable[[], Page]) -> pn.Template:
    return rounds.open(make())


def _visitor() -> str:
    """What tells visitors apart: their name where a login knows one, else the browser (turnstile.py), else the page."""
    user = turnstile.user.get()
    if user and user != VISITOR:
        return f"user {user}"
    browser = turnstile.browser.get() or pn.state.cookies.get(turnstile.COOKIE, "")  # a page that is made again comes without a request
    if turnstile.BROWSER.fullmatch(browser):
        return f"browser {browser}"
    context = pn.state.curdoc.session_context if pn.state.curdoc is not None else None
    return f"page {context.id}" if context is not None else ""


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in the background, but not that a visitor closed the page while something was being sent."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def _names(address: str, port: int) -> list[str]:
    """The origins from which a browser may open the page: this machine's names for what it listens on."""
    hosts = ["localhost", "127.0.0.1"] if address in (*EVERYWHERE, *HERE) else [address]
    if address in EVERYWHERE:
        hosts += [socket.gethostname(), socket.getfqdn()]
    return [f"{host}:{port}" for host in hosts]


def _usable(port: int, address: str) -> int:
    """The port, or a free one for 0. Raises EngineError if it cannot be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise EngineError(f"Port {port} of {address} cannot be used ({reason}): give another, or 0 for any free one.") from None
        return probe.getsockname()[1]
