"""The toy lab in a real browser: nine optimizers, hostile formulas, the keyboard, a checker of accessibility, a narrow screen."""

from __future__ import annotations

import pytest

from cflows_core.config import OPTIMIZER_NAMES
from tests.app.toys import HOSTILE
from tests.browser.conftest import artefacts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
THEMES = [{"color_scheme": theme} for theme in ("light", "dark")]
SHORT = "length=50"
# Numbers of points that the loss's panel draws: the most are the iterates.
TRAIL = """() => Bokeh.documents[0].get_model_by_name("landscape_plot").renderers
  .filter((renderer) => renderer.glyph.type === "Scatter").map((renderer) => renderer.data_source.data.x.length)"""


def open_lab(visit, query: str = SHORT) -> None:
    """Open the page, and wait until a walk is drawn."""
    visit.page.goto(f"{visit.server.url}toylab?{query}")
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
    visit.page.wait_for_function(f"Math.max(...({TRAIL})()) > 0", timeout=60_000)


def all_drawn(visit) -> None:
    """Wait until the flows, the diagram and the table are there, too."""
    visit.page.locator("#orbits .fact", has_text="points in").wait_for(timeout=120_000)
    visit.until(lambda: "being measured" not in visit.page.locator("#expectations").inner_text(), 180)
    visit.until(lambda: "are being computed" not in visit.page.locator(".sentence").inner_text(), 180)


def step(visit) -> str:
    return visit.page.locator(".player output").inner_text()


def test_the_first_screen_is_drawn_and_told(visit):
    open_lab(visit, "loss=quartic&lr=2.5&length=50")
    all_drawn(visit)
    page = visit.page
    assert "a 2-cycle, between −0.447 and 0.447" in page.locator(".sentence").inner_text()
    assert page.locator(".forms .no").count() == 0
    assert step(visit) == "step 50 of 50"
    assert "loss=quartic" in page.url
    assert "lr=2.5" in page.url


@pytest.mark.slow
def test_nine_optimizers_are_drawn(visit):
    """Leaves a picture of each."""
    folder = artefacts("toylab")
    open_lab(visit, "loss=quadratic&length=50")
    page = visit.page
    for name in (*OPTIMIZER_NAMES[1:], "gd"):
        page.locator(f".cell input[value={name}]").check()
        page.wait_for_function(f"location.search.includes('optimizer={name}&')")
        all_drawn(visit)
        assert page.locator(".banner").is_hidden()
        assert max(page.evaluate(f"({TRAIL})()")) > 0
        page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.mark.slow
def test_hostile_formulas_are_refused_and_the_plot_stays(visit):
    open_lab(visit, f"loss=formula&{SHORT}")
    page = visit.page
    box, refused = page.locator("#field-formula"), page.locator("[data-field=formula] .refused")
    drawn, address = max(page.evaluate(f"({TRAIL})()")), page.url
    for text in HOSTILE:
        box.fill("x^2")
        box.fill(text)
        box.press("Enter")
        visit.until(lambda: box.get_attribute("aria-invalid") == "true")
        assert len(refused.inner_text()) > 20
        assert max(page.evaluate(f"({TRAIL})()")) == drawn
        assert page.url == address
        box.fill("1 - cos(x) + x^2/20")
        box.press("Enter")
        visit.until(lambda: box.get_attribute("aria-invalid") == "false")
    box.fill("x^2 + 3*y^2")
    box.press("Enter")
    page.locator("#field-y").wait_for()
    page.wait_for_function("location.search.includes('y%5E2')")


def test_a_hostile_address_gives_a_sentence(visit):
    open_lab(visit, "loss=formula&formula=x.y&lr=2&wrong=1")
    banner = visit.page.locator(".banner")
    banner.wait_for()
    assert "The toy lab has no field `wrong`".replace("`", "") in banner.inner_text()
    visit.button("Dismiss").click()
    banner.wait_for(state="hidden")


@pytest.mark.slow
def test_the_keyboard_moves_through_the_walk(visit):
    open_lab(visit)
    page = visit.page
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    for key, told in (
        ("Home", "step 0 of 50"),
        ("ArrowRight", "step 1 of 50"),
        ("PageDown", "step 2 of 50"),
        ("ArrowLeft", "step 1 of 50"),
    ):
        page.keyboard.press(key)
        visit.until(lambda told=told: step(visit) == told)
    page.keyboard.press("Space")
    visit.until(lambda: int(step(visit).split()[1]) > 3)
    page.keyboard.press("Space")
    page.keyboard.press("End")
    visit.until(lambda: step(visit) == "step 50 of 50")
    radio = page.locator(".cell input[value=gd]")
    radio.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("!location.search.includes('optimizer=gd&')")
    slider = page.get_by_label("Learning rate η, slider")
    slider.focus()
    former = page.locator("#field-lr").input_value()
    page.keyboard.press("ArrowRight")
    visit.until(lambda: page.locator("#field-lr").input_value() != former)


@pytest.mark.slow
def test_a_click_on_the_diagram_sets_the_value(visit):
    open_lab(visit)
    all_drawn(visit)
    box = visit.page.locator("#orbits .plot").bounding_box()
    visit.page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"])
    visit.page.wait_for_function("!location.search.includes('lr=2.5')")


@pytest.mark.slow
@pytest.mark.parametrize("visit", [*THEMES, PHONE], indirect=True)
def test_accessible(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing: pip install 'cflows[dev]'")
    open_lab(visit, f"optimizer=adam&{SHORT}")
    all_drawn(visit)
    response = axe.Axe().run(visit.page).response
    found = [f"{fault['help']}: {node['html'][:120]}" for fault in response["violations"] for node in fault["nodes"]]
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_a_narrow_screen(visit):
    open_lab(visit, f"loss=valley&optimizer=nadam&{SHORT}")
    all_drawn(visit)
    page = visit.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for panel in ("landscape", "orbits", "position", "edge", "circle"):
        box = page.locator(f"#{panel}").bounding_box()
        assert box["width"] > 340
        assert box["height"] >= 300
    with visit.sidebar():
        page.get_by_label("Start u₀").fill("1")
        page.get_by_label("Start u₀").press("Enter")
        page.wait_for_function("location.search.includes('y=1')")
