"""What axe-core, a checker of accessibility, finds on the page in the states that a visitor meets: nothing."""

from __future__ import annotations

import shutil

import pytest

from cflows_app.lessons.library import Library
from cflows_app.stored import RUNS

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
THEMES = [{"color_scheme": theme} for theme in ("light", "dark")]
ADAPTIVE = "preset=digits-mlp&optimizer=adam&n_train=60&width=6&n_eigs=2&warm_start=0&steps=4000&lr=0.01"


@pytest.fixture(scope="module")
def violations():
    """A function that gives what is wrong with a visitor's page, a line for each part of it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing: pip install 'cflows[dev]'")

    def found(visit) -> list[str]:
        visit.page.wait_for_function("!document.getAnimations().length")
        response = axe.Axe().run(visit.page).response
        return [f"{fault['impact']}: {fault['help']}: {node['html'][:120]}" for fault in response["violations"] for node in fault["nodes"]]

    return found


def test_the_first_screen(everywhere, violations):
    everywhere.open()
    assert violations(everywhere) == []


@pytest.mark.parametrize("visit", THEMES, indirect=True)
def test_a_run_its_refusals_and_what_one_takes_along(visit, violations):
    page = visit.page
    visit.open(f"{ADAPTIVE}&lrr=1")
    page.locator(".banner").wait_for()
    seen = {"banner": violations(visit)}
    visit.run(1)
    seen["running"] = violations(visit)
    field = page.get_by_label("Learning rate η (step size)", exact=True)
    for value, told in (("-1", page.locator("[data-field=lr] .refused")), ("0.02", page.get_by_text("Learning rate η: 0.02 from step"))):
        field.fill(value)
        field.press("Enter")
        told.wait_for()
        seen[value] = violations(visit)
    visit.button("Pause").click()
    page.get_by_text("paused", exact=True).wait_for(timeout=60_000)
    for name in ("Share", "Export", "Code"):
        visit.button(name).click()
        page.get_by_role("dialog", name=name).wait_for()
        seen[name] = violations(visit)
    page.keyboard.press("Escape")
    page.locator("#loss h2").focus()
    page.locator("#teach").wait_for()
    seen["card"] = violations(visit)
    assert {name: found for name, found in seen.items() if found} == {}


@pytest.mark.parametrize("visit", [PHONE | theme for theme in THEMES], indirect=True)
def test_the_drawer_of_a_phone(visit, violations):
    visit.open()
    with visit.sidebar():
        visit.page.locator("summary", has_text="More").click()
        assert violations(visit) == []


@pytest.mark.parametrize("visit", [*THEMES, PHONE], indirect=True)
def test_compare(visit, violations):
    shelf = visit.server.log.parent / "runs"
    for name in ("one.zarr", "two.zarr"):
        shutil.copytree(RUNS / "digits-mlp.zarr", shelf / name, dirs_exist_ok=True)
    visit.page.goto(f"{visit.server.url}compare?run=one.zarr&run=two.zarr")
    visit.page.get_by_role("columnheader", name="two").wait_for(timeout=60_000)
    assert violations(visit) == []
    with visit.sidebar():
        visit.button("Delete one").click()
        assert violations(visit) == []
        visit.page.get_by_role("group", name="Delete one?").get_by_role("button", name="Keep").click()


@pytest.mark.parametrize("visit", [*THEMES, PHONE], indirect=True)
def test_a_lesson(visit, violations):
    page = visit.page
    page.goto(f"{visit.server.url}lessons?lesson=gradient-descent")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    seen = {}
    for step in Library().lesson("gradient-descent").steps[:4]:
        page.get_by_role("heading", name=step.title, exact=True).wait_for()
        seen[step.title] = violations(visit)
        if step.revealed is not None:
            page.keyboard.press(" ")
            page.locator(".story .reveals > *").first.wait_for()
            seen[f"{step.title}, revealed"] = violations(visit)
        page.keyboard.press("ArrowRight")
    assert {name: found for name, found in seen.items() if found} == {}


@pytest.mark.parametrize("visit", [*THEMES, PHONE], indirect=True)
def test_the_gallery(visit, violations):
    page = visit.page
    seen = {}
    for query in ("", "?figure=cf-3", "?figure=nonsense"):
        page.goto(f"{visit.server.url}gallery{query}")
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        page.locator(".exhibit h2").wait_for()
        seen[query] = violations(visit)
    assert {query: found for query, found in seen.items() if found} == {}
