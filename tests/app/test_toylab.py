"""The toy lab without a browser: what a visitor does, and what comes of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap

from cflows_app.glossary import glossary, term_of
from cflows_app.pages.toylab import ToyLabPage
from cflows_app.shell import page_template
from cflows_app.toylab import form, results, words
from cflows_app.toylab.board import PERIOD_COLORS
from cflows_app.toylab.lane import Lane
from cflows_app.toylab.setting import FIELDS
from cflows_core.config import OPTIMIZER_NAMES
from cflows_core.palette import DARK, LIGHT
from tests.app.test_hostile import STRANGE
from tests.app.test_theme import APART, SIGHTS, lab, linear
from tests.app.toys import HOSTILE, LOSSES, at, settled


def test_the_document_is_valid_in_both_themes(quick, caplog):
    async def scene():
        for theme, palette in (("light", LIGHT), ("dark", DARK)):
            page = ToyLabPage()
            await settled(page)
            document = Document()
            page_template(page, theme).server_doc(document)
            with caplog.at_level(logging.WARNING):
                document.validate()
            assert [record.getMessage() for record in caplog.records] == []
            names = {root.name for root in document.roots}
            assert {"toyform", "player", "status", "expectations", "landscape_plot", "orbits_plot", "circle_legend"} <= names
            assert page.orbit.canvas.mappers[0].palette == [palette[color] for color in PERIOD_COLORS.values()]

    asyncio.run(scene())


@pytest.mark.parametrize(("loss", "optimizer"), [*itertools.product(LOSSES, OPTIMIZER_NAMES)])
def test_every_optimizer_is_drawn_on_every_loss(quick, loss, optimizer):
    async def scene():
        page = ToyLabPage()
        page.change(at(loss=loss, optimizer=optimizer, length="50"))
        await settled(page)
        assert page.error == ""
        assert page.scene.setting == page.setting
        assert len(page.landscape.trail.data["x"]) == min(page.scene.last + 1, 40)
        assert len(page.position.iterates.data["x"]) == page.scene.last + 1
        assert page.orbit.diagram.over == ("lr",)
        page.look(3)
        assert np.asarray(page.landscape.trail.data["alpha"])[-1] == 1.0
        assert (len(page.landscape.lines.data["xs"]) > 0) == (loss == "valley")

    asyncio.run(scene())


def test_a_refused_formula_leaves_the_last_good_one_drawn(quick):
    async def scene():
        page = ToyLabPage()
        page.change(at(loss="formula"))
        await settled(page)
        former = page.scene
        for text in HOSTILE:
            page.form._handle_msg({"edit": "formula", "value": text})
            await settled(page)
            assert page.form.state["errors"]["formula"]
            assert page.scene is former
            assert page.error == ""
        page.form._handle_msg({"edit": "formula", "value": "x^2 + y^2/4"})
        await settled(page)
        assert page.form.state["errors"] == {}
        assert page.scene.walk.w.shape[1] == 2
        assert "y" in page.form.state["shown"]

    asyncio.run(scene())


def test_the_buttons_lead_to_what_they_say(quick):
    async def scene():
        page = ToyLabPage()
        await settled(page)
        for place, period in (("rest", 1), ("two", 2), ("four", 4), ("chaos", 0)):
            if page.form.state["places"][place]:
                continue
            page.form._handle_msg({"go": place})
            await settled(page)
            ends = results.orbits(page.setting.toy, page.setting.method, "lr", [page.setting.lr], page.setting.start)
            assert ends.period[0] == period
        page.form._handle_msg({"go": "edge"})
        assert page.setting.edge == pytest.approx(1.0)
        page.form._handle_msg({"go": "above"})
        assert page.setting.edge == pytest.approx(1.03)
        page.form._handle_msg({"edit": "optimizer", "value": "adam"})
        await settled(page)
        assert page.form.state["places"]["edge"].startswith("ν adapts")
        former = page.setting
        page.form._handle_msg({"go": "edge"})
        assert page.setting == former

    asyncio.run(scene())


def test_a_click_on_the_diagram_sets_its_values(quick):
    async def scene():
        page = ToyLabPage()
        page.change(at(optimizer="heavy_ball"))
        await settled(page)
        page._on_tap(Tap(page.orbit.figure, x=20.0, y=0.1))
        assert page.setting.lr == 20.0
        page.legends["orbits"]._handle_msg({"choose": "over", "value": "lr-beta1"})
        await settled(page)
        assert page.orbit.diagram.flat
        page._on_tap(Tap(page.orbit.figure, x=5.0, y=0.25))
        assert (page.setting.lr, page.setting.beta1) == (5.0, 0.25)
        page._on_tap(Tap(page.orbit.figure, x=-5.0, y=0.25))  # beside the axes
        assert (page.setting.lr, page.setting.beta1) == (5.0, 0.25)
        page.form._handle_msg({"edit": "optimizer", "value": "gd"})  # which has no β₁ to go over
        await settled(page)
        assert page.orbit.diagram.over == ("lr",)
        assert page.legends["orbits"].state["choices"] == []

    asyncio.run(scene())


@pytest.mark.parametrize("part", ["form", "player", "status", "legend"])
def test_a_message_that_no_script_of_ours_sends_harms_no_page(quick, part):
    keys = {"form": ["edit", "go", "value"], "player": ["moment"], "status": ["dismiss"], "legend": ["toggle", "choose"]}[part]
    messages = [*STRANGE, *({key: value} for key in keys for value in STRANGE)]
    messages += [
        {"edit": name, "value": value} for name in ("lr", "x", "formula", "loss", "nonsense") for value in STRANGE if part == "form"
    ]

    async def scene():
        page = ToyLabPage()
        await settled(page)
        component = page.legends["orbits"] if part == "legend" else getattr(page, part)
        for message in messages:
            component._handle_msg(message)
            page.tick()
            assert "went wrong" not in page.error, message
        await settled(page)
        assert page.error == ""
        assert 0 <= page.moment <= page.scene.last

    asyncio.run(scene())


def test_the_newest_request_wins_and_what_was_overtaken_is_never_computed():
    computed: list[int] = []
    first, go = threading.Event(), threading.Event()

    def compute(number: int) -> int:
        computed.append(number)
        first.set()
        go.wait(10)
        return -number

    async def scene():
        lane = Lane(compute)
        lane.ask(0)
        working = asyncio.ensure_future(lane.work())
        await asyncio.to_thread(first.wait, 10)
        for number in (1, 2, 3):
            lane.ask(number)
        assert not lane.waits  # the work that goes on takes it
        go.set()
        await working
        assert computed == [0, 3]
        assert lane.done == [(0, 0), (3, -3)]

    asyncio.run(scene())


def test_what_goes_wrong_while_computing_is_told_and_the_page_lives_on(quick):
    async def scene():
        page = ToyLabPage()
        page.change(at(loss="formula", formula="log(x)", x=1.0))
        await settled(page)
        page.form._handle_msg({"edit": "x", "value": "-1"})
        await settled(page)
        page.form._handle_msg({"edit": "x", "value": "2"})
        await settled(page)
        assert page.scene.setting.x == 2.0
        assert "went wrong" not in page.error

    asyncio.run(scene())


def test_sentences_say_what_is_there():
    said = {
        "It converges": at(lr=1.5),
        "At the edge": at(loss="quadratic", lr=2.0),
        "a 2-cycle, between −0.447 and 0.447": at(lr=2.5),
        "an uneven 2-cycle": at(lr=3.1),
        "Period 4": at(lr=3.26),
        "Chaos": at(lr=3.9),
        "It diverges": at(loss="quadratic", lr=2.5),
        "A straight slope": at(loss="linear"),
        "is unstable": at(loss="quadratic", optimizer="adam", lr=0.5, length="600"),
        "Not at the edge yet": at(loss="quadratic", optimizer="rmsprop", lr=0.3, length="50"),
    }
    for words_, setting in said.items():
        assert words_ in words.sentence(results.judged(results.walked(setting))), setting


def test_everything_that_is_drawn_has_a_card():
    page = asyncio.run(_made())
    for view in page.views:
        named = ["title", *view.entries]
        missing = [name for name in named if term_of(view.key, name) not in glossary()]
        assert set(missing) <= {"loss", "contours", "at iterates", "at centre"}, view.key


async def _made() -> ToyLabPage:
    return ToyLabPage()


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_periods_are_told_apart_by_their_colours(palette, sight):
    seen = [lab(np.asarray(SIGHTS[sight]) @ linear(palette[color])) for color in PERIOD_COLORS.values()]
    assert min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)) >= APART


def test_the_form_has_every_field():
    spec = form.specification()
    named = {field["name"] for part in ("loss", "optimizer", "walk") for field in spec[part]} | {"loss", "optimizer"}
    assert named == set(FIELDS)
    assert {value for value, _ in spec["grid"]} == set(OPTIMIZER_NAMES)
