"""The gallery in Chromium: every figure by mouse and by keyboard, in both themes and on a phone, and nothing asked of another host."""

from __future__ import annotations

import pytest

from cflows_core.gallery import FIGURES
from tests.browser.conftest import SCREENS, SIZES, artefacts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def open_gallery(visit, query: str = "") -> None:
    visit.page.goto(f"{visit.server.url}gallery{query}")
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)


def drawn(visit) -> int:
    """How many panels are in sight, once each has its curves."""
    visit.page.wait_for_function("document.body.dataset.panels !== undefined")
    return visit.page.locator("#plots article.card:visible").count()


def test_a_figure_is_chosen_seen_and_left(visit):
    page = visit.page
    open_gallery(visit)
    assert page.locator(".hung").count() == len(FIGURES)
    page.locator(".hung", has_text="Figure 3").first.click()
    page.get_by_role("heading", name=FIGURES["cf-3"].title).wait_for()
    assert page.url.endswith("gallery?figure=cf-3")
    assert drawn(visit) == 2
    assert page.locator("#panel1 h2").inner_text() == "Sharpness 0.9 · 2/η"
    assert page.get_by_text("holds", exact=True).count() == 1
    page.get_by_role("button", name="All figures").click()
    page.get_by_role("heading", name="The papers’ figures").wait_for()
    assert page.url.endswith("/gallery")
    assert drawn(visit) == 0


@pytest.mark.slow
def test_the_overview_is_narrowed_to_a_verdict(visit):
    page = visit.page
    open_gallery(visit)
    chip = page.get_by_role("group", name="Only figures that are").get_by_role("button").first
    count = int(chip.inner_text().split()[0])
    chip.click()
    assert page.locator(".hung").count() == count
    page.get_by_role("group", name="Only figures that are").get_by_role("button").first.click()
    assert page.locator(".hung").count() == len(FIGURES)


@pytest.mark.slow
def test_by_the_keyboard_alone(visit):
    page = visit.page
    open_gallery(visit)
    button = page.locator("nav[aria-label=Figures] button.figure").first
    for _ in range(20):
        page.keyboard.press("Tab")
        if button.evaluate("button => button.getRootNode().activeElement === button"):
            break
    page.keyboard.press("Enter")
    page.locator(".exhibit .facts").wait_for()
    page.wait_for_function("document.activeElement.shadowRoot?.activeElement?.tagName === 'H2'")  # read aloud from here


def test_an_address_of_nothing(visit):
    open_gallery(visit, "?figure=../../etc/passwd")
    visit.page.get_by_text("There is no figure").wait_for()
    assert visit.page.locator(".hung").count() == len(FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_looked_at(browser, server, theme):
    """Leaves a picture of each in `artefacts/`; no script complains, and no card is cut."""
    folder = artefacts("gallery")
    page = browser.new_page(viewport={"width": 1440, "height": SIZES[1440]}, color_scheme=theme)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    for name in ("", *FIGURES):
        page.goto(f"{server.url}gallery{f'?figure={name}' if name else ''}")
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        page.locator(".exhibit .facts" if name else ".hung").first.wait_for(timeout=60_000)
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name or 'overview'}-{theme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
    assert complaints == []
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "width"), SCREENS)
def test_nothing_is_wider_than_the_screen(browser, server, theme, width):
    page = browser.new_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=theme)
    for query in ("", "?figure=cf-3", f"?figure={list(FIGURES)[-1]}"):
        page.goto(f"{server.url}gallery{query}")
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        page.locator(".exhibit h2").wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), query
    page.close()
