"""A visit of every control of Explore and Compare, in both themes and on three screens: each does what a visitor expects of it, and none is
cut, covered, or forgotten here. Stations of the visit are kept as pictures in `artefacts/`, or in $CFLOWS_ARTEFACTS.

A new control fails the last assertion by its name: give it a line in a table, or a step of the visit that uses it.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cflows_app.stored import RUNS as STORED
from cflows_core.config import RunConfig

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

HERE = Path(__file__).parent
SMALL = "preset=digits-mlp&n_train=60&width=6&n_eigs=2&warm_start=0&steps=4000"
DRAWER = {"Configuration", "Close the configuration"}  # where the window is wide the configuration stands beside the plots

# The sidebar's fields in an order in which each value goes together with those before it. The code on the page tells that it is taken.
PROBLEM = [("dataset", "chebyshev"), ("degree", "4"), ("dataset", "digits"), ("architecture", "cnn"), ("architecture", "mlp")]
PROBLEM += [("n_train", "50"), ("depth", "3"), ("activation", "gelu_relu"), ("activation_mix", "0.5"), ("width", "8")]
PROBLEM += [("criterion", "cross_entropy"), ("criterion", "mse"), ("classes", "2")]
OPTIMIZER = [
    ("beta1", "0.8"),
    ("beta2", "0.98"),
    ("eps", "1e-07"),
    ("bias_correction", "off"),
    ("schedule", "cosine(300, 0.1)"),
    ("lr", "0.01"),
]
RUN = [("seed", "3"), ("dtype", "float64"), ("device", "cpu")]
MORE = [("warm_start", "2"), ("steps", "3000"), ("substeps", "3"), ("n_eigs", "3"), ("rod_rank", "2"), ("rod_coordinates", "raw")]
MORE += [
    ("rod_correction", "backward_error"),
    ("head_scale", "0.9"),
    ("targets", "signed"),
    ("derivatives", "differences"),
    ("threads", "2"),
]
# Loss of the toy lab -> its fields, each with a value.
TOY = {
    "Linear": {"slope": "2"},
    "Quadratic": {"sharpness": "2"},
    "Quartic": {"gamma": "2"},
    "Valley, 2-D": {"sharpness": "1.5", "rise": "0.5", "floor": "0.05", "target": "2", "bend": "0.4", "x": "0.2", "y": "0.3"},
    "Your formula": {"formula": "x"},
}


@dataclass
class Tour:
    """One visitor's way through the page: what they did, and what was wrong with what they saw."""

    visit: Any
    folder: Path
    used: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    pictures: int = 0

    @property
    def page(self) -> Any:
        return self.visit.page

    def open(self, query: str = "") -> None:
        self.note()
        self.visit.open(query)

    def look(self, name: str, within: str = "main") -> None:
        """Keep a picture, and note what is wrong with the controls within `within`."""
        self.pictures += 1
        self.page.screenshot(path=self.folder / f"{self.pictures:02}-{name}.png")
        self.note()
        self.faults += [f"{name}: {fault}" for fault in self.page.evaluate("within => controls.faults(within)", within)]

    def note(self) -> None:
        """Which controls there are, and which of them were used."""
        names, used = self.page.evaluate("window.controls ? [controls.names(), controls.used()] : [[], []]")
        self.names |= set(names)
        self.used |= set(used)

    def until(self, expression: str, argument: Any = None) -> None:
        self.page.wait_for_function(expression, arg=argument, timeout=60_000, polling=20)

    @property
    def script(self) -> Any:
        """The field with the Python script that the page offers."""
        return self.page.get_by_role("textbox", name="Python", include_hidden=True).element_handle()

    def code(self, with_: str = "", without: str = "") -> None:
        """Wait until the script says the one and not the other."""
        said = "([field, yes, no]) => field.value.includes(yes) && !(no && field.value.includes(no))"
        self.until(said, [self.script, with_, without])

    def paints(self, panel: str, act: Any) -> None:
        """`act` changes the picture in a panel."""
        canvas = self.page.locator(f"#{panel} .plot canvas").first.element_handle()
        before = canvas.evaluate("canvas => controls.settled(canvas)")
        act()
        self.until("([canvas, before]) => controls.picture(canvas) !== before", [canvas, before])

    def curves(self, panel: str) -> str:
        """The number of curves that a panel draws, as an expression in the page."""
        return f"Bokeh.documents[0].get_model_by_name('{panel}_plot').renderers.filter((renderer) => renderer.visible).length"


