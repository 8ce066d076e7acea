"""Everything that reads what comes from outside, with inputs made to break it: grammar gone wrong, mutated files, any bytes.

A parser of another part of the project joins by an entry in `PARSERS`: what makes its inputs, and what reads one. Whatever the input, it
reads it, or raises a CflowsError, soon.
"""

from __future__ import annotations

import functools
import io
import json
import shutil
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
from cflows_app.lessons.library import BUNDLED
from cflows_app.shelf import Shelf
from cflows_app.toylab import setting
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError
from cflows_core.problems.formula import Formula
from cflows_core.schedules import schedule_from
from cflows_core.simulation import Simulation
from cflows_core.store import Run
from cflows_core.store.files import ROOT
from cflows_core.written import changes, from_text
from tests.fuzz import operators, sound
from tests.fuzz.inputs import (
    ASKED,
    CHANGES,
    COMMANDS,
    CONFIGURATIONS,
    FIELDS,
    FORMULA,
    HOSTINGS,
    LESSONS,
    LIMITS,
    MESSAGES,
    NAMES_OF_PAGES,
    PATCHES,
    SCHEDULES,
    SMALL,
    SWEEPS,
    SWEEPS_FILES,
    VALUES,
    WRITTEN_CONFIGURATIONS,
    arguments,
    bent,
    damaged,
)
from tests.fuzz.pages import attend, hear, patch


@dataclass(frozen=True)
class Parser:
    """share: of all inputs, how many are for this one, relative to the others."""

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], Any]
    share: float = 1.0


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
    path = sound.folder() / "bent.zarr"
    if not path.exists():
        shutil.copytree(sound.stored(), path)
    (path / ROOT).write_text(json.dumps(document) if not isinstance(document, bytes) else "")
    if isinstance(document, bytes):
        (path / ROOT).write_bytes(document)
    run = Run.open(path)
    run.columns()
    len(list(run.frames()))
    str(run)


def _open_packed(data: bytes) -> None:
    path = sound.folder() / "bent.zarr.zip"
    path.write_bytes(data)
    Run.open(path)


def _packed_strangely(names: list[str]) -> bytes:
    """An archive whose members have these names beside a run's."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings(action="ignore"):  # of names that stand there twice
        for name in ("run/zarr.json", *names):
            archive.writestr(name.replace("\0", "").encode("utf-8", "replace").decode() or "x", json.dumps(sound.document()))
    return file.getvalue()


def _load(data: bytes) -> None:
    path = sound.folder() / "bent.pt"
    path.write_bytes(data)
    Simulation.load(path)


def _lesson(text: str) -> None:
    lesson = reading.read(text, "fuzz", [sound.folder()])
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
    folder = sound.folder() / "shelf"
    (folder / "mine.zarr").mkdir(parents=True, exist_ok=True)
    shelf = Shelf(folder)
    for act in (shelf.open, shelf.delete, lambda name: shelf.keep(name, Path.mkdir)):
        try:
            act(name)
        except CflowsError:
            continue
        finally:
            assert (sound.stored() / ROOT).exists()
            assert {path.name for path in sound.folder().iterdir()} <= {*KNOWN}
    for path in folder.iterdir():
        if path.name != "mine.zarr":
            shutil.rmtree(path)


DAMAGED = ("bent.zarr", "bent.zarr.zip", "bent.pt", "bent-sweep.json", "checked.zarr", "journal")
KNOWN = ("shelf", "sound.zarr", "sound.zarr.zip", *DAMAGED)


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


@st.composite
def _damaged_lessons(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(_lessons()))
    return draw(damaged(text.encode)).decode(errors="replace")


PARSERS: dict[str, Parser] = {
    "address": Parser(arguments(ASKED, st.one_of(VALUES, CHANGES)), _all_of_an_address, 2),
    "lecture's address": Parser(arguments(st.sampled_from(share.LECTURE), SMALL), attend, 0.1),
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
    "stored document": Parser(st.one_of(bent(sound.document), damaged(lambda: json.dumps(sound.document()).encode())), _open_document, 0.5),
    "packed run": Parser(st.one_of(damaged(sound.packed), st.lists(SMALL, max_size=3).map(_packed_strangely)), _open_packed, 0.3),
    "checkpoint": Parser(damaged(sound.checkpoint), _load, 0.5),
    "lesson": Parser(st.one_of(LESSONS, LESSONS, _damaged_lessons()), _lesson, 0.3),
    "message": Parser(st.tuples(NAMES_OF_PAGES, st.integers(0, 40), MESSAGES), hear, 0.5),
    "document's patch": Parser(PATCHES, patch, 0.1),
    "sweep": Parser(SWEEPS, operators.sweep, 0.5),
    "sweep's file": Parser(SWEEPS_FILES, operators.sweep_file, 1),
    "command line": Parser(COMMANDS, operators.command, 0.2),
    "hosting": Parser(HOSTINGS, operators.hosting, 1),
    "journal": Parser(st.one_of(bent(sound.document), damaged(lambda: json.dumps(sound.document()).encode())), operators.journal, 0.2),
    "checked run": Parser(st.tuples(st.integers(0, 10**6), st.integers(0, 2**32)), operators.checked, 0.01),
}
