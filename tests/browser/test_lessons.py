"""Lessons in Chromium: walked through by the keyboard alone, revealed, computed, printed, and shown without controls."""

from __future__ import annotations

import pytest

from cflows_app.lessons.library import Library
from tests.browser.conftest import SIZES, THEMES, artefacts, dashboard, visiting

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OWN = """# In ten minutes

About $\\eta$.

## Asked

What next?

- [ ] It grows
- [x] It stays

```show
n_train: 60
width: 4
lr: 0.3
warm_start: 0
steps: 60
flows: discrete,central
panels: eigenvalues, loss
until: 10
```

---

It stays.

```show
until: end
results: loss
```

## Words alone
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """A dashboard with a lesson of a lecturer's own."""
    lessons = tmp_path_factory.mktemp("lessons")
    (lessons / "own.md").write_text(OWN)
    with dashboard(tmp_path_factory.mktemp("dashboard") / "log", "--lessons", lessons) as server:
        yield server


def open_step(visit, lesson: str, step: int = 1, query: str = "") -> None:
    visit.page.goto(f"{visit.server.url}lessons?lesson={lesson}&step={step}{query}")
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
    visit.page.locator(".story h2").wait_for()


def title(visit) -> str:
    return visit.page.locator(".story h2").text_content()


@pytest.mark.parametrize(("width", "columns"), [(1440, 3), pytest.param(520, 2, marks=pytest.mark.slow)])
def test_the_feedback_diagram_follows_the_run_and_is_saved_as_it_stands(visit, width, columns):
    page = visit.page
    page.set_viewport_size({"width": width, "height": 900})
    open_step(visit, "adaptive-optimizers", 4, "&type=120")
    page.get_by_text("step 205").wait_for()
    page.keyboard.press(" ")
    page.get_by_text("step 213").wait_for()
    diagram = page.locator(".loop")
    told = diagram.get_attribute("aria-label")
    assert "the oscillation flattens the Hessian" in told
    assert "ν rises, so the step sizes fall" in told
    assert len(diagram.evaluate("(loop) => getComputedStyle(loop).gridTemplateColumns").split()) == columns
    # Every arrow's tip lies on the edge of a card.
    tips = diagram.evaluate("""(loop) => {
        const own = loop.getBoundingClientRect()
        const boxes = [...loop.querySelectorAll(".part")].map((part) => part.getBoundingClientRect())
        const off = (x, y, box) => Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom))
        return [...loop.querySelectorAll("path.head")].map((head) => {
            const [x, y] = head.getAttribute("d").slice(1).split("L")[0].split(",").map(Number)
            return Math.min(...boxes.map((box) => off(x + own.left, y + own.top, box)))
        })
    }""")
    assert len(tips) == 8
    assert max(tips) < 1.5
    picture = page.evaluate("cflowsPicture('feedback')")
    assert told in picture
    for words in ("Effective Hessian", "▼ falls", diagram.locator("[data-part=nu] .value").text_content()):
        assert f">{words}</text>" in picture


@pytest.mark.parametrize("lesson", ["gradient-descent"])
def test_a_lesson_by_the_keyboard_alone(visit, lesson):
    steps = Library().lesson(lesson).steps
    open_step(visit, lesson)
    for at, step in enumerate(steps):
        visit.page.get_by_role("heading", name=step.title, exact=True).wait_for()
        assert f"step={at + 1}" in visit.page.url or at == 0
        if step.revealed is not None:
            assert visit.page.locator(".story .reveals").text_content() == ""
            visit.page.keyboard.press(" ")
            if step.answer:
                visit.page.locator(".story .reveals > *").first.wait_for()
        if at + 1 < len(steps):
            visit.page.keyboard.press("ArrowRight" if at % 2 else "PageDown")
    assert visit.page.get_by_role("button", name="Next").get_attribute("aria-disabled") == "true"
    visit.page.keyboard.press("Home")
    visit.page.get_by_role("heading", name=steps[0].title).wait_for()


