"""Keeping a run on Explore, opening it again, and Compare as a visitor meets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cflows_core.palette import DARK
from cflows_core.store import Run
from tests.browser.conftest import Server, Visit, dashboard, visiting

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

SMALL = "preset=digits-mlp&n_train=60&width=6&n_eigs=2&warm_start=0&steps=40"
POINTS = "(window.Bokeh?.documents?.[0]?.get_model_by_name({!r})?.data.step.length ?? 0)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard with a shelf of its own, still empty."""
    with dashboard(tmp_path_factory.mktemp("dashboard") / "log") as server:
        yield server


@pytest.fixture(scope="module")
def kept(browser, server) -> list[str]:
    """Two runs, kept on Explore by hand."""
    names = ["small steps", "large steps"]
    with visiting(browser, server) as visit:
        for name, lr in zip(names, (0.05, 0.2), strict=True):
            visit.page.goto(f"{server.url}?{SMALL}&lr={lr}")
            visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
            visit.run(steps=30)
            visit.button("Keep").click()
            visit.page.get_by_label("Name", exact=True).fill(name)
            visit.page.keyboard.press("Enter")
            visit.page.get_by_text(f"Kept as {name}").wait_for()
    return names


def compare(visit: Visit, *runs: str) -> None:
    visit.page.goto(f"{visit.server.url}compare?{'&'.join(f'run={run}.zarr' for run in runs)}")
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)


def test_an_empty_shelf_says_how_it_fills(visit):
    compare(visit)
    visit.page.get_by_text("No run is kept yet: press Keep on Explore").first.wait_for()


def test_a_kept_run_opens_where_it_was_and_goes_on(visit, kept):
    path = visit.server.log.parent / "runs" / f"{kept[1]}.zarr"
    run = Run.open(path)
    assert run.checkpoint_path is not None
    compare(visit)
    with visit.page.expect_popup() as opened:
        visit.page.get_by_role("link", name=f"Open {kept[1]} on Explore").click()
    again = Visit(opened.value, visit.server)
    again.page.wait_for_selector("html[data-ready]", timeout=60_000)
    again.wait(f"table.step.at(-1) === {run.steps[-1]}")
    assert again.page.get_by_label("Learning rate η (step size)", exact=True).input_value() == "0.2"
    before = again.points
    again.button("Step").click()
    again.wait(f"table.step.at(-1) > {run.steps[-1]} || table.step.length > {before}")
    assert Run.open(path).rows == run.rows  # what was kept stays as it was


def test_runs_are_laid_over_one_another_and_named_in_the_address(visit, kept):
    compare(visit)
    for i, name in enumerate(kept):
        visit.page.get_by_label(name, exact=True).check()
        visit.page.wait_for_function(f"{POINTS.format('table' if i == 0 else 'table-1')} >= 30")
    visit.page.get_by_text("2 runs, which differ in η.").first.wait_for()
    row = visit.page.get_by_role("row", name="Learning rate η")
    assert row.get_by_role("cell").all_inner_texts() == ["0.05", "0.2"]
    address = visit.page.url
    assert address.endswith("compare?run=small+steps.zarr&run=large+steps.zarr")
    visit.page.goto(address)
    visit.page.wait_for_function(f"{POINTS.format('table-1')} >= 30", timeout=60_000)
    visit.page.get_by_label(kept[0], exact=True).uncheck()
    visit.page.wait_for_function(f"{POINTS.format('table')} === 0")
    visit.until(lambda: visit.page.url.endswith("compare?run=large+steps.zarr"))


def test_a_run_that_is_ticked_after_the_theme_was_turned_has_its_colours(visit, kept):
    compare(visit, kept[0])
    visit.page.wait_for_function(f"{POINTS.format('table')} >= 30", timeout=60_000)
    visit.page.locator("#theme").click()
    visit.page.get_by_label(kept[1], exact=True).check()
    visit.page.wait_for_function(f"{POINTS.format('table-1')} >= 30")
    colors = """[...new Set(Bokeh.documents[0].get_model_by_name('loss_plot').renderers
      .filter((renderer) => renderer.data_source.name === 'table-1').map((renderer) => renderer.glyph.line_color.value))]"""
    visit.until(lambda: visit.page.evaluate(colors) == [DARK["rod"]])


def test_a_flow_that_is_ticked_appears(visit, kept):
    compare(visit, *kept)
    visit.page.wait_for_function(f"{POINTS.format('table-1')} >= 30", timeout=60_000)
    distance = visit.page.locator("#distance")
    assert distance.get_by_role("button", name="rod", exact=True).count() == 0
    visit.page.get_by_label("Rod flow", exact=True).check()
    distance.get_by_role("button", name="rod", exact=True).wait_for()


def test_a_run_that_is_not_there_is_explained(visit, kept):
    compare(visit, "nothing", kept[0])
    visit.page.get_by_text("There is no run called 'nothing.zarr'").first.wait_for()
    visit.page.wait_for_function(f"{POINTS.format('table-1')} >= 30", timeout=60_000)
    visit.page.goto(f"{visit.server.url}?run=nothing.zarr")
    visit.page.get_by_text("There is no run called 'nothing.zarr'").first.wait_for()
    assert visit.button("Run").is_enabled()


def test_deleting_asks_once_more(visit, kept):
    with visiting(visit.page.context.browser, visit.server) as other:  # a copy to be deleted
        other.page.goto(f"{other.server.url}?run={kept[0]}.zarr")
        other.page.wait_for_selector("html[data-ready]", timeout=60_000)
        other.wait("table.step.length >= 30")
        other.button("Keep").click()
        other.page.get_by_label("Name", exact=True).fill(kept[0])
        other.button("Keep it").click()
        other.page.get_by_text(f"There is a run called {kept[0]} already").wait_for()
        other.page.get_by_label("Name", exact=True).fill("spare")
        other.button("Keep it").click()
        other.page.get_by_text("Kept as spare").wait_for()
    path = visit.server.log.parent / "runs" / "spare.zarr"
    compare(visit, "spare")
    visit.button("Delete spare").click()
    visit.page.keyboard.press("Escape")
    assert visit.page.evaluate("document.activeElement.shadowRoot.activeElement.ariaLabel") == "Delete spare"
    assert path.exists()
    visit.button("Delete spare").click()
    visit.button("Delete for ever").click()
    visit.page.get_by_label("spare", exact=True).wait_for(state="detached")
    assert not path.exists()


def test_another_page_opens_beside_a_run_that_goes_on(visit):
    visit.page.goto(f"{visit.server.url}?{SMALL.replace('40', '4000')}")
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
    visit.run()
    with visit.page.expect_popup() as opened:
        visit.page.get_by_role("link", name="Compare", exact=True).click()
    opened.value.wait_for_selector("html[data-ready]", timeout=60_000)
    assert opened.value.url.endswith("/compare")
    opened.value.get_by_role("link", name="Explore", exact=True).click()  # comes back, and loads nothing anew
    last = visit.last_step
    visit.wait(f"table.step.at(-1) > {last}")
    assert len(visit.page.context.pages) == 2
