"""Starts the dashboard: workers and web server side by side, one Explore page a visitor."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import webbrowser
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import panel as pn
from bokeh.settings import settings as bokeh_settings

from cflows_app.ahead import Ahead
from cflows_app.health import HealthHandler, LoopLag
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import Session
from cflows_app.shell import page_template
from cflows_core.engine import Engine
from cflows_core.errors import EngineError

TICK = 100  # milliseconds between looks for news


def explore(page: ExplorePage) -> pn.Template:
    """The page for one visitor, brought to life in the document being made."""
    theme = "dark" if pn.state.cookies.get("cflows-theme") == "dark" else "light"
    session = page.session
    document = pn.state.curdoc
    if document is not None:
        # Bokeh's own callback: it holds the document's lock, so that what `tick` writes is sent in one go.
        document.add_periodic_callback(page.tick, TICK)
        document.on_session_destroyed(lambda _: asyncio.ensure_future(session.release()))
    return page_template(page, theme)


def serve(
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    *,
    workers: int = 1,
    threads: int = 1,
    cluster: str = "",
    origins: Sequence[str] = (),
) -> None:
    """Serve the dashboard until interrupted.

    port: 0 takes any free one. workers, threads: local worker processes, and PyTorch's threads in each simulation. cluster: the address of
    a Dask scheduler to use instead. Listens on this machine only unless `address` says otherwise; `origins` ("host:port") are then the
    names under which browsers may reach it, beside the machine's own. Raises EngineError where no worker, or no port, is to be had.
    """
    make_engine = partial(Engine.connect, cluster) if cluster else partial(Engine.local, workers, threads)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(port or _free_port(address), address, show, make_engine, origins))


async def _serve(
    port: int, address: str, show: bool, make_engine: Callable[[], Awaitable[Engine]], origins: Sequence[str]
) -> None:
    lag = LoopLag()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(make_engine())  # the first page opens meanwhile

    async def engine() -> Engine:
        return await asyncio.shield(starting)

    pages = Ahead(lambda: ExplorePage(Session(engine)))
    await pages.ready()
    bokeh_settings.perform_document_validation = False  # half as long again for every page; the tests validate it
    try:
        server = pn.serve(
            {"/": lambda: explore(pages.take())},
            port=port,
            address=address,
            show=False,
            start=False,
            title="cflows",
            location=False,
            verbose=False,
            websocket_origin=[*_names(address, port), *origins],
            extra_patterns=[(r"/health", HealthHandler, {"lag": lag})],
        )
    except OSError as problem:
        raise EngineError(f"Port {port} of {address} cannot be used ({problem.strerror}): give another one, or 0 for any free one.") from None
    for name in (signal.SIGINT, signal.SIGTERM):  # after Panel has set a handler of its own, which would stop the loop under our feet
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(name, stop.set)
    server.start()
    url = f"http://{_names(address, port)[0]}/"
    print(f"cflows is at {url}  (Ctrl-C stops it)", flush=True)
    if show:
        webbrowser.open(url)
    watching = asyncio.ensure_future(lag.watch())
    try:
        await asyncio.wait([asyncio.ensure_future(stop.wait()), starting], return_when=asyncio.FIRST_EXCEPTION)
        await starting  # raises where no worker could be started
        await stop.wait()
    finally:
        watching.cancel()
        server.stop()
        if starting.done() and not starting.exception():
            await starting.result().close()


def _names(address: str, port: int) -> list[str]:
    """The origins from which a browser may open the page: this machine's names for what it listens on."""
    hosts = ["localhost", "127.0.0.1"] if address in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost") else [address]
    if address in ("", "0.0.0.0", "::"):
        hosts += [socket.gethostname(), socket.getfqdn()]
    return [f"{host}:{port}" for host in hosts]


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