@pytest.fixture
def tour(everywhere, request) -> Tour:
    folder = Path(os.environ.get("CFLOWS_ARTEFACTS") or HERE / "artefacts") / request.node.callspec.id
    folder.mkdir(parents=True, exist_ok=True)
    everywhere.page.add_init_script(path=HERE / "controls.js")
    return Tour(everywhere, folder)


def test_every_control(tour):
    tour.open()
    read_the_plots(tour)
    take_along(tour)
    tour.open(f"{SMALL}&lrr=1")
    tour.look("refused-address")
    tour.visit.button("Dismiss").click()
    tour.page.locator(".banner").wait_for(state="hidden")
    run(tour)
    with tour.visit.sidebar():
        configure(tour)
    legends(tour)
    all_used(tour)


def test_every_control_of_compare(tour):
    page, visit = tour.page, tour.visit
    shelf = visit.server.log.parent / "runs"
    runs = [f"{tour.folder.name} {i}" for i in (1, 2)]
    shutil.rmtree(shelf, ignore_errors=True)  # what other visits kept
    for name in runs:
        shutil.copytree(STORED / "digits-mlp.zarr", shelf / f"{name}.zarr")
    page.goto(f"{visit.server.url}compare?run=nothing.zarr")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    page.get_by_text("There is no run called 'nothing.zarr'").first.wait_for()
    visit.button("Dismiss").click()
    page.locator(".banner").wait_for(state="hidden")
    with visit.sidebar():
        for i, name in enumerate(runs):
            page.get_by_label(name, exact=True).check()
            tour.until("name => (Bokeh.documents[0].get_model_by_name(name)?.data.step.length ?? 0) > 300", ["table", "table-1"][i])
        for flow in ("Rod flow", "Stable flow", "Central flow", "Optimizer"):
            box = page.get_by_role("checkbox", name=flow, exact=True)
            tour.paints("eigenvalues", box.click)
            tour.paints("eigenvalues", box.click)
        for flow in ("Rod flow", "Stable flow"):
            page.get_by_role("checkbox", name=flow, exact=True).check()
        tour.look("runs", "#side")
        page.locator("#theme").click()
        page.locator("#theme").click()
        for link in ("Explore", "Compare", "Lessons", "Toy lab", "Gallery", *(f"Open {name} on Explore" for name in runs)):
            page.get_by_role("link", name=link, exact=True).click(modifiers=["ControlOrMeta"])
    skip_to_the_plots(tour, "compared")
    page.get_by_role("radio", name="Flows", exact=True).check()  # all of these runs is the last 500 steps, too
    views(tour)
    tour.look("compared-panned")
    if page.locator("#menu").is_visible():
        visit.open_drawer()
        page.locator(".veil").click(position={"x": page.viewport_size["width"] - 20, "y": 60})
        page.locator("#side").wait_for(state="hidden")
    with visit.sidebar():
        for name in runs:
            page.get_by_label(name, exact=True).uncheck()
            visit.button(f"Delete {name}").click()
            page.get_by_role("group", name=f"Delete {name}?").get_by_role("button", name="Keep").click()
            visit.button(f"Delete {name}").click()
            tour.note()
            page.get_by_role("group", name=f"Delete {name}?").get_by_role("button", name="Delete for ever").click()
            page.get_by_label(name, exact=True).wait_for(state="detached")
    assert not [path for path in shelf.iterdir() if path.stem in runs]
    all_used(tour)


