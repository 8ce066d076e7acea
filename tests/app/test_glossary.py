"""The cards: complete, readable, and no second copy of a sentence."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cflows_app import form
from cflows_app.components import ASSETS
from cflows_app.footing import footing
from cflows_app.glossary import _content, glossary, plain, term_of
from cflows_app.mathml import mathml
from cflows_app.session import Session
from cflows_app.stored import Stored
from cflows_app.streaming import Table
from cflows_app.views import VIEWS
from cflows_app.views.axis import UNITS
from cflows_app.views.canvas import Canvas
from cflows_core.config import OPTIMIZER_NAMES, RunConfig
from cflows_core.facts import Facts
from cflows_core.frames import SERIES
from cflows_core.palette import LIGHT
from tests.app.conftest import play, synthetic_history


@pytest.mark.parametrize(
    ("formula", "elements"),
    [
        ("a_1^2 + b", "<msubsup><mi>a</mi><mn>1</mn><mn>2</mn></msubsup><mo>+</mo><mi>b</mi>"),
        (r"\sqrt{ν} − ½\eta", "<msqrt><mrow><mi>ν</mi></mrow></msqrt><mo>−</mo><mn>½</mn><mi>η</mi>"),
        (r"H ⪯ 2P", "<mi>H</mi><mo>⪯</mo><mn>2</mn><mi>P</mi>"),
        (r"P \text{ in } ∇L", "<mi>P</mi><mtext>\N{NO-BREAK SPACE}in\N{NO-BREAK SPACE}</mtext><mi>∇</mi><mi>L</mi>"),
    ],
)
def test_formulas_become_mathml(formula: str, elements: str) -> None:
    made = ElementTree.fromstring(mathml(formula))
    assert ElementTree.tostring(made, encoding="unicode") == f'<math display="block"><mrow>{elements}</mrow></math>'
    assert mathml(formula, display=False).startswith('<math display="inline">')


@pytest.mark.parametrize("formula", ["{a", "a}", "a_{", r"\unheard{a}", "", r"\begin{pmatrix}1"])
def test_a_formula_that_cannot_be_read_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        mathml(formula)


@pytest.mark.parametrize("key", list(glossary()))
def test_every_card_is_whole(key: str) -> None:
    term = glossary()[key]
    assert term.text.endswith((".", ")"))
    assert term.title or key.startswith("optimizer.")  # whose names the form has
    if not key.startswith("field."):
        assert term.source
    if not key.startswith(("field.", "page.")):
        assert term.math
        assert term.unit or "series" in _content()["terms"][key]
    if term.math:
        ElementTree.fromstring(f"<div>{term.math}</div>")


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.key)
def test_everything_that_is_drawn_has_a_card(view) -> None:
    panel = view(Canvas(Table(20.0), LIGHT))
    named = ["title", *panel.entries, *(f"unit.{value}" for value in panel.options.get("unit", ()))]
    assert [name for name in named if term_of(view.key, name) not in glossary()] == []


def test_everything_that_is_controlled_has_a_card() -> None:
    names = [*form.PROBLEM, *form.RUN, *form.MORE, *form.OPTIMIZER, "lr"]
    assert [name for name in names if f"field.{name}" not in glossary()] == []
    assert [name for name in OPTIMIZER_NAMES if f"optimizer.{name}" not in glossary()] == []
    for name in names:
        assert glossary()[f"field.{name}"].text == RunConfig.param[name].doc


def test_what_the_page_itself_has_a_card_for(fake_engine) -> None:
    scripts = "".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in ("form", "transport", "viewbar"))
    named = set(re.findall(r'"(page\.\w+)"', scripts)) | {f"page.{unit}" for unit in UNITS}
    config = RunConfig()
    run = Stored(Path("run.zarr"), config, synthetic_history(3), Facts(10, "cpu", "", "float64", 2, "exact"))

    async def scene(session: Session):
        session.stored = run
        parts = footing(session, 0.0)
        assert len(parts) == 5
        told = {part["term"] for part in parts}
        assert told <= set(glossary())
        assert named | {term for term in told if term.startswith("page.")} == {key for key in glossary() if key.startswith("page.")}

    play(fake_engine, scene)


def test_names_in_the_file_exist() -> None:
    content = _content()
    assert set(content["fields"]) <= set(RunConfig.fields())
    assert {entry["series"] for entry in content["terms"].values() if "series" in entry} <= set(SERIES)
    assert {term for panel in content["panels"].values() for term in panel.values()} <= set(content["terms"])


def test_no_sentence_is_written_twice() -> None:
    known = {series.doc for series in SERIES.values()} | {RunConfig.param[name].doc for name in RunConfig.fields()}
    own = [entry["text"] for part in ("terms", "page") for entry in _content()[part].values() if "text" in entry]
    assert len(set(own)) == len(own)
    assert not set(own) & known


def test_the_page_can_carry_it() -> None:
    assert sum(len(text) for card in plain().values() for text in card.values()) < 60_000
