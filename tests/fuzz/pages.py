"""Pages that hear what a browser, or someone in its place, sends: messages of their scripts, and Bokeh's own patches of the document."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.models import ColumnDataSource, Range1d

from cflows_app import pages as app_pages
from cflows_app import share
from cflows_app.broadcast import Broadcasts
from cflows_app.lessons.library import Library
from cflows_app.pages.compare import ComparePage
from cflows_app.pages.explore import ExplorePage
from cflows_app.pages.gallery import GalleryPage
from cflows_app.pages.lessons import LessonsPage
from cflows_app.pages.page import Page
from cflows_app.pages.toylab import ToyLabPage
from cflows_app.session import Session
from cflows_app.shelf import Shelf
from cflows_app.shell import page_template
from cflows_core.errors import CflowsError, ConfigError, EngineError
from tests.fuzz import sound

LIVES = 200  # inputs that a page hears before another takes its place
OURS = str(Path(app_pages.__file__).parents[1].resolve())


async def _nowhere() -> Any:
    raise EngineError("There is no worker.")


class _Visit:
    """One page of each kind, in an event loop of their own; no run is ever made, since there is no worker."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.pages: dict[str, Page] = {}
        self.documents: dict[str, Document] = {}
        self.heard = 0

    def page(self, name: str) -> Page:
        def session() -> Session:
            return Session(_nowhere, shelf=shelf)

        shelf = Shelf(sound.folder() / "nothing")
        made: dict[str, Callable[[], Page]] = {
            "explore": lambda: ExplorePage(session()),
            "compare": lambda: ComparePage(shelf),
            "lessons": lambda: LessonsPage(session(), Library()),
            "gallery": GalleryPage,
            "toylab": ToyLabPage,
        }
        if name not in self.pages:
            self.pages[name] = made[name]()
        return self.pages[name]

    def document(self, name: str) -> Document:
        if name not in self.documents:
            self.documents[name] = page_template(self.page(name), "light").server_doc(Document())
        return self.documents[name]

    async def hear(self, name: str, which: int, message: Any) -> None:
        page = self.page(name)
        parts = list(page.components.values())
        parts[which % len(parts)]._handle_msg(message)
        page.tick()
        await asyncio.sleep(0)
        page.tick()

    async def patch(self, name: str, kind: str, which: int, attribute: str, value: Any) -> None:
        page, document = self.page(name), self.document(name)
        event = _event(kind, sorted(document.models, key=lambda model: int(model.id.lstrip("p"))), which, attribute, value)
        try:
            document.apply_json_patch({"events": [event]})
        except Exception as problem:  # Bokeh answers the browser with an error, which is right unless it went wrong in our own code
            if any(_ours(frame.filename) for frame in traceback.extract_tb(problem.__traceback__)):
                raise
            raise ConfigError(f"Bokeh refuses the patch ({type(problem).__name__}).") from None
        finally:
            page.draw()
            await asyncio.sleep(0)
            page.draw()

    async def end(self) -> None:
        for page in self.pages.values():
            await page.leave()


def _ours(file: str) -> bool:
    return str(Path(file).resolve()).startswith(OURS)


def _event(kind: str, models: list[Any], which: int, attribute: str, value: Any) -> dict[str, Any]:
    """A patch of one of the models, every second time of one that our code reads."""
    if which % 2:
        models = [model for model in models if isinstance(model, Range1d | ColumnDataSource)]
    model = models[which // 2 % len(models)]
    properties = sorted(model.properties())
    target = {"model": {"id": model.id}}
    whole: dict[str, dict[str, Any]] = {
        "ModelChanged": {**target, "attr": attribute or properties[which // 7 % len(properties)], "new": value},
        "ColumnDataChanged": {**target, "attr": "data", "data": value, "cols": None},
        "ColumnsStreamed": {**target, "attr": "data", "data": value, "rollover": which},
        "ColumnsPatched": {**target, "attr": "data", "patches": value},
        "RootAdded": target,
        "RootRemoved": target,
        "TitleChanged": {"title": value},
        "MessageSent": {"msg_type": "bokeh_event", "msg_data": _said(attribute, models, which, value)},
    }
    return {"kind": kind, **whole[kind]}


def _said(name: str, models: list[Any], which: int, value: Any) -> dict[str, Any]:
    """An event of a figure, or of the document."""
    figures = [model for model in models if type(model).__name__ == "figure"] or models
    entries = [["model", {"id": figures[which % len(figures)].id}], *([corner, value] for corner in ("x0", "x1", "y0", "y1"))]
    return {"type": "event", "name": name or "rangesupdate", "values": {"type": "map", "entries": entries}}


_visits: dict[Any, _Visit] = {}


def attend(arguments: dict[str, list[bytes]]) -> None:
    """An address asks for a lecture, on a server where one is on."""
    follow, lecture = share.lecture_asked(arguments)

    async def ask() -> None:
        broadcasts, lecturer, session = Broadcasts(), Session(_nowhere), Session(_nowhere)
        await broadcasts.begin(lecturer)
        broadcasts.follow(follow, session)
        await broadcasts.resume(lecture, session)
        assert session.follows is None
        assert session.broadcast is None

    asyncio.run(ask())


def hear(said: tuple[str, int, Any]) -> None:
    """A page hears a message of one of its scripts."""
    _told(_Visit.hear, said)


def patch(said: tuple[str, str, int, str, Any]) -> None:
    """A page's document is patched."""
    _told(_Visit.patch, said)


def _told(act: Any, said: Iterable[Any]) -> None:
    visit = _visits.setdefault(act, _Visit())
    visit.heard += 1
    try:
        visit.runner.run(act(visit, *said))
    except CflowsError:
        raise
    except Exception:
        _end(act)  # what is broken stays broken: the next input is heard by another page
        raise
    if visit.heard >= LIVES:
        _end(act)


def _end(act: Any) -> None:
    visit = _visits.pop(act)
    visit.runner.run(visit.end())
    visit.runner.close()


def end_visits() -> None:
    """Let the pages go."""
    for act in list(_visits):
        _end(act)
