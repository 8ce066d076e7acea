"""Everything that reads what comes from outside, with inputs made to break it: grammar gone wrong, mutated files, any bytes.

A parser of another part of the project joins by an entry in `PARSERS`: what makes its inputs, and what reads one. Whatever the input, it
reads it, or raises a CflowsError, soon.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from cflows_app import share
from cflows_app.door.gate import Gate, House
from cflows_app.door.hosting import Hosting
from cflows_app.door.limits import Limits
from cflows_app.door.login import inside
from cflows_app.lessons import reading
from cflows_app.lessons.library import BUNDLED, Library
from cflows_app.pages.compare import ComparePage
from cflows_app.pages.explore import ExplorePage
from cflows_app.pages.gallery import GalleryPage
from cflows_app.pages.lessons import LessonsPage
from cflows_app.pages.page import Page
from cflows_app.pages.toylab import ToyLabPage
from cflows_app.session import Session
from cflows_app.shelf import Shelf
from cflows_app.toylab import setting
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, EngineError
from cflows_core.problems.formula import Formula
from cflows_core.schedules import schedule_from
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder, Run
from cflows_core.store.files import ROOT
from cflows_core.store.packed import pack
from cflows_core.written import changes, from_text
from tests.fuzz.inputs import (
    ASKED,
    CHANGES,
    CONFIGURATIONS,
    FIELDS,
    FORMULA,
    LESSONS,
    LIMITS,
    MESSAGES,
    NAMES_OF_PAGES,
    SCHEDULES,
    SMALL,
    VALUES,
    WRITTEN_CONFIGURATIONS,
    arguments,
    bent,
    damaged,
)


@dataclass(frozen=True)
class Parser:
    """share: of all inputs, how many are for this one, relative to the others."""

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], Any]
    share: float = 1.0


# -- sound files, made once ---------------------------------------------------------------------------------------------------------


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="cflows-fuzz-")
    _KEPT.append(folder)  # removed when the process ends
    return Path(folder.name)


_KEPT: list[Any] = []


@functools.cache
def _stored() -> Path:
    """A stored run of three steps, with a checkpoint."""
    path = _folder() / "sound.zarr"
    simulation = Simulation(RunConfig(dataset="chebyshev", width=4, depth=1, n_train=8, steps=3, observe=[], flows=["discrete", "central"]))
    with Recorder(path, simulation.config) as recorder:
        for _ in range(3):
            recorder.append(next(simulation))
        recorder.checkpoint(simulation)
    return path


@functools.cache
def _document() -> dict[str, Any]:
    return json.loads((_stored() / ROOT).read_text())


@functools.cache
def _packed() -> bytes:
    return pack(_stored(), _folder() / "sound.zarr.zip").read_bytes()


@functools.cache
def _checkpoint() -> bytes:
    return (_stored() / "checkpoint.pt").read_bytes()


@functools.cache
def _lessons() -> list[str]:
    return [file.read_text(encoding="utf-8") for file in sorted(BUNDLED.glob("*.md"))]


# -- what reads them ----------------------------------------------------------------------------------------------------------------


def _all_of_an_address(arguments: dict[str, list[bytes]]) -> None:
    """Each page's reading of one; they promise to raise nothing."""
    asked = share.read(arguments)
    if asked is not None:
        assert RunConfig.from_json(asked.config.to_json()) == asked.config
        assert all(len(problem) < 600 for problem in asked.problems)
    share.runs_asked(arguments)
    share.step_asked(arguments)
    share.figure_asked(arguments)


def _toy(arguments: dict[str, list[bytes]]) -> None:
    found, problems = setting.read(arguments)
    assert all(isinstance(problem, str) for problem in problems)
    assert found.toy.n_params in (1, 2)
    assert found.query


def _open_document(document: Any) -> None:
    path = _folder() / "bent.zarr"
    if not path.exists():
        shutil.copytree(_stored(), path)
    (path / ROOT).write_text(json.dumps(document) if not isinstance(document, bytes) else "")
    if isinstance(document, bytes):
        (path / ROOT).write_bytes(document)
    run = Run.open(path)
    run.columns()
    len(list(run.frames()))
    str(run)


def _open_packed(data: bytes) -> None:
    path = _folder() / "bent.zarr.zip"
    path.write_bytes(data)
    Run.open(path)


def _packed_strangely(names: list[str]) -> bytes:
    """An archive whose members have these names beside a run's."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings(action="ignore"):  # of names that stand there twice
        for name in ("run/zarr.json", *names):
            archive.writestr(name.replace("\0", "").encode("utf-8", "replace").decode() or "x", json.dumps(_document()))
    return file.getvalue()


def _load(data: bytes) -> None:
    path = _folder() / "bent.pt"
    path.write_bytes(data)
    Simulation.load(path)


def _lesson(text: str) -> None:
    lesson = reading.read(text, "fuzz", [_folder()])
    found = _Elements()
    found.feed(lesson.about + "".join(step.words + step.answer + "".join(html for html, _ in step.choices) for step in lesson.steps))
    assert not found.tags & {"script", "img", "iframe", "object", "embed", "form", "style", "svg", "base", "link", "meta"} - ALLOWED
    assert not any(name.startswith("on") for name in found.attributes)
    assert not any(link.strip().lower().startswith(("javascript:", "data:text", "vbscript:")) for link in found.links)


ALLOWED = {"img"}  # Markdown has pictures


class _Elements(HTMLParser):
    """What an HTML text is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def _name(name: str) -> None:
    """A run's name, from an address or a form: nothing outside the shelf is ever touched."""
    folder = _folder() / "shelf"
    (folder / "mine.zarr").mkdir(parents=True, exist_ok=True)
    shelf = Shelf(folder)
    for act in (shelf.open, shelf.delete, lambda name: shelf.keep(name, Path.mkdir)):
        try:
            act(name)
        except CflowsError:
            continue
        finally:
            assert (_stored() / ROOT).exists()
            assert {path.name for path in _folder().iterdir()} <= {*KNOWN}
    for path in folder.iterdir():
        if path.name != "mine.zarr":
            shutil.rmtree(path)