def test_every_control_of_the_toy_lab(tour):
    page, visit = tour.page, tour.visit
    page.goto(f"{visit.server.url}toylab?wrong=1&optimizer=adam&loss=valley&length=50")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    visit.button("Dismiss").click()
    page.locator(".banner").wait_for(state="hidden")
    page.locator("#orbits .fact", has_text="points in").wait_for(timeout=120_000)
    skip_to_the_plots(tour, "toy-lab")
    with visit.sidebar():
        tour.look("toy-lab-form", "#side")
        for loss, fields in TOY.items():
            page.get_by_role("radio", name=loss, exact=True).check()
            tour.until(
                "field => document.activeElement && field.checkVisibility()",
                page.locator(f"#field-{next(reversed(fields))}").element_handle(),
            )
            for name, value in fields.items():
                field = page.locator(f"#field-{name}")
                field.fill(value)
                field.press("Enter")
                tour.until("said => location.search.includes(said)", f"{name}={value}")
        for cell in page.locator(".cell input[name=optimizer]").all():
            cell.check()
            tour.until("name => location.search.includes(`optimizer=${name}&`)", cell.get_attribute("value"))
        for name, value in (("beta1", "0.8"), ("beta2", "0.98"), ("lr", "0.2")):
            field = page.locator(f"#field-{name}")
            field.fill(value)
            field.press("Enter")
            tour.until("said => location.search.includes(said)", f"{name}={value}")
            page.locator(f"[data-field={name}] input[type=range]").fill("300")
            tour.until("said => !location.search.includes(said)", f"{name}={value}&")
        page.locator("#field-bias_correction").select_option("off")
        page.locator("#field-length").select_option("200")
        tour.until("location.search.includes('bias_correction=off') && location.search.includes('length=200')")
        page.get_by_role("radio", name="Quartic", exact=True).check()
        page.get_by_role("radio", name="GD", exact=True).check()
        for place in ("Rest", "At the edge", "Just above", "2-cycle", "Period 4", "Chaos"):
            button = visit.button(place)
            visit.until(lambda button=button: button.get_attribute("aria-disabled") == "false", 120)
            address = page.url
            button.click()
            tour.until("address => location.href !== address", address)
        page.locator("#theme").click()
        page.locator("#theme").click()
        for link in ("Explore", "Compare", "Lessons", "Toy lab"):
            page.get_by_role("link", name=link, exact=True).click(modifiers=["ControlOrMeta"])
    play(tour)
    with visit.sidebar():
        page.get_by_role("radio", name="Valley, 2-D", exact=True).check()
        page.get_by_role("radio", name="Adam", exact=True).check()
        page.locator("#field-length").select_option("50")
        tour.until("location.search.includes('length=50')")
    page.locator("#position .choices").get_by_role("radio", name="u", exact=True).check(timeout=120_000)
    page.locator("#position .choices").get_by_role("radio", name="x", exact=True).check()
    page.locator("#landscape .entry", has_text="central").wait_for(timeout=180_000)  # drawn for two weights alone
    over = page.locator("#orbits .choices select")
    for value in ("beta2", "lr-beta1", "lr"):
        over.select_option(value)
        page.locator("#orbits .fact", has_text=" in ").wait_for(timeout=180_000)
    legends(tour)
    tour.note()
    tour.look("toy-lab-valley")
    assert tour.faults == []
    # A choice is made anew where the optimizer has other parameters to go over: those of the optimizers passed on the way stay hidden.
    width = page.viewport_size["width"]
    left = tour.names - tour.used - (DRAWER if width > 1100 else set())
    assert {name for name in left if not name.startswith("orbits: ")} == set()


def play(tour):
    """Every way to a step of the walk."""
    page, visit = tour.page, tour.visit
    told = page.locator(".player output")
    for name, at in (("To the start (Home)", 0), ("One step on (→)", 1), ("One step back (←)", 0), ("To the last step (End)", 200)):
        visit.button(name).click()
        visit.until(lambda at=at: told.inner_text().startswith(f"step {at} "))
    page.get_by_label("Step shown", exact=True).fill("20")
    visit.until(lambda: told.inner_text().startswith("step 20 "))
    page.get_by_label("Steps a second", exact=True).select_option("20")
    visit.button("Play").click()
    visit.until(lambda: int(told.inner_text().split()[1]) > 23)
    visit.button("Pause").click()


def all_used(tour):
    """Every control was used, and nothing was wrong with any."""
    tour.note()
    assert tour.faults == []
    width = tour.page.viewport_size["width"]
    assert tour.names - tour.used - (DRAWER if width > 1100 else set()) == set()


def skip_to_the_plots(tour, picture):
    """By the link that the keyboard meets first."""
    tour.page.evaluate("document.activeElement.blur()")
    tour.page.locator(".skip").focus()
    tour.page.keyboard.press("Enter")
    tour.until("document.activeElement.id === 'plots'")
    tour.page.evaluate("scrollTo(0, 0)")
    tour.look(picture)


