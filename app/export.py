"""What is on screen as a file for other tools, made in a thread when a page asks for it and sent by the page's own server."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from cflows_app.code import name_of
from cflows_core.errors import CflowsError, StoreError
from cflows_core.store import Run
from cflows_core.store.export import recorded
from cflows_core.store.files import LOCK

if TYPE_CHECKING:
    from cflows_app.pages.explore import ExplorePage
    from cflows_app.session import Session

logger = logging.getLogger("cflows")

# Format -> how the file's name ends.
ENDINGS = {"csv": ".csv", "netcdf": ".nc", "zarr": ".zarr.zip"}
NOTHING = "There is nothing to export before the first step: press Run."
AT_ONCE = 2  # files being made at a time, for all visitors
PART = 2**18  # bytes sent at a time


def what_lacks(session: Session) -> str:
    """A sentence where there is nothing to export, else nothing."""
    return "" if len(session.history) else NOTHING


def writer(session: Session) -> Callable[[str, Path], Path]:
    """What writes all that is drawn at this moment: a function of the format and a folder, to be called in a thread.

    It gives the file's path. Raises StoreError where there is nothing, or no room on the disk.
    """
    if lack := what_lacks(session):
        raise StoreError(lack)
    config, name, runner, stored = session.run_config, name_of(session.run_config), session.runner, session.stored
    if runner is None and stored is not None:
        return lambda form, folder: _write(Run.open(stored.path), form, folder, name)
    history = session.history.copy()  # the run goes on meanwhile
    meta = {} if runner is None else runner.facts.to_plain()
    return lambda form, folder: _write(recorded(history.frames, config, meta), form, folder, name)


def _write(run: Run, form: str, folder: Path, name: str) -> Path:
    path = folder / (name + ENDINGS[form])
    if form == "csv":
        return run.to_csv(path)
    if form == "netcdf":
        return run.to_netcdf(path)
    try:
        return _zipped(run.to_zarr(folder / f"{name}.zarr"), path)
    except OSError as problem:
        raise StoreError(f"The archive cannot be written ({problem.strerror or problem}): make room on the server's disk.") from problem


def _zipped(directory: Path, path: Path) -> Path:
    """The directory as one archive, in which it keeps its name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(directory.rglob("*")):
            if file.is_file() and file.name != LOCK:
                archive.write(file, file.relative_to(directory.parent))
    return path


class Exports:
    """The pages whose runs may be asked for, each by a ticket that only it knows."""

    def __init__(self) -> None:
        self._pages: WeakValueDictionary[str, ExplorePage] = WeakValueDictionary()
        self.turns = asyncio.Semaphore(AT_ONCE)

    def came(self, page: ExplorePage) -> ExplorePage:
        """Know a page while it lives."""
        self._pages[page.ticket] = page
        return page

    def session(self, ticket: str) -> Session | None:
        """The session of the page with that ticket."""
        page = self._pages.get(ticket)
        return None if page is None else page.session


class ExportHandler(RequestHandler):
    """GET `/export/TICKET/FORMAT`: the file, or a sentence with a status that is not 200."""

    def initialize(self, exports: Exports) -> None:
        self.exports = exports

    async def get(self, ticket: str, form: str) -> None:
        self.set_header("Cache-Control", "no-store")
        session = self.exports.session(ticket)
        if session is None:
            return self._refuse(404, "The server does not know this page any more: reload it.")
        if form not in ENDINGS:
            return self._refuse(404, f"An export is one of {', '.join(ENDINGS)}, got {form[:40]!r}: choose one of them.")
        async with self.exports.turns:
            with tempfile.TemporaryDirectory(prefix="cflows-") as folder:
                try:
                    path = await asyncio.to_thread(writer(session), form, Path(folder))
                except CflowsError as problem:
                    return self._refuse(409, str(problem))
                except Exception as problem:
                    logger.exception("an export failed")
                    return self._refuse(
                        500, f"Something went wrong in cflows itself ({type(problem).__name__}); the server's log says more."
                    )
                with suppress(StreamClosedError):  # the visitor has gone
                    await self._send(path)
        return None

    async def _send(self, path: Path) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{path.name}"')
        self.set_header("Content-Length", str(path.stat().st_size))
        with path.open("rb") as file:
            while part := await asyncio.to_thread(file.read, PART):
                self.write(part)
                await self.flush()

    def _refuse(self, status: int, sentence: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write(sentence)
