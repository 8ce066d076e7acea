"""The page without a browser: a valid document, and messages from its controls that do what they say."""

from __future__ import annotations

import asyncio
import logging
import math
import socket

import numpy as np
import param
import pytest
from bokeh.document import Document
from bokeh.events import DocumentReady
from panel.io.state import set_curdoc

import cflows_app.pages.explore as explore_module
import cflows_app.session as session_module
from cflows_app import form, texts
from cflows_app.ahead import Ahead
from cflows_app.glossary import glossary
from cflows_app.main import _names, explore, serve
from cflows_app.pages.explore import ExplorePage
from cflows_app.rounds import Rounds
from cflows_app.shell import page_template
from cflows_app.stored import Stored
from cflows_app.streaming import Reading
from cflows_core.config import OBSERVABLES, OPTIMIZER_NAMES, RunConfig
from cflows_core.errors import EngineError
from cflows_core.history import History
from cflows_core.palette import DARK, LIGHT, STROKES
from cflows_core.rules import ABLATIONS
from tests.app.conftest import done, play_page


@pytest.fixture(autouse=True)
def _stored(monkeypatch, make_history, tmp_path):
    run = Stored(tmp_path, RunConfig(), make_history(300))
    monkeypatch.setattr(session_module, "stored_run", lambda name: run)


def test_the_document_is_valid_in_both_themes(fake_engine, caplog):
    async def scene(page: ExplorePage):
        for theme in ("light", "dark"):
            document = Document()
            page_template(ExplorePage(page.session), theme).server_doc(document)
            with caplog.at_level(logging.WARNING):
                document.validate()
            assert [record.getMessage() for record in caplog.records] == []
            names = {root.name for root in document.roots}
            assert {"form", "takeaway", "transport", "status", "viewbar", "loss_plot", "foot", "loss_legend", "valley_plot"} <= names

    play_page(fake_engine, scene)


def test_a_dark_page_is_dark_from_the_start(fake_engine):
    async def scene(page: ExplorePage):
        page.paint("dark")
        for plot in page.figures.values():
            assert str(plot.background_fill_color) == DARK["card"]
            assert {str(axis.axis_label_text_color) for axis in plot.axis} == {DARK["muted"]}

    play_page(fake_engine, scene)


def test_the_page_opens_with_the_stored_run_drawn(fake_engine):
    async def scene(page: ExplorePage):
        assert len(page.canvas.table.source.data["step"]) == 300
        assert page.status.state["sentence"]
        assert page.transport.state["label"] == "stored run"
        assert page.form.state["values"]["lr"] == "0.3"

    play_page(fake_engine, scene)


def test_run_draws_what_arrives(fake_engine):
    async def scene(page: ExplorePage):
        page._on_transport({"action": "run"})
        await done(page)
        page.session.runner.play(7)
        page.tick()
        assert int(page.canvas.table.source.data["step"][-1]) == 306
        assert page.transport.state["step"] == 306
        assert page.canvas.steps.end > 306

    play_page(fake_engine, scene)


def test_a_new_run_is_followed_wherever_the_visitor_looked(fake_engine):
    async def scene(page: ExplorePage):
        page.canvas.steps.update(start=100, end=200)
        page.tick()
        assert not page.axis.following
        page._on_transport({"action": "reset"})
        await done(page)
        assert page.axis.following
        assert page.viewbar.state["following"]

    play_page(fake_engine, scene)


def test_a_change_is_marked_labelled_and_listed(fake_engine):
    async def scene(page: ExplorePage):
        page._on_transport({"action": "run"})
        await done(page)
        page._on_form({"edit": "lr", "value": "0.125"})
        await done(page)
        page.session.runner.play(1)
        page.tick()
        assert dict(page.canvas.marks.data) == {"x": [300], "label": ["η = 0.125"], "align": ["right"], "offset": [-4]}
        assert page.form.state["changes"] == ["Learning rate η: 0.125 from step 300"]

    play_page(fake_engine, scene)


def test_close_changes_share_a_label():
    config = RunConfig(changes=[(100, "lr", 0.1), (105, "lr", 0.2), (300, "lr", 0.4)])
    marks = texts.changes_to_mark(Reading(History(), config, {}), 0.0, 500.0)
    assert (marks["x"], marks["label"]) == ([100, 105, 300], ["", "η = 0.2", "η = 0.4"])
    assert marks["align"] == ["left"] * 3


def test_nonsense_is_shown_beside_its_control(fake_engine):
    async def scene(page: ExplorePage):
        page._on_form({"edit": "lr", "value": "-0.1"})
        page._on_form({"edit": "width", "value": "many"})
        page.tick()
        assert "must be positive, got -0.1" in page.form.state["errors"]["lr"]
        assert "'many'" in page.form.state["errors"]["width"]

    play_page(fake_engine, scene)


