"""A visit of every control of the toy lab, as test_every_control.py visits Explore and Compare."""

from __future__ import annotations

import pytest

from tests.browser.tour import DRAWER, legends, skip_to_the_plots

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

# Loss of the toy lab -> its fields, each with a value.
TOY = {
    "Linear": {"slope": "2"},
    "Quadratic": {"sharpness": "2"},
    "Quartic": {"gamma": "2"},
    "Valley, 2-D": {"sharpness": "1.5", "rise": "0.5", "floor": "0.05", "target": "2", "bend": "0.4", "x": "0.2", "y": "0.3"},
    "Your formula": {"formula": "x"},
}


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
            button = page.get_by_role("group", name="Set η").get_by_role(
                "button", name=place, exact=True
            )  # a legend may have an entry of that name
            visit.until(lambda button=button: button.get_attribute("aria-disabled") == "false", 120)
            address = page.url
            button.click()
            tour.until("address => location.href !== address", address)
        page.locator("#theme").click()
        page.locator("#theme").click()
        for link in ("Explore", "Compare", "Lessons", "Toy lab", "Gallery"):
            page.get_by_role("link", name=link, exact=True).click(modifiers=["ControlOrMeta"])
    if page.locator("#menu").is_visible():
        visit.open_drawer()
        page.locator(".veil").click(position={"x": page.viewport_size["width"] - 20, "y": 60})
        page.locator("#side").wait_for(state="hidden")
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
