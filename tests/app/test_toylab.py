"""The toy lab without a browser: settings and their addresses, what is drawn against closed forms, and what a visitor can do wrong."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import threading
from urllib.parse import parse_qs

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from hypothesis import given, settings
from hypothesis import strategies as st

from cflows_app.glossary import glossary, term_of
from cflows_app.pages.toylab import ToyLabPage
from cflows_app.shell import page_template
from cflows_app.toylab import form, results, words
from cflows_app.toylab.board import PERIOD_COLORS
from cflows_app.toylab.landscape import contours, curvatures
from cflows_app.toylab.lane import Lane
from cflows_app.toylab.orbit import BINS, thinned
from cflows_app.toylab.setting import FIELDS, FIRST, LONGEST, Setting, read
from cflows_core.config import OPTIMIZER_NAMES
from cflows_core.errors import ConfigError
from cflows_core.palette import DARK, LIGHT
from tests.app.test_hostile import STRANGE
from tests.app.test_theme import APART, SIGHTS, lab, linear

LOSSES = ("linear", "quadratic", "quartic", "valley", "formula")
# What no loss is, though some of it is Python, or would be harmful as such.
HOSTILE = [
    "",
    " ",
    "__import__('os').system('ls')",
    "().__class__.__bases__",
    "x.__class__",
    "x[0]",
    "x = 3",
    "x := 3",
    "x; x",
    "lambda: x",
    "[x for x in y]",
    "{x}",
    "{'x': 1}",
    "f'{x}'",
    "'x'",
    "x if x else y",
    "x and y",
    "x < y",
    "not x",
    "True",
    "1j",
    "9**9**9**9",
    "((((" * 40 + "x" + "))))" * 40,
    "x" * 10_000,
    "x\0",
    "ｘ",
    "exec(x)",
    "exp(x, y)",
    "exp(x=1)",
    "exp(*x)",
    "z + 1",
    "0/0",
    "x +",
    "<b>x</b>",
]


def arguments(text: str) -> dict[str, list[bytes]]:
    """A query as the web server gives it."""
    return {name: [value.encode() for value in values] for name, values in parse_qs(text, keep_blank_values=True).items()}


def at(**fields: object) -> Setting:
    """A setting of these fields, in the order in which they are given."""
    setting = FIRST
    for name, value in fields.items():
        setting = setting.changed(name, value)
    return setting


async def settled(page: ToyLabPage) -> None:
    """Let everything that is asked for be computed and drawn."""
    while True:
        page.tick()
        lanes = (page._walks, page._diagrams, page._flows, page._tables)
        if not page._tasks and not any(lane.waits or lane.done for lane in lanes):
            return
        await asyncio.gather(*page._tasks)


@pytest.fixture
def quick(monkeypatch):
    """Pages whose flows and tables are not computed: their walks and diagrams are."""
    monkeypatch.setattr(results, "followed", results.walked)
    monkeypatch.setattr(results, "expected", lambda setting: [])
    monkeypatch.setattr(results, "_transient", lambda setting: 100)
    monkeypatch.setattr(results, "COLUMNS", 40)
    monkeypatch.setattr(results, "KEPT", 48)
    monkeypatch.setattr(results, "SIDE", 8)
    results._diagram.cache_clear()
    yield
    results._diagram.cache_clear()


# -- Settings --------------------------------------------------------------------------------------------------------------------------


def value_of(name: str) -> st.SearchStrategy:
    parameter = FIELDS[name]
    if name == "formula":
        return st.sampled_from(["x^2", "1 - cos(x)", "x^4/4 + y^2 - x*y", "log(cosh(3*x))"])
    if hasattr(parameter, "objects"):
        return st.sampled_from(list(parameter.objects))
    low, high = parameter.bounds
    return st.floats(low, 1e3 if high is None else high, exclude_min=name == "lr", exclude_max=name == "beta1")


@given(st.fixed_dictionaries({name: value_of(name) for name in FIELDS}))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_setting_comes_back_from_its_address(fields):
    setting = Setting(**fields)
    found, problems = read(arguments(setting.query))
    assert problems == []
    assert {name: getattr(found, name) for name in ("loss", "optimizer", "lr", *setting.asked)} == {
        name: getattr(setting, name) for name in ("loss", "optimizer", "lr", *setting.asked)
    }
    assert found.query == setting.query
    assert len(setting.query) < LONGEST


@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(list(FIELDS)), st.lists(st.binary(max_size=30), max_size=2)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_an_address_says_gives_a_setting(given_arguments):
    setting, problems = read(given_arguments)
    assert all(0 < len(problem) < 700 for problem in problems)
    for name in FIELDS:
        assert Setting.check(name, getattr(setting, name)) == getattr(setting, name)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("lr=0", "`lr` must be positive, got 0"),
        ("lr=many", "`lr` must be positive, got 'many'"),
        ("loss=cubic", "`loss` must be one of linear, quadratic, quartic, valley, formula, got 'cubic'"),
        ("beta1=1.5", "`beta1` must be a number from 0 to 1.0, got 1.5"),
        ("wrong=1", "The toy lab has no field `wrong`"),
        ("x=nan", "`x` must be a finite number"),
        ("loss=formula&formula=x.y", ""),
        ("formula=" + 3000 * "x", "An address of the toy lab has at most 2,000 characters"),
    ],
)
def test_a_part_of_an_address_that_cannot_be_taken_is_told(query, told):
    setting, problems = read(arguments(query))
    assert len(problems) == 1
    assert told in problems[0]
    assert setting.lr > 0


@pytest.mark.parametrize("formula", HOSTILE)
def test_a_formula_that_is_none_is_refused_in_a_sentence(formula):
    with pytest.raises(ConfigError) as refusal:
        FIRST.changed("formula", formula)
    sentence = str(refusal.value)
    assert 20 < len(sentence) < 400
    assert sentence.rstrip().endswith((".", ")", "?"))
    assert "\n" not in sentence


def test_another_loss_or_optimizer_keeps_the_distance_from_the_edge():
    setting = at(lr=2.5)
    for name, value in (("sharpness", 4.0), ("optimizer", "heavy_ball"), ("loss", "quadratic"), ("optimizer", "nesterov")):
        setting = setting.changed(name, value)
        assert setting.edge == pytest.approx(1.25, rel=1e-3)
    assert setting.changed("beta1", 0.5).lr == setting.lr
    assert setting.changed("optimizer", "adam").edge is None
    assert setting.changed("loss", "linear").edge is None


def test_the_curvature_of_a_formula_is_that_of_its_minimum():
    setting = at(loss="formula", formula="3*(x-2)^2 + cos(0*x)", x=0.5)
    assert setting.curvature == pytest.approx(6.0, abs=1e-6)
    assert at(loss="formula", formula="x").curvature == 0.0
    assert at(loss="formula", formula="x^2 + 4*y^2").curvature == pytest.approx(8.0, abs=1e-6)


# -- What is computed ------------------------------------------------------------------------------------------------------------------


def test_the_diagram_of_gradient_descent_on_the_quartic_is_the_known_one():
    found = results.diagram((at(sharpness=2.0, gamma=3.0, lr=1.0), ("lr",)))
    relative = found.values[0] * 2.0  # η S₀
    away = np.abs(relative - 2) > 0.05  # close to the edge it takes long to come to rest
    np.testing.assert_array_equal(found.period[away & (relative < 2)], 1)
    inside = (relative > 2.05) & (relative < 2.95)
    np.testing.assert_array_equal(found.period[inside], 2)
    cycle = np.sqrt((2.0 - 2 / found.values[0][inside]) / 3.0)
    np.testing.assert_allclose(np.abs(found.points[inside]).max(axis=1), cycle, rtol=1e-6)
    # The cubic map's 2-cycle splits at 1 + √5, and beyond 4 nothing holds it.
    np.testing.assert_array_equal(found.period[(relative > 3.05) & (relative < 1 + math.sqrt(5) - 0.02)], 2)
    assert set(found.period[(relative > 1 + math.sqrt(5) + 0.01) & (relative < 3.28)]) == {4}
    np.testing.assert_array_equal(found.period[relative > 4.01], -1)
    assert found.middle(4) * 2.0 == pytest.approx(3.26, abs=0.03)
    assert found.middle(7) is None


def test_a_diagram_does_not_depend_on_what_it_goes_over():
    one, other = at(lr=2.5), at(lr=3.1, length="200")
    assert results.diagram((one, ("lr",))) is results.diagram((other, ("lr",)))
    momentum = at(optimizer="heavy_ball", beta1=0.5)
    assert results.general(momentum, ("lr",)) != results.general(momentum.changed("beta1", 0.6), ("lr",))
    assert results.general(momentum, ("lr", "beta1")) == results.general(momentum.changed("beta1", 0.6), ("lr", "beta1"))


def test_a_map_over_momentum_shows_the_threshold(quick):
    found = results.diagram((at(loss="quadratic", optimizer="heavy_ball"), ("lr", "beta1")))
    lr, beta1 = np.meshgrid(*found.values, indexing="ij")
    relative = lr / (2 * (1 + beta1) / (1 - beta1))
    assert found.flat
    assert set(found.period[relative > 1.1]) == {-1}
    assert set(found.period[(relative < 0.9) & (beta1 < 0.9)]) == {1}


def test_points_that_would_be_drawn_on_one_another_are_drawn_once():
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (3, 5000))
    values, columns = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    x, y = thinned(values, places, columns, -1.0, 1.0)
    assert set(x) == {1.0, 3.0}
    for value, row in zip(values[columns], places[columns], strict=True):
        kept = y[x == value]
        assert len(kept) <= BINS
        assert np.abs(row[:, None] - kept[None]).min(axis=1).max() <= 2 / BINS  # nothing vanished


def test_the_tinted_region_is_where_the_curvature_exceeds_the_edge():
    setting = at(lr=2.5)
    scene = results.walked(setting)
    assert scene.critical(7) == pytest.approx(2 / 2.5)
    x = np.linspace(-1, 1, 2001)
    np.testing.assert_allclose(curvatures(setting.toy, x), 1 - 3 * x**2, atol=1e-12)
    bound = math.sqrt((1 - 2 / 2.5) / 3)
    assert np.abs(x[curvatures(setting.toy, x) > scene.critical(7)]).max() == pytest.approx(bound, abs=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_the_walk_that_comes_at_once_is_that_with_its_flows(optimizer):
    setting = at(optimizer=optimizer, length="50")
    setting = setting.changed("lr", 0.9 * setting.typical)
    quick, whole = results.walked(setting), results.followed(setting)
    rows = min(len(quick.walk.w), len(whole.walk.w)) - 1  # the last midpoint is of two iterates or of three
    for name in ("w", "x", "loss", "eigenvalue", "centre", "eigenvalue_centre"):
        np.testing.assert_allclose(
            getattr(quick.walk, name)[1:rows], getattr(whole.walk, name)[1:rows], rtol=1e-9, atol=1e-12, err_msg=name
        )
    assert whole.period is not None


def test_a_step_at_the_edge_has_the_eigenvalue_minus_one():
    for optimizer in ("gd", "heavy_ball", "nesterov"):
        setting = at(loss="quadratic", optimizer=optimizer)
        scene = results.walked(setting.changed("lr", setting.typical))
        assert np.abs(scene.eigenvalues + 1).min(axis=1).max() == pytest.approx(0, abs=1e-7)


def test_contours_are_places_of_equal_loss():
    setting = at(loss="valley")
    xs, ys = contours(setting, (0.0, 3.0, -1.0, 1.0))
    assert len(xs) > 8
    for u, x in zip(xs, ys, strict=True):
        values = (1 + u) * np.log1p(0.5 * x**2) + 0.015 * (u - 3) ** 2
        assert np.ptp(values) < 0.02 * (1 + np.abs(values).max())


def test_the_table_has_every_closed_form_and_they_agree():
    rows = results.expected(at(optimizer="nesterov"))
    assert len(rows) >= 5
    assert all(row["agrees"] for row in rows)
    assert all(row["formula"].startswith("<math") and row["source"] for row in rows)


# -- The page --------------------------------------------------------------------------------------------------------------------------


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
            assert results.periods(ends.points, results.SAME)[0] == period
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