def test_view_controls(fake_engine):
    async def scene(page: ExplorePage):
        data = page.canvas.table.source.data
        before = np.asarray(data["discrete.loss.smooth"]).copy()
        page._on_viewbar({"smoothing": "60"})
        page.tick()
        assert np.abs(np.asarray(page.canvas.table.source.data["discrete.loss.smooth"]) - before).max() > 1e-4
        page._on_viewbar({"smoothing": "wide"})
        assert page.canvas.table.sigma == 60
        page._on_legend(page.views[1], {"choose": "unit", "value": "raw"})
        page.tick()
        np.testing.assert_allclose(page.canvas.table.source.data["edge"], 2 / 0.3, rtol=1e-6)
        page._on_legend(page.views[0], {"choose": "scale", "value": "log"})
        page._on_legend(page.views[0], {"toggle": "raw"})
        page.tick()
        assert page.views[0].figure.y_range.start > 0
        assert [entry["on"] for entry in page.legends["loss"].state["entries"] if entry["label"] == "raw"] == [False]
        page._on_form({"flows": ["discrete", "central"]})
        page.tick()
        assert [entry["label"] for entry in page.legends["distance"].state["entries"]] == ["central"]

    play_page(fake_engine, scene)


def test_a_visitor_looks_back(fake_engine):
    """The valley, the sentence and a line on the plots are those of the step; news does not end it, another run does."""

    async def scene(page: ExplorePage):
        valley = next(view for view in page.views if view.key == "valley")
        newest = np.array(valley.points["central"].data["y"])
        page._on_scrubber({"moment": 250})
        page.tick()
        expected = page.session.history.series("central", "valley")[250][0]
        assert valley.points["central"].data["y"][0] == pytest.approx(expected, rel=1e-6)
        assert not np.allclose(newest, valley.points["central"].data["y"])
        assert page.canvas.moment.visible
        assert page.canvas.moment.location == 250
        assert page.status.state["sentence"].startswith("Step 250: ")
        page._on_transport({"action": "run"})
        await done(page)
        page.session.runner.play(5)
        page.tick()
        assert valley.points["central"].data["y"][0] == pytest.approx(expected, rel=1e-6)
        assert page.scrubber.state == {"first": 0, "last": 304, "moment": 250, "heard": 0}
        page._on_scrubber({"moment": None})
        page.tick()
        assert not page.canvas.moment.visible
        page._on_scrubber({"moment": 20})
        page._on_transport({"action": "reset"})
        await done(page)
        assert page.scrubber.state["moment"] is None

    play_page(fake_engine, scene)


def test_a_fork_is_drawn_beneath(fake_engine):
    async def scene(page: ExplorePage):
        renderers = len(page.figures["loss_plot"].renderers)
        page._on_transport({"action": "fork"})
        await done(page)
        page.session.former.play(3)
        page.tick()
        assert page.transport.state["forked"]
        former = page.canvas.tables[1].source.data
        assert float(former["step"][-1]) == 302
        assert len(page.canvas.table.source.data["step"]) == 300
        assert len(page.figures["loss_plot"].renderers) > renderers
        valley = next(view for view in page.views if view.key == "valley")
        assert len(valley.faint["discrete"].data["x"]) == 103  # since the edge, at step 200
        assert ("remark", "Faint curves: the version that was forked, now at step 302.") in page.status.state["notes"]
        page._on_form({"flows": ["discrete"]})
        page.tick()
        shown = [flow for view in page.views for _, flow, renderer in view.drawn if renderer.visible and renderer.level == "underlay"]
        assert set(shown) == {"discrete"}
        page._on_transport({"action": "drop"})
        await done(page)
        assert not len(page.canvas.tables[1].source.data["step"])
        assert not len(valley.faint["discrete"].data["x"])
        assert not page.transport.state["forked"]

    play_page(fake_engine, scene)


def test_a_message_that_means_nothing_does_nothing(fake_engine):
    async def scene(page: ExplorePage):
        page._on_transport({"action": "launch"})
        page._on_viewbar({"span": "forever"})
        page._on_legend(page.views[0], {"choose": "scale", "value": "cubic"})
        page._on_form({"edit": "no_such_field", "value": "1"})
        page.tick()
        assert "has no field `no_such_field`" in page.session.errors["no_such_field"]

    play_page(fake_engine, scene)


@pytest.mark.parametrize("name", [*form.PROBLEM, *form.RUN, *form.MORE, *form.OPTIMIZER, "lr"])
def test_a_control_says_what_its_field_says(name):
    control, parameter = form.field(name), RunConfig.param[name]
    assert (control["label"], control["doc"]) == (parameter.label, parameter.doc)
    if isinstance(parameter, param.Selector):
        assert [value for value, _ in control["choices"]] == parameter.objects
    elif isinstance(parameter, param.Number):
        assert (control["min"], control["max"]) == parameter.bounds


def test_nine_optimizers_are_laid_out():
    cells = [cell for row in form.specification()["optimizer"]["rows"] for cell in row["cells"]]
    assert {cell["value"] for cell in cells} == set(OPTIMIZER_NAMES)


