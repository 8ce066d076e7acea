"""The way through the page by the keyboard alone: no mouse, and nothing is focused but by Tab."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

SMALL = "preset=digits-mlp&n_train=60&width=6&n_eigs=2&warm_start=0&steps=4000"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
MOST = 200  # Tabs within which one has come round
FOCUSED = """() => {
  let element = document.activeElement
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  return element }"""
NAME = """element => {
  if (element === document.body) return "BODY"
  const labels = [...(element.labels ?? [])].map((label) => label.textContent.trim()).join(" ")
  return element.getAttribute("aria-label") || labels || element.textContent.trim() || element.id || element.tagName }"""
# What may show that an element has the focus: its own ring, or that of the text beside it (a radio button that is drawn as one of a row).
RING = """element => [element, element.nextElementSibling].filter(Boolean).map((part) => {
  const {outlineStyle, outlineWidth, outlineColor, boxShadow} = getComputedStyle(part)
  return `${outlineStyle === "none" ? "" : outlineStyle + outlineWidth + outlineColor} ${boxShadow}` })"""


class Keyboard:
    """Presses keys; `unseen` are the stops at which nothing showed where the focus is."""

    def __init__(self, visit):
        self.visit, self.page = visit, visit.page
        self.unseen: list[str] = []

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.press("Control+a")
        self.page.keyboard.type(text)
        self.press("Enter")

    @property
    def focus(self) -> str:
        """The name of what has the focus, "BODY" where nothing has."""
        return self.page.evaluate(f"({NAME})(({FOCUSED})())")

    def next(self, key: str = "Tab") -> str:
        """Go on to the next stop; its name."""
        self.press(key)
        stop = self.page.evaluate_handle(FOCUSED)
        name = self.focus
        if name != "BODY":
            shown = stop.evaluate(RING)
            self.page.evaluate("document.body.focus(); document.activeElement.blur()")
            if stop.evaluate(RING) == shown:
                self.unseen.append(name)
            stop.evaluate("element => element.focus({preventScroll: true, focusVisible: true})")
        return name

    def to(self, name: str, key: str = "Tab") -> None:
        """Go on until what is called `name` has the focus."""
        passed = []
        while len(passed) < MOST:
            self.press(key)
            passed.append(self.focus)
            if passed[-1] == name:
                return
        raise AssertionError(f"{name!r} is not reached by {key}: {passed}")

    def ready(self, name: str) -> None:
        """Go on to a button, and wait until it can act."""
        self.to(name)
        self.page.get_by_role("button", name=name, exact=True, disabled=False).wait_for()


@pytest.fixture
def keyboard(visit) -> Keyboard:
    return Keyboard(visit)


def test_the_main_path(keyboard):
    visit, page, press = keyboard.visit, keyboard.page, keyboard.press
    visit.open()
    keyboard.to("Skip to the plots")
    press("Enter")
    assert page.evaluate("document.activeElement.id") == "plots"
    keyboard.to("Preset", "Shift+Tab")
    press("ArrowDown")
    page.locator(".sentence", has_text="Press Run").wait_for()
    visit.open(SMALL)
    keyboard.to("Learning rate η (step size)")
    keyboard.type("0.2")
    page.get_by_text("Edge of stability at sharpness 10.").wait_for()
    keyboard.to("Run")
    press("Enter")
    visit.wait("table.step[table.step.length - 1] > 3")
    assert keyboard.focus == "Run"  # which cannot act now, and keeps the focus
    keyboard.to("Pause")
    press("Space")
    page.get_by_text("paused", exact=True).wait_for(timeout=30_000)
    assert keyboard.focus == "Pause"
    keyboard.ready("Step")
    last = visit.last_step
    press("Enter")
    visit.wait(f"table.step[table.step.length - 1] > {last}")
    keyboard.ready("Fork here")
    press("Enter")
    visit.button("Drop former").wait_for()
    assert keyboard.focus == "Drop former"
    keyboard.to("Learning rate η (step size)", "Shift+Tab")
    keyboard.type("0.15")
    page.get_by_text("Learning rate η: 0.15 from step").wait_for()
    keyboard.to("Step shown in the valley")
    press("ArrowLeft", "ArrowLeft")
    page.locator(".sentence", has_text="Step ").wait_for()
    keyboard.to("Newest")
    press("Enter")
    visit.button("Newest").wait_for(state="hidden")
    assert keyboard.focus == "Step shown in the valley"
    keyboard.to("stable")
    press("Space")
    page.locator("#loss [aria-pressed=false]", has_text="stable").wait_for()
    assert keyboard.focus == "stable"
    keyboard.to("Share")
    press("Enter")
    page.get_by_role("dialog", name="Share").wait_for()
    page.get_by_text("Copied. This address").wait_for()
    press("Escape")
    page.get_by_role("dialog", name="Share").wait_for(state="hidden")
    assert keyboard.focus == "Share"
    keyboard.to("Switch between light and dark", "Shift+Tab")
    press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_tab_comes_round_and_always_shows_where_one_is(keyboard):
    keyboard.visit.open()
    first = keyboard.next()
    assert first == "Skip to the plots"
    stops = [first]
    while len(stops) < MOST and (stop := keyboard.next()) != first:
        stops.append(stop)
    assert len(stops) < MOST
    assert {"Preset", "Run", "More", "Share", "Train loss", "central pred.", "Save"} <= set(stops)
    assert keyboard.unseen == []


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_the_drawer_of_a_phone(keyboard):
    visit, page = keyboard.visit, keyboard.page
    visit.open()
    keyboard.to("Configuration")
    keyboard.press("Enter")
    page.get_by_label("Preset", exact=True).wait_for()
    first = keyboard.focus
    assert first == "Switch between light and dark"
    stops = []
    while len(stops) < MOST and (stop := keyboard.next()) != first:
        stops.append(stop)
    assert {"Preset", "Seed", "Code"} <= set(stops)
    assert "Run" not in stops  # lies under the veil
    assert keyboard.unseen == []
    keyboard.press("Escape")
    page.get_by_label("Preset", exact=True).wait_for(state="hidden")
    assert keyboard.focus == "Configuration"
    keyboard.press("Enter")
    page.get_by_label("Preset", exact=True).wait_for()
    page.set_viewport_size({"width": 1440, "height": 900})  # the phone is turned, the window made wide: nothing stays out of reach
    page.wait_for_function("!document.querySelector('main').inert")
    keyboard.to("Run")
