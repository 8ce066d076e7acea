"""What only a browser shows of the panels: ticks, headers that fit, pictures of one panel."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

NARROW = {"viewport": {"width": 988, "height": 900}}  # cards of 470 pixels
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.mark.parametrize("visit", [NARROW, PHONE], indirect=True)
def test_titles_and_choices_share_a_narrow_header(visit):
    visit.open()
    for card in visit.page.locator("article.card").all():
        title, choices = card.locator("h2").bounding_box(), card.locator(".choices").bounding_box()
        assert title["x"] + title["width"] + 4 <= choices["x"], (card.get_attribute("aria-label"), title, choices)
        box = card.bounding_box()
        assert choices["x"] + choices["width"] <= box["x"] + box["width"]


def test_a_log_axis_of_less_than_a_decade_has_ticks(visit):
    visit.open()
    visit.page.locator("#eigenvalues").get_by_role("radio", name="log").check()
    visit.page.wait_for_function("Bokeh.documents[0].get_model_by_name('eigenvalues_plot').y_scale.type == 'LogScale'", timeout=60_000)
    ticks = """(() => { const model = Bokeh.documents[0].get_model_by_name("eigenvalues_plot"), {start, end} = model.y_range
      const view = [...Bokeh.index.roots].find((view) => view.model == model)
      const axis = view.axis_views.find(({model}) => model.dimension == 1 || !model.axis_label?.includes("step"))
      return {start, end, ticks: axis.model.ticker.get_ticks(start, end, view.model.y_range, NaN).major} })()"""
    found = visit.page.evaluate(ticks)
    assert 4 <= len(found["ticks"]) <= 7, found
    assert all(found["start"] <= tick <= found["end"] for tick in found["ticks"])
    assert 1 in found["ticks"]