def test_boxes_of_flows_and_observables():
    spec = form.specification()
    flows = {entry["value"]: entry for entry in (*spec["flows"]["entries"], *spec["flows"]["compared"])}
    assert list(flows) == RunConfig.param["flows"].objects
    for name, entry in flows.items():
        assert entry["optimizers"] == (list(ABLATIONS[name]) if name in ABLATIONS else None)
        assert entry["doc"] == glossary()[entry["term"]].text
        assert entry["stroke"][0] in LIGHT
        assert entry["stroke"][0] in DARK
    observed = spec["observe"]["entries"]
    assert [entry["value"] for entry in observed] == list(OBSERVABLES)
    assert all(OBSERVABLES[entry["value"]][1:] in entry["doc"] for entry in observed)


def test_every_flow_has_a_stroke_of_its_own():
    strokes = [(STROKES[name].color, STROKES[name].dash) for name in RunConfig.param["flows"].objects]
    assert len(set(strokes)) == len(strokes)
    assert len({dash for color, dash in strokes if color in ("stationary", "rod", "ablation")}) == 5  # colours that some see alike


def test_a_weight_is_chosen(fake_engine):
    async def scene(page: ExplorePage):
        gradients = page.views[5]
        page._on_form({"edit": "optimizer", "value": "adam"})
        page._on_form({"edit": "observe", "value": ["coordinates"]})
        await done(page)
        page._on_transport({"action": "run"})
        await done(page)
        page.session.runner.play(3)
        for option, value in (("unit", "nu"), ("weight", "4")):
            page._on_legend(gradients, {"choose": option, "value": value})
        page.tick()
        nu = page.session.history.series("rod", "nu_coordinates")[:, 4]
        np.testing.assert_allclose(page.canvas.table.source.data["rod.gradients.rod"], nu, rtol=1e-6)
        assert page.legends["gradients"].state["note"] == ""

    play_page(fake_engine, scene)


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match=r"^Port \d+ of 127\.0\.0\.1 cannot be used .*: give another, or 0 for any free one\.$"):
            serve(taken.getsockname()[1])


def test_only_this_machine_may_open_the_page_unless_told_otherwise():
    assert _names("127.0.0.1", 5006) == ["localhost:5006", "127.0.0.1:5006"]
    assert _names("10.0.0.5", 80) == ["10.0.0.5:80"]
    assert len(_names("0.0.0.0", 80)) == 4


def test_one_is_made_ahead():
    async def scene():
        made: list[int] = []

        def make() -> int:
            made.append(len(made))
            return made[-1]

        ahead = Ahead(make)
        await ahead.ready()
        assert ahead.take() == 0
        assert ahead.take() > 0  # the next one, or a fresh one if that is still being made
        await ahead.ready()

    asyncio.run(scene())


def test_a_component_says_which_message_it_has_heard(fake_engine):
    """So that its script draws nothing of before its last one."""

    async def scene(page: ExplorePage):
        page.viewbar._handle_msg({"smoothing": "30", "sent": 7})
        page.tick()
        assert (page.viewbar.state["smoothing"], page.viewbar.state["heard"]) == (30, 7)
        page.viewbar._handle_msg({"sent": "8", "smoothing": "40"})  # no script numbers so
        page.tick()
        assert (page.viewbar.state["smoothing"], page.viewbar.state["heard"]) == (40, 7)

    play_page(fake_engine, scene)


def test_nothing_is_drawn_before_the_browser_has_the_page(fake_engine):
    """Panel would lose it; and nothing is drawn twice for a browser that says again that it is there."""

    async def scene(page: ExplorePage):
        document, rounds = Document(), Rounds()
        with set_curdoc(document):
            rounds.open(explore(page))
        assert not rounds.pages
        for _ in range(2):
            document.callbacks.trigger_event(DocumentReady())
        assert rounds.pages == {page: document}

    play_page(fake_engine, scene)


def test_a_tick_without_news_draws_no_controls(fake_engine, monkeypatch):
    async def scene(page: ExplorePage):
        drawn = []
        monkeypatch.setattr(texts, "values_shown", lambda session, former=texts.values_shown: drawn.append(session) or former(session))
        monkeypatch.setattr(explore_module, "IDLE_SECONDS", math.inf)
        page.tick()
        drawn.clear()
        for _ in range(20):
            page.tick()
        assert drawn == []
        page._on_transport({"action": "run"})
        await done(page)
        page.tick()
        assert page.transport.state["status"] == "running"
        drawn.clear()
        page.session.runner.play(5)
        page.tick()
        assert page.transport.state["step"] == page.scrubber.state["last"] == int(page.session.history.steps[-1])
        assert drawn == []  # the run goes on, and the controls are as they were
        page.form._handle_msg({"edit": "lr", "value": "0.2", "sent": 3})
        page.tick()
        assert page.form.state["heard"] == 3
        await done(page)
        assert page.form.state["values"]["lr"] == "0.2"
        page.tick()
        drawn.clear()
        page.tick()
        assert drawn == []
        monkeypatch.setattr(explore_module, "IDLE_SECONDS", 0.0)
        page.tick()
        assert len(drawn) == 1

    play_page(fake_engine, scene)
