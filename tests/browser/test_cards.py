"""The cards that teach, by pointer, keyboard and finger."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_card_comes_where_one_points_and_goes_again(visit):
    visit.open()
    card = visit.page.locator("#teach")
    visit.page.locator("#covariance h2").hover()
    card.wait_for(timeout=30_000)
    assert "Covariance Σ" in card.inner_text()
    # The browser has drawn a formula: MathML is laid out, larger than nothing.
    assert visit.page.locator("#teach math").bounding_box()["width"] > 40
    card.hover()  # it may be read
    visit.page.wait_for_timeout(500)
    assert card.is_visible()
    visit.page.keyboard.press("Escape")
    assert not card.is_visible()
    # From one curve to the next within a component.
    for entry, title in (("central pred.", "predicted by the central flow"), ("raw", "Train loss")):
        visit.page.locator("#loss").get_by_role("button", name=entry, exact=True).hover()
        card.get_by_text(title).wait_for(timeout=30_000)
    visit.page.mouse.move(700, 4)
    card.wait_for(state="hidden", timeout=30_000)


def test_what_holds_for_the_whole_page_has_cards(visit):
    visit.open()
    card = visit.page.locator("#teach")
    shown = [
        ("Preset", "Preset"),
        ("Smoothing", "Smoothing"),
        ("Speed", "Speed"),
        ("Last 500", "Steps shown"),
        ("η · step", "Axis in time"),
    ]
    for text, title in [*shown, ("at rest: stored run", "Limit")]:
        visit.page.get_by_text(text, exact=True).first.hover(force=True)  # a choice lies beneath its radio button
        card.locator("b", has_text=title).wait_for(timeout=30_000)
    nameless = visit.page.evaluate(
        """() => { const terms = JSON.parse(document.getElementById("cards").textContent), found = []
          const walk = (root) => { for (const element of root.querySelectorAll("*")) {
            if (element.shadowRoot) walk(element.shadowRoot)
            if (element.dataset?.term && !terms[element.dataset.term]) found.push(element.dataset.term) } }
          walk(document); return found }"""
    )
    assert nameless == []


def test_cards_come_with_the_keyboard_and_are_told_to_screen_readers(visit):
    visit.open()
    visit.page.locator("#loss h2").focus()
    titles = set()
    for _ in range(6):
        visit.page.wait_for_timeout(400)
        if visit.page.locator("#teach").is_visible():
            titles.add(visit.page.locator("#teach b").inner_text())
        visit.page.keyboard.press("Tab")
    assert {"Train loss", "Smoothed", "Stable flow"} <= titles
    described = visit.page.locator("#loss").get_by_role("button", name="stable", exact=True).get_attribute("aria-description")
    assert described is not None
    assert "textbook" in described
    field = visit.page.get_by_label("Learning rate η (step size)", exact=True)
    field.click()  # wants to type
    visit.page.wait_for_timeout(700)
    visit.page.keyboard.type("0")
    assert not visit.page.locator("#teach").is_visible()


@pytest.mark.parametrize("visit", [{"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}], indirect=True)
def test_a_finger_asks_for_a_card_and_fits_it_on_a_phone(visit):
    visit.open()
    card = visit.page.locator("#teach")
    visit.page.locator("#eigenvalues h2").tap()
    card.wait_for(timeout=30_000)
    box = card.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    visit.page.locator(".sentence").tap()
    card.wait_for(state="hidden", timeout=30_000)
    visit.page.locator("#loss").get_by_role("button", name="central", exact=True).tap()
    visit.page.wait_for_timeout(700)
    assert not card.is_visible()  # a finger that presses a button wants that