def read_the_plots(tour):
    """What changes the view of a run that is there: the stored one of the first screen."""
    page = tour.page
    skip_to_the_plots(tour, "first")
    views(tour)
    page.locator("#moment").fill("200")
    page.locator(".sentence", has_text="Step 200:").wait_for()
    tour.look("looking-back")
    page.get_by_role("button", name="Play through the run's steps").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Newest").click()
    page.get_by_role("button", name="Newest").wait_for(state="hidden")
    assert page.locator("#moment").input_value() == "400"


def views(tour):
    """What changes how runs are drawn."""
    page, visit = tour.page, tour.visit
    choices(tour)
    legends(tour)
    smoothing = page.get_by_label("Smoothing", exact=True)
    smoothing.fill("5")
    tour.paints("loss", lambda: smoothing.press("Enter"))
    for name in ("Steps shown", "The horizontal axis counts"):
        alternate(tour, "loss", page.get_by_role("radiogroup", name=name))
    for i, picture in enumerate(page.locator("details.save button").all()):
        page.get_by_text("Save", exact=True).click()
        if i == 0:
            tour.look("save", "details.save")
        with page.expect_download() as download:
            picture.click()
        assert download.value.suggested_filename.endswith(f".{picture.text_content().lower()}")
    visit.pan()
    tour.look("panned")
    visit.button("Follow").click()
    visit.button("Follow").wait_for(state="hidden")


def choices(tour):
    """Every choice of every panel redraws it, and its first brings the former picture back."""
    for panel in (article.get_attribute("id") for article in tour.page.locator("article").all()):
        offered = tour.page.locator(f"#{panel} .choices")
        for group in offered.get_by_role("radiogroup").all():
            alternate(tour, panel, group)
        for select in offered.locator("select").all():
            values = select.evaluate("select => [...select.options].map((option) => option.value)")
            for value in (values[1], values[-1], values[0]):
                tour.paints(panel, lambda select=select, value=value: select.select_option(value))


def alternate(tour, panel, group):
    """Each choice that is not taken redraws the panel, and so does the way back."""
    radios = group.get_by_role("radio").all()
    taken = next(radio for radio in radios if radio.is_checked())
    for radio in radios:
        if radio is not taken:
            tour.paints(panel, radio.check)
            tour.paints(panel, taken.check)


def legends(tour):
    """Every entry that was not used yet hides its curves and shows them again."""
    for panel in (article.get_attribute("id") for article in tour.page.locator("article").all()):
        for label in tour.page.locator(f"#{panel} .entry").all_inner_texts():
            if f"{panel}: {label}" in tour.used:
                continue
            entry = tour.page.locator(f"#{panel}").get_by_role("button", name=label, exact=True)
            pressed, drawn = entry.get_attribute("aria-pressed"), tour.page.evaluate(tour.curves(panel))
            for turned in (True, False):
                entry.click()
                entry.and_(tour.page.locator(f".entry:not([aria-pressed={pressed}])" if turned else f"[aria-pressed={pressed}]")).wait_for()
                tour.until(f"{tour.curves(panel)} {'!==' if turned else '==='} {drawn}")


