"""What is on screen as a file for other tools, made in a thread when a page asks for it and sent by the page's own server."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from cflows_app.code import name_of
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.history import History
from cflows_core.store import Run
from cflows_core.store.export import recorded
from cflows_core.store.packed import ENDING, pack
from cflows_core.store.run import CHECKPOINT

if TYPE_CHECKING:
    from cflows_app.pages.explore import ExplorePage
    from cflows_app.session import Session

logger = logging.getLogger("cflows")

# Format -> how the file's name ends.
ENDINGS = {"csv": ".csv", "netcdf": ".nc", "zarr": ENDING}
NOTHING = "There is nothing to save before the first step: press Run."
AT_ONCE = 2  # files being made at a time, for all visitors
PART = 2**18  # bytes sent at a time


def what_lacks(session: Session) -> str:
    """A sentence where there is nothing to save, else nothing."""
    return "" if len(session.history) else NOTHING


@dataclass(frozen=True)
class Snapshot:
    """All that was drawn at one moment. rows: of a copy, or of the store that it was read from. checkpoint: of the same step or before."""

    name: str
    config: RunConfig
    rows: History | Run
    meta: dict[str, Any]
    checkpoint: Path | None = None

    def to_zarr(self, path: Path) -> Path:
        """Store it as a run that goes on from its checkpoint, if it has one. Blocking, like the others. Raises StoreError."""
        if isinstance(self.rows, Run):
            return self.rows.to_zarr(path)
        recorded(self.rows, self.config, self.meta, path)
        if self.checkpoint is not None:
            shutil.move(self.checkpoint, path / CHECKPOINT)
        return path

    def write(self, form: str, folder: Path) -> Path:
        """Write it as one file; its path. Raises StoreError, also where there is no room on the disk."""
        path = folder / (self.name + ENDINGS[form])
        if form == "zarr":
            try:
                return pack(self.to_zarr(folder / f"{self.name}.zarr"), path)
            except OSError as problem:
                raise StoreError(
                    f"The archive cannot be written ({problem.strerror or problem}): make room on the server's disk."
                ) from problem
        run = self.rows if isinstance(self.rows, Run) else recorded(self.rows, self.config, self.meta)
        return run.to_csv(path) if form == "csv" else run.to_netcdf(path)


async def snapshot(session: Session, folder: Path) -> Snapshot:
    """What is drawn now; `folder` holds its checkpoint until it is written. Raises StoreError where there is nothing."""
    if lack := what_lacks(session):
        raise StoreError(lack)
    runner, stored, name = session.runner, session.stored, name_of(session.run_config)
    if runner is None:
        if stored is None:
            raise StoreError(NOTHING)
        if not stored.path.exists():  # deleted meanwhile: what is drawn is all that is left of it
            return Snapshot(name, stored.config, stored.history, stored.facts.to_plain())
        return Snapshot(name, stored.config, await asyncio.to_thread(Run.open, stored.path), {})
    checkpoint = folder / CHECKPOINT
    with suppress(CflowsError):  # a lost worker: the rows are worth keeping all the same
        await runner.save(checkpoint)
    # After the checkpoint, so that its step is among them; a copy, since the run goes on meanwhile. The visitor may see another by now.
    rows = runner.history.copy()
    return Snapshot(name, runner.config, rows, runner.facts.to_plain(), checkpoint if checkpoint.exists() else None)


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
                    taken = await snapshot(session, Path(folder))
                    path = await asyncio.to_thread(taken.write, form, Path(folder))
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
