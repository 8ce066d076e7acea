"""One visitor's way through every control of a page; stations are kept as pictures in `artefacts/`, or in $CFLOWS_ARTEFACTS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DRAWER = {"Configuration", "Close the configuration"}  # where the window is wide the configuration stands beside the plots


@dataclass
class Tour:
    """One visitor's way through the page: what they did, and what was wrong with what they saw."""

    visit: Any
    folder: Path
    used: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    pictures: int = 0

    @property
    def page(self) -> Any:
        return self.visit.page

    def open(self, query: str = "") -> None:
        self.note()
        self.visit.open(query)

    def look(self, name: str, within: str = "main") -> None:
        """Keep a picture, and note what is wrong with the controls within `within`."""
        self.pictures += 1
        self.page.screenshot(path=self.folder / f"{self.pictures:02}-{name}.png")
        self.note()
        self.faults += [f"{name}: {fault}" for fault in self.page.evaluate("within => controls.faults(within)", within)]

    def note(self) -> None:
        """Which controls there are, and which of them were used."""
        names, used = self.page.evaluate("window.controls ? [controls.names(), controls.used()] : [[], []]")
        self.names |= set(names)
        self.used |= set(used)

    def until(self, expression: str, argument: Any = None) -> None:
        self.page.wait_for_function(expression, arg=argument, timeout=120_000, polling=20)

    @property
    def script(self) -> Any:
        """The field with the Python script that the page offers."""
        return self.page.get_by_role("textbox", name="Python", include_hidden=True).element_handle()

    def code(self, with_: str = "", without: str = "") -> None:
        """Wait until the script says the one and not the other."""
        said = "([field, yes, no]) => field.value.includes(yes) && !(no && field.value.includes(no))"
        self.until(said, [self.script, with_, without])

    def paints(self, panel: str, act: Any) -> None:
        """`act` changes the picture in a panel."""
        canvas = self.page.locator(f"#{panel} .plot canvas").first.element_handle()
        before = canvas.evaluate("canvas => controls.settled(canvas)")
        act()
        self.until("([canvas, before]) => controls.picture(canvas) !== before", [canvas, before])

    def curves(self, panel: str) -> str:
        """The number of curves that a panel draws, as an expression in the page."""
        return f"Bokeh.documents[0].get_model_by_name('{panel}_plot').renderers.filter((renderer) => renderer.visible).length"


def all_used(tour):
    """Every control was used, and nothing was wrong with any."""
    tour.note()
    assert tour.faults == []
    width = tour.page.viewport_size["width"]
    assert tour.names - tour.used - (DRAWER if width > 1100 else set()) == set()


def skip_to_the_plots(tour, picture):
    """By the link that the keyboard meets first."""
    tour.page.evaluate("document.activeElement.blur()")
    tour.page.locator(".skip").focus()
    tour.page.keyboard.press("Enter")
    tour.until("document.activeElement.id === 'plots'")
    tour.page.evaluate("scrollTo(0, 0)")
    tour.look(picture)


def views(tour):
    """What changes how runs are drawn."""
    page, visit = tour.page, tour.visit
    choices(tour)
    legends(tour)
    smoothing = page.get_by_label("Smoothing", exact=True)
    smoothing.fill("5")
    tour.paints("loss", lambda: smoothing.press("Enter"))
    for name in ("Steps shown", "The horizontal axis counts"):
        alternate(tour, "loss", page.get_by_role("radiogroup", name=name))
    for i, picture in enumerate(page.locator("details.save button").all()):
        page.get_by_text("Save", exact=True).click()
        if i == 0:
            tour.look("save", "details.save")
        with page.expect_download() as download:
            picture.click()
        assert download.value.suggested_filename.endswith(f".{picture.text_content().lower()}")
    visit.pan()
    tour.look("panned")
    visit.button("Follow").click()
    visit.button("Follow").wait_for(state="hidden")


def choices(tour):
    """Every choice of every panel redraws it, and its first brings the former picture back."""
    for panel in (article.get_attribute("id") for article in tour.page.locator("article").all()):
        offered = tour.page.locator(f"#{panel} .choices")
        for group in offered.get_by_role("radiogroup").all():
            alternate(tour, panel, group)
        for select in offered.locator("select").all():
            values = select.evaluate("select => [...select.options].map((option) => option.value)")
            for value in (values[1], values[-1], values[0]):
                tour.paints(panel, lambda select=select, value=value: select.select_option(value))


def alternate(tour, panel, group):
    """Each choice that is not taken redraws the panel, and so does the way back."""
    radios = group.get_by_role("radio").all()
    taken = next(radio for radio in radios if radio.is_checked())
    for radio in radios:
        if radio is not taken:
            tour.paints(panel, radio.check)
            tour.paints(panel, taken.check)


def legends(tour):
    """Every entry that was not used yet hides its curves and shows them again."""
    for panel in (article.get_attribute("id") for article in tour.page.locator("article").all()):
        for label in tour.page.locator(f"#{panel} .entry").all_inner_texts():
            if f"{panel}: {label}" in tour.used:
                continue
            entry = tour.page.locator(f"#{panel}").get_by_role("button", name=label, exact=True)
            pressed, drawn = entry.get_attribute("aria-pressed"), tour.page.evaluate(tour.curves(panel))
            for turned in (True, False):
                entry.click()
                entry.and_(tour.page.locator(f".entry:not([aria-pressed={pressed}])" if turned else f"[aria-pressed={pressed}]")).wait_for()
                tour.until(f"{tour.curves(panel)} {'!==' if turned else '==='} {drawn}")
