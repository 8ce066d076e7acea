"""*Gallery*: the papers' figures at this machine's scale: what each shows, drawn from stored runs, and what was measured of it."""

from __future__ import annotations

import asyncio
from typing import Any

from cflows_app import exhibits
from cflows_app.components import Catalogue, Component, Exhibit, Findings, Status
from cflows_app.pages.page import SMOOTHING, Page
from cflows_app.streaming import Table
from cflows_app.views.canvas import Canvas
from cflows_app.views.slot import Slot
from cflows_core.palette import LIGHT

SLOTS = 9  # panels of a figure at most


class GalleryPage(Page):
    """The page's parts, and what brings them up to date. shown: the figure that is drawn, None for the overview."""

    name = "Gallery"
    all_panels = False
    description = "The figures of the papers on central flows and rod flows, computed again: what agrees, what does not, with numbers."

    def __init__(self) -> None:
        canvas = Canvas(Table(SMOOTHING), LIGHT)
        self.slots = [Slot(canvas, number) for number in range(1, SLOTS + 1)]
        super().__init__(canvas, list(self.slots))
        self.catalogue, self.exhibit, self.findings = Catalogue(self._on_catalogue), Exhibit(self._on_catalogue), Findings(lambda _: None)
        self.status = Status(self._on_status)
        self.shown: exhibits.Exhibit | None = None
        self._asked = ""  # the figure that was asked for last
        self._next: exhibits.Exhibit | None = None  # what was read, to be drawn

    @property
    def components(self) -> dict[str, Component]:
        legends = {name: part for name, part in super().components.items() if part is not self.viewbar}
        return legends | {"catalogue": self.catalogue, "exhibit": self.exhibit, "findings": self.findings, "status": self.status}

    def open(self, name: str = "") -> None:
        """Turn to a figure, or to the overview for no name. What cannot be read becomes a sentence in the page."""
        self._asked, self.error, self._stale = name, "", True
        if name:
            self._do(self._open(name))
        else:
            self.shown = self._next = None

    async def _open(self, name: str) -> None:
        exhibit = await asyncio.to_thread(exhibits.opened, name)
        if self._asked == name:  # else another was asked for meanwhile
            self._next = exhibit

    def tick(self) -> None:
        if self._next is not None:
            self.shown, self._next, self._stale = self._next, None, True
            for slot, panel in zip(self.slots, self.shown.panels, strict=False):
                slot.fill(panel)
        if not self._stale:
            return
        self._stale = False
        for slot in self.slots:
            self._show_legend(slot)
        groups = exhibits.catalogue()
        about = {} if self.shown is None else exhibits.about(self.shown)
        sketchless = [
            group | {"figures": [{key: value for key, value in figure.items() if key != "sketch"} for figure in group["figures"]]}
            for group in groups
        ]
        self.catalogue.show(groups=sketchless, figure=about.get("name", ""))
        self.exhibit.show(about=about, groups=[] if about else groups)
        self.findings.show(about=about)
        self.status.show(status="Gallery", sentence="", notes=[], problem=self.error, step=None)

    # -- messages -----------------------------------------------------------------------------------------------------------------
    def _on_catalogue(self, message: dict[str, Any]) -> None:
        self.open(str(message["figure"]))

    def _on_status(self, _: dict[str, Any]) -> None:
        self.error, self._stale = "", True