def test_a_lesson_of_ones_own_is_answered_and_computed(visit):
    open_step(visit, "own")
    page = visit.page
    assert page.get_by_role("button", name="In ten minutes").get_attribute("aria-expanded") == "true"
    visit.wait("table.step.length === 11 && table.step[10] === 10", 90)
    assert page.locator("#covariance").is_hidden()
    assert page.locator("#results").is_hidden()
    page.get_by_role("button", name="It grows").click()
    page.get_by_text("It grows – no").wait_for()
    page.get_by_text("It stays – this one").wait_for()
    visit.wait("table.step[table.step.length - 1] === 60", 90)
    page.get_by_text("computed now").wait_for()
    page.get_by_role("rowheader", name="Loss, optimizer").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name="Words alone").wait_for()
    assert page.locator("#plots").is_hidden()
    assert page.url.endswith("lesson=own&step=2")


def test_large_type_and_hidden_controls(visit):
    open_step(visit, "own", 2, "&hide=controls&type=150")
    page = visit.page
    assert not page.locator("#side").is_visible()
    assert not visit.button("Next").is_visible()
    size = "parseFloat(getComputedStyle(element).fontSize)"
    large = page.locator("article.story").evaluate(f"(element) => {size}")
    page.keyboard.press("0")
    page.wait_for_function("() => !location.search.includes('type=')")
    assert large == pytest.approx(1.5 * page.locator("article.story").evaluate(f"(element) => {size}"))
    assert "hide=controls" in page.url
    page.keyboard.press("ArrowLeft")
    page.get_by_role("heading", name="Asked").wait_for()
    assert "step=1&hide=controls" in page.url
    page.goto(f"{visit.server.url}?hide=controls")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    assert not visit.button("Run").is_visible()
    assert page.locator("#loss").is_visible()
    assert page.get_by_text("has no field").count() == 0


@pytest.mark.slow
def test_full_screen(visit):
    open_step(visit, "own", 2)
    visit.page.keyboard.press("f")
    visit.page.wait_for_function("() => document.fullscreenElement")
    assert not visit.page.locator("#side").is_visible()
    visit.page.keyboard.press("f")
    visit.page.wait_for_function("() => !document.fullscreenElement")


@pytest.mark.slow
def test_the_handout_has_every_step(visit, tmp_path):
    open_step(visit, "own", 2)
    with visit.page.expect_popup(timeout=120_000) as opened:
        visit.button("Handout").click()
    handout = opened.value
    handout.wait_for_load_state()
    assert handout.locator("h2").all_text_contents() == ["1. Asked", "2. Words alone"]
    assert handout.locator("section").first.locator(".pictures > svg").count() == 3  # two panels and the table
    assert handout.locator("li.right").text_content() == "It stays"
    handout.pdf(path=tmp_path / "handout.pdf")
    assert (tmp_path / "handout.pdf").stat().st_size > 10_000
    assert title(visit) == "Words alone"


@pytest.mark.slow
def test_a_mistake_is_told_beside_the_other_lessons(visit):
    visit.page.goto(f"{visit.server.url}lessons?lesson=none")
    visit.page.get_by_role("alert").get_by_text("There is no lesson").wait_for()
    visit.page.get_by_role("button", name="In ten minutes").click()
    visit.page.get_by_role("heading", name="Asked").wait_for()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("lesson", Library().names())
def test_every_step_is_looked_at(browser, server, tmp_path, lesson, theme):
    """Each step as it is asked and as it is revealed: nothing is cut off, and a picture of it is left (CONTRIBUTING.md)."""
    folder = artefacts(f"lesson-{lesson}-{theme}")
    with visiting(browser, server, viewport={"width": 1440, "height": SIZES[1440]}, color_scheme=theme) as visit:
        page = visit.page
        open_step(visit, lesson)
        for at, step in enumerate(Library().lesson(lesson).steps, start=1):
            page.get_by_role("heading", name=step.title, exact=True).wait_for()
            for state in ("asked", "revealed") if step.revealed is not None else ("shown",):
                if state == "revealed":
                    page.keyboard.press(" ")
                page.wait_for_function("() => window.cflowsDrawn?.()", timeout=120_000)
                page.wait_for_timeout(300)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (step.title, state)
                scene = step.revealed if state == "revealed" and step.revealed is not None else step.scene
                for panel in scene.panels:
                    box = page.locator(f"#{panel}").bounding_box()
                    assert box is not None, (step.title, panel)
                    assert box["height"] >= 150, (step.title, panel)
                    assert box["y"] + box["height"] <= SIZES[1440] + 1, (step.title, panel)
                page.screenshot(path=folder / f"{at:02}-{state}.png")
            page.keyboard.press("ArrowRight")
