"""The gallery without a browser: the overview, a figure, and names that there are none of."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import LinearScale, LogScale

from cflows_app import exhibits
from cflows_app.pages.gallery import GalleryPage
from cflows_app.shell import page_template
from cflows_app.toylab.setting import read
from cflows_app.views.canvas import Canvas
from cflows_app.views.slot import Slot
from cflows_core import panels
from cflows_core.gallery import FIGURES
from cflows_core.palette import LIGHT, Stroke
from cflows_core.panels import Curve, Panel
from tests.app.toys import arguments


async def settled(page: GalleryPage) -> None:
    end = time.monotonic() + 30
    while page._tasks or page._next is not None or page._stale:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
        page.tick()


def opened(*names: str) -> GalleryPage:
    """A page at which the figures of these names were asked for, one right after the other."""

    async def visit() -> GalleryPage:
        page = GalleryPage()
        for name in names:
            page.open(name)
        await settled(page)
        await page.leave()
        return page

    return asyncio.run(visit())


def test_the_overview_has_every_figure_with_its_verdict():
    page = opened("")
    hung = [figure for group in page.exhibit.state["groups"] for figure in group["figures"]]
    sources = list(exhibits.SOURCES)
    assert [figure["name"] for figure in hung] == sorted(FIGURES, key=lambda name: sources.index(name.partition("-")[0]))
    assert all(figure["sketch"] for figure in hung)
    assert page.exhibit.state["about"] == {}
    listed = [figure for group in page.catalogue.state["groups"] for figure in group["figures"]]
    assert [figure["name"] for figure in listed] == [figure["name"] for figure in hung]
    assert not any("sketch" in figure for figure in listed)


def test_every_figure_fills_its_panels():
    page = GalleryPage()
    for name in FIGURES:
        shown = exhibits.opened(name)
        for slot, panel in zip(page.slots, shown.panels, strict=False):
            slot.fill(panel)
            assert len(slot.figure.renderers) == len(panel.curves)
            assert slot.figure.x_range.end > slot.figure.x_range.start
            assert slot.figure.y_range.end > slot.figure.y_range.start
        about = exhibits.about(shown)
        assert len(about["panels"]) == len(shown.panels) <= len(page.slots)
        assert len(about["claims"]) == len(shown.figure.claims)


def test_what_the_toy_lab_is_asked_for_is_taken():
    for figure in FIGURES.values():
        if figure.toy:
            asked, problems = read(arguments(figure.toy))
            assert problems == []
            assert asked.query == figure.toy


def test_a_figure_by_its_name():
    page = opened("cf-3")
    about = page.exhibit.state["about"]
    assert about["name"] == page.catalogue.state["figure"] == page.findings.state["about"]["name"] == "cf-3"
    assert page.exhibit.state["groups"] == []  # sketches are sent with the overview alone
    assert about["verdict"] == "reproduced"
    np.testing.assert_array_equal(page.slots[0].drawn[0][2].data_source.data["x"], range(41))
    assert not page.error


def test_the_figure_that_was_asked_for_last_is_shown():
    other = list(FIGURES)[-1]
    assert opened(other, "cf-3").exhibit.state["about"]["name"] == "cf-3"
    assert opened("cf-3", "").exhibit.state["about"] == {}


@pytest.mark.parametrize("name", ["cf-33", "../cf-3", "\0", "x" * 300, "<b>"])
def test_a_figure_that_there_is_not_is_told_beside_the_overview(name):
    page = opened(name)
    assert page.status.state["problem"].startswith("There is no figure")
    assert page.exhibit.state["about"] == {}
    page._on_status({"dismiss": True})
    page.tick()
    assert not page.status.state["problem"]


def test_messages_that_are_none():
    page = GalleryPage()
    for message in ({"figure": 3}, {"figure": None}, [], "cf-3", {"figure": ["cf-3"]}):
        page.catalogue._handle_msg(message)
    assert page._asked == ""


def test_the_page_is_a_valid_document():
    page = opened("cf-3")
    document = Document()
    page_template(page, "dark").server_doc(document)
    document.validate()


def slot() -> Slot:
    from cflows_app.streaming import Table

    return Slot(Canvas(Table(1.0), LIGHT), 1)


def test_a_slot_takes_one_panel_after_another():
    one = slot()
    one.fill(panels.curves({"a": ([1, 10, 100], [1.0, 10.0, 1000.0])}, log="xy"))
    assert isinstance(one.figure.x_scale, LogScale)
    assert isinstance(one.figure.y_scale, LogScale)
    assert (one.figure.x_range.start, one.figure.x_range.end) == (1, 100)
    assert one.figure.y_range.start < 1
    assert one.figure.y_range.end > 1000
    one.fill(panels.curves({"b": ([0, 1], [0.0, 1.0]), "c": ([0, 1], [0.0, 50.0])}))
    assert isinstance(one.figure.x_scale, LinearScale)
    assert [entry["label"] for entry in one.legend] == ["b", "c"]
    assert len(one.figure.renderers) == 2
    one.toggle("c")
    one.fit_again()
    assert one.figure.y_range.end < 2  # what is hidden does not count


def test_curves_without_a_label_go_with_the_last_of_their_colour():
    xs = np.arange(3.0)
    modes = (Curve(xs, xs, Stroke("central"), "Central flow"), Curve(xs, xs, Stroke("central")), Curve(xs, xs, Stroke("edge")))
    one = slot()
    one.fill(Panel("t", modes))
    assert [entry["label"] for entry in one.legend] == ["Central flow"]
    one.toggle("Central flow")
    assert [renderer.visible for _, _, renderer in one.drawn] == [False, False, True]