KNOWN = ("shelf", "sound.zarr", "sound.zarr.zip", "bent.zarr", "bent.zarr.zip", "bent.pt")


def _gate(asked: dict[str, str]) -> None:
    asked = {name: text.encode("utf-8", "replace").decode("latin-1") for name, text in asked.items()}  # as tornado reads headers
    hosting = Hosting(public=True, password="x" * 12, secret="s" * 32, origins=("cflows.test",), metrics_token="token")
    gate = Gate(hosting, hosting.names(1), House(("/",), lambda: 0, lambda: ("",), lambda: 0.0))
    cookies = {"user": SimpleNamespace(value=asked["user"])}
    headers = {"Authorization": asked["authorization"]}
    given = {name: asked[name] for name in ("path", "host", "method", "remote_ip")} | {"uri": asked["path"]}
    refusal = gate.judge(SimpleNamespace(cookies=cookies, headers=headers, **given))
    assert refusal is not None or asked["path"] in ("/login", "/logout", "/healthz", "/favicon.ico", "/metrics")
    assert inside(asked["path"]).startswith("/")
    assert not inside(asked["path"]).startswith("//")


LIVES = 200  # inputs that a page hears before another takes its place


class _Visit:
    """One page of each kind, in an event loop of their own; no run is ever made, since there is no worker."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.pages: dict[str, Page] = {}
        self.heard = 0

    def page(self, name: str) -> Page:
        async def nowhere() -> Any:
            raise EngineError("There is no worker.")

        def session() -> Session:
            return Session(nowhere, shelf=shelf)

        shelf = Shelf(_folder() / "nothing")
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

    async def hear(self, name: str, which: int, message: Any) -> None:
        page = self.page(name)
        parts = list(page.components.values())
        parts[which % len(parts)]._handle_msg(message)
        page.tick()
        await asyncio.sleep(0)
        page.tick()

    async def end(self) -> None:
        for page in self.pages.values():
            await page.leave()


_visits: list[_Visit] = []


def _hear(said: tuple[str, int, Any]) -> None:
    """A page hears what a browser, or someone in its place, sends."""
    if not _visits:
        _visits.append(_Visit())
    visit = _visits[0]
    visit.heard += 1
    try:
        visit.runner.run(visit.hear(*said))
    finally:
        if visit.heard >= LIVES:
            end_visits()


def end_visits() -> None:
    """Let the pages go that hear messages."""
    while _visits:
        visit = _visits.pop()
        visit.runner.run(visit.end())
        visit.runner.close()


@st.composite
def _damaged_lessons(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(_lessons()))
    return draw(damaged(text.encode)).decode(errors="replace")


# Sweeps' specifications join here once their reader is part of the project.
PARSERS: dict[str, Parser] = {
    "address": Parser(arguments(ASKED, st.one_of(VALUES, CHANGES)), _all_of_an_address, 2),
    "toy lab's address": Parser(arguments(st.sampled_from(sorted(setting.FIELDS)), st.one_of(SMALL, FORMULA)), _toy),
    "configuration": Parser(CONFIGURATIONS, RunConfig.from_dict, 2),
    "configuration's JSON": Parser(st.one_of(WRITTEN_CONFIGURATIONS, CONFIGURATIONS.map(json.dumps), SMALL), RunConfig.from_json),
    "changes": Parser(st.one_of(CHANGES, SMALL), changes, 2),
    "field's text": Parser(st.tuples(FIELDS, st.one_of(VALUES, CHANGES)), lambda pair: RunConfig.check(pair[0], from_text(*pair)), 2),
    "schedule": Parser(st.one_of(SCHEDULES, SMALL), schedule_from, 2),
    "formula": Parser(st.one_of(FORMULA, SMALL), Formula.read),
    "limits": Parser(st.lists(LIMITS, max_size=3), Limits.read),
    "request": Parser(
        st.fixed_dictionaries(
            {
                "path": st.one_of(st.sampled_from(["/", "/ws", "/metrics", "/healthz", "//", "/static/../x"]), SMALL),
                "host": st.one_of(st.just("cflows.test"), SMALL),
                "method": st.sampled_from(["GET", "HEAD", "POST", "PUT", "X"]),
                "remote_ip": st.one_of(st.ip_addresses().map(str), SMALL),
                "user": st.one_of(SMALL, st.builds("2|1:0|10:{}|4:user|{}:{}|{}".format, SMALL, SMALL, SMALL, SMALL)),
                "authorization": st.one_of(SMALL, st.just("Bearer token")),
            }
        ),
        _gate,
        2,
    ),
    "run's name": Parser(SMALL, _name, 0.5),
    "stored document": Parser(st.one_of(bent(_document), damaged(lambda: json.dumps(_document()).encode())), _open_document, 0.5),
    "packed run": Parser(st.one_of(damaged(_packed), st.lists(SMALL, max_size=3).map(_packed_strangely)), _open_packed, 0.3),
    "checkpoint": Parser(damaged(_checkpoint), _load, 0.5),
    "lesson": Parser(st.one_of(LESSONS, LESSONS, _damaged_lessons()), _lesson, 0.3),
    "message": Parser(st.tuples(NAMES_OF_PAGES, st.integers(0, 40), MESSAGES), _hear, 0.5),
}
