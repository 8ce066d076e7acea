"""What only a browser shows of the panels: ticks, headers that fit, pictures of one panel."""

from __future__ import annotations

import struct
from xml.etree import ElementTree

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


def test_a_panel_is_saved_as_a_picture_of_its_own(visit, tmp_path):
    visit.open()
    visit.page.get_by_text("Save", exact=True).click()
    with visit.page.expect_download() as download:
        visit.button("Eigenvalues as SVG").click()
    assert download.value.suggested_filename == "cflows-eigenvalues.svg"
    download.value.save_as(tmp_path / "eigenvalues.svg")
    drawing = ElementTree.parse(tmp_path / "eigenvalues.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawing.findall(f"{space}svg")) == 1
    assert [text.text for text in drawing.findall(f"{space}text")] == ["Eigenvalues", "edge", "stable", "optimizer", "rod", "central"]
    card = visit.page.locator("#eigenvalues").bounding_box()
    assert float(drawing.get("width")) == pytest.approx(card["width"], abs=20)
    assert not visit.button("Eigenvalues as SVG").is_visible()  # the menu has closed


def test_the_plot_s_own_button_saves_its_panel_with_title_and_legend(visit, tmp_path):
    visit.open()
    visit.page.locator("#distance .plot").hover()
    with visit.page.expect_download() as download:
        visit.page.locator("#distance .plot [title^='Save as PNG']").click()
    assert download.value.suggested_filename == "cflows-distance.png"
    download.value.save_as(tmp_path / "distance.png")
    header = (tmp_path / "distance.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    card = visit.page.locator("#distance").bounding_box()
    assert struct.unpack(">II", header[16:])[1] == pytest.approx(2 * card["height"], abs=40)  # the whole card, not the plot alone


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_the_menu_of_pictures_fits_a_phone(visit):
    visit.open()
    visit.page.get_by_text("Save", exact=True).click()
    box = visit.page.locator(".save div").bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