def take_along(tour):
    """Theme, Share, Export, Code and a preset; on a small screen in the drawer, which the veil beside it closes."""
    page, visit = tour.page, tour.visit
    width = page.viewport_size["width"]
    small = page.locator("#menu").is_visible()
    assert small == (width <= 1100)
    if small:
        visit.open_drawer()
    tour.look("configuration", "#side")
    for _ in range(2):
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        tour.until("paper => getComputedStyle(document.body).backgroundColor !== paper", paper)
    visit.button("Share").click()
    page.get_by_text("Copied. This address opens the same run").wait_for()
    tour.look("share", "[role=dialog]")
    visit.button("Keep").click()
    page.get_by_label("Name", exact=True).fill(tour.folder.name)
    visit.button("Keep it").click()
    page.get_by_text(f"Kept as {tour.folder.name}").wait_for()
    tour.look("keep", "[role=dialog]")
    for link in ("Explore", "Compare", "Lessons", "Toy lab", "Gallery"):
        page.get_by_role("link", name=link, exact=True).first.click(modifiers=["ControlOrMeta"])
    visit.button("Export").click()
    tour.look("export", "[role=dialog]")
    for label in ("CSV", "NetCDF", "Zarr"):
        with page.expect_download(timeout=60_000) as arriving:
            page.get_by_role("button", name=label).click()
        page.get_by_text(f"Saved {arriving.value.suggested_filename}.").wait_for()
    visit.button("Code").click()
    tour.look("code", "[role=dialog]")
    for i, name in enumerate(("Copy the Python script", "Copy the command line")):
        visit.button(name).click()
        page.get_by_text("Copied.", exact=True).nth(i).wait_for()
    page.keyboard.press("Escape")
    page.get_by_label("Preset", exact=True).select_option("digits-diverges")
    page.locator(".sentence", has_text="Press Run").wait_for(state="attached")
    assert "--preset digits-diverges" in page.get_by_role("textbox", name="Command line", include_hidden=True).input_value()
    if small:
        page.locator(".veil").click(position={"x": width - 20, "y": 60})
        page.locator("#side").wait_for(state="hidden")


def configure(tour):
    """Every field, all nine optimizers, every flow and observable."""
    page = tour.page
    take(tour, PROBLEM)
    first, *others = page.locator(".cell input").all()
    for cell in (*others, first):
        cell.check()
        name = cell.get_attribute("value")
        tour.code(*["", "optimizer="] if name == "gd" else [f'optimizer="{name}"'])
    page.get_by_role("radio", name="Adam", exact=True).check()
    take(tour, OPTIMIZER)
    slider = page.get_by_label("Learning rate η, on a logarithmic scale")
    slider.fill("200")
    tour.until("([slider, field]) => Number(field.value) > 0.01", [slider.element_handle(), page.locator("#field-lr").element_handle()])
    tour.code("lr=", without="lr=0.01,")
    page.get_by_role("radio", name="RMSProp", exact=True).check()
    take(tour, [("lr", "0.005"), *RUN])
    page.locator("summary", has_text="More").click()
    take(tour, MORE)
    for label in page.locator("label.flow:visible").all_inner_texts():
        tick(tour, label)
        if not page.get_by_role("checkbox", name=label, exact=True).is_checked():
            tick(tour, label)
    tour.look("configured", "#side")


def take(tour, fields):
    for name, value in fields:
        control = tour.page.locator(f"#field-{name}")
        if control.evaluate("control => control.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
            control.press("Enter")
        default = RunConfig.param[name].default
        number = isinstance(default, int | float)
        said = json.dumps(type(default)(value) if number else value)
        tour.code(*["", f" {name}="] if value == default else [f" {name}={said},"])
        assert tour.page.locator(f"[data-field={name}] .refused").is_hidden()


def tick(tour, label):
    """A click on a flow's or an observable's box turns the legends or the code."""
    told = "field => [field.value, ...controls.names()].join()"
    before = tour.script.evaluate(told)
    tour.page.get_by_role("checkbox", name=label, exact=True).click()
    tour.until(f"([field, before]) => ({told})(field) !== before", [tour.script, before])


def run(tour):
    """Step, Run, speed, Pause, Fork here, Drop former, Reset; and the flow that exists for this optimizer alone."""
    page, visit = tour.page, tour.visit
    with visit.sidebar():
        tick(tour, "Modified flow")
    legends(tour)
    visit.button("Step").click()
    visit.wait("table.step.length == 1")
    speed = page.get_by_label("Speed", exact=True)
    speed.fill("1")
    page.locator("output", has_text="2/s").wait_for()
    visit.button("Run").click()
    page.locator("dl.foot dd", has_text="limited by the speed you set").wait_for(timeout=60_000)
    speed.fill("7")
    visit.wait("table.step[table.step.length - 1] > 4")
    tour.look("running")
    visit.button("Pause").click()
    page.get_by_text("paused", exact=True).wait_for(timeout=30_000)
    visit.button("Fork here").click()
    visit.button("Drop former").click()
    visit.button("Fork here").wait_for()
    tour.look("paused")
    visit.button("Reset").click()
    visit.wait("table.step.length == 0")
    tour.look("reset")
