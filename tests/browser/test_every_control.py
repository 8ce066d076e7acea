"""A visit of every control of Explore and Compare, in both themes and on three screens: each does what a visitor expects of it, and none is
cut, covered, or forgotten here (tour.py).

A new control fails the last assertion by its name: give it a line in a table, or a step of the visit that uses it.
"""

from __future__ import annotations

import json
import shutil

import pytest

from cflows_app.stored import RUNS as STORED
from cflows_core.config import RunConfig
from tests.browser.conftest import SCREENS
from tests.browser.tour import all_used, legends, skip_to_the_plots, views

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

SMALL = "preset=digits-mlp&n_train=60&width=6&n_eigs=2&warm_start=0&steps=4000"

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


def test_every_control(tour):
    theme, width = tour.folder.name.split("-")
    tour.open()
    read_the_plots(tour)
    take_along(tour)
    # A run of one's own: what an earlier visit computed would be there already.
    tour.open(f"{SMALL}&seed={100 + sorted(SCREENS).index((theme, int(width)))}&lrr=1")
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


def take_along(tour):
    """Theme, Share, Export, Lecture, Code and a preset; on a small screen in the drawer, which the veil beside it closes."""
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
    visit.button("Lecture").click()
    visit.button("Begin a lecture").click()
    visit.button("Copy the link").click()
    tour.look("lecture", "[role=dialog]")
    page.get_by_label("Link for the audience").focus()
    visit.button("End the lecture").click()
    visit.button("Begin a lecture").wait_for()
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
