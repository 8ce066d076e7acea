"""What pages with panels over the steps share: their canvas and its layers, the legends, and what holds for all panels."""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from contextvars import Context
from typing import Any, ClassVar

from bokeh.plotting import figure

from cflows_app.components import Component, Legend, ViewBar
from cflows_app.streaming import AXIS
from cflows_app.views.axis import SPANS, UNITS, StepAxis
from cflows_app.views.base import View
from cflows_app.views.canvas import Canvas
from cflows_core.errors import CflowsError
from cflows_core.palette import DARK, LIGHT

logger = logging.getLogger("cflows")

SMOOTHING = 20.0  # steps
WIDEST = 100.0


class Page(ABC):
    """A page's parts. name: as the frame's navigation has it; `assets/NAME.html` arranges the parts. description: for search engines."""

    name: ClassVar[str]
    description: ClassVar[str]
    all_panels: ClassVar[bool] = True  # whether all of them are shown at once

    def __init__(self, canvas: Canvas, views: list[View]):
        self.canvas, self.views = canvas, views
        self.axis = StepAxis(canvas, views)
        self.viewbar = ViewBar(self._on_viewbar)
        self.legends = {view.key: Legend(lambda data, view=view: self._on_legend(view, data)) for view in views}
        self.error = ""  # what went wrong, for the page to tell
        self._broken = ""  # why it could not be drawn at the last tick
        self._stale = True  # something other than a run's history asks for drawing
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def components(self) -> dict[str, Component]:
        """Name in the page's template -> the component that stands there."""
        return {"viewbar": self.viewbar, **{f"{key}_legend": legend for key, legend in self.legends.items()}}

    @property
    def figures(self) -> dict[str, figure]:
        """Name in the page's template -> the figure that stands there."""
        return {f"{view.key}_plot": view.figure for view in self.views}

    def paint(self, theme: str) -> None:
        """Give everything the colours of a theme, before the page is sent; in the page `page.js` does it."""
        palette = DARK if theme == "dark" else LIGHT
        if palette is not self.canvas.palette:
            self.canvas.paint(palette, [view.figure for view in self.views])

    @abstractmethod
    def tick(self) -> None:
        """Draw what is new; cheap when nothing is."""

    def draw(self) -> None:
        """`tick`, several times a second. A browser can break what its own page is drawn on, which is logged once, not at every tick."""
        try:
            self.tick()
        except Exception as problem:
            broken = f"{type(problem).__name__}: {problem}"
            if broken != self._broken:
                logger.exception("a page of %s cannot be drawn", self.name)
            self._broken = broken
        else:
            self._broken = ""

    def tell(self, sentence: str) -> None:
        """Say something that holds for all pages of the server."""
        self.error, self._stale = sentence, True

    async def leave(self) -> None:
        """The visitor left: let go what goes on for them."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- for pages ----------------------------------------------------------------------------------------------------------------
    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry something out in the background; what goes wrong becomes `error`."""
        task = asyncio.get_running_loop().create_task(self._guarded(work), context=Context())  # its own would outlive the document
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except CflowsError as problem:
            self.error = str(problem)
        except Exception as problem:
            logger.exception("an action of the page %s failed", self.name)
            self.error = f"Something went wrong in cflows itself ({type(problem).__name__}: {problem}); the server's log says more."
        else:
            return
        self._stale = True

    def _options(self) -> dict[str, str]:
        """What a `Reading` needs to know of the choices."""
        options = {f"{view.key}.{name}": view.choices[name] for view in self.views for name in ("unit", "weight") if name in view.choices}
        return options | {AXIS: self.axis.unit}

    def _mark(self, marks: Mapping[str, list[Any]]) -> None:
        """Draw the marks of changes."""
        if marks != self.canvas.marks.data:
            self.canvas.marks.data = dict(marks)

    def _show_legend(self, view: View, note: str = "", fact: str = "") -> None:
        self.legends[view.key].show(key=view.key, entries=view.legend, choices=view.offers, note=note, fact=fact, about=view.about_fact)

    def _show_viewbar(self) -> None:
        axis = {"spans": list(SPANS.items()), "span": self.axis.span, "units": list(UNITS.items()), "unit": self.axis.unit}
        self.viewbar.show(smoothing=self.canvas.table.sigma, following=self.axis.following, **axis)

    def _on_viewbar(self, message: dict[str, Any]) -> None:
        if "smoothing" in message:
            self.canvas.smooth(_width(message["smoothing"], self.canvas.table.sigma))
        elif message.get("unit") in UNITS:
            self.axis.count(message["unit"])
        elif message.get("span") in SPANS:
            self.axis.span = message["span"]
            self.axis.follow()
        elif "follow" in message:
            self.axis.follow()
        self._stale = True

    def _on_legend(self, view: View, message: dict[str, Any]) -> None:
        if "toggle" in message:
            view.toggle(str(message["toggle"]))
        elif message.get("value") in view.options.get(str(message.get("choose")), {}):
            view.choose(message["choose"], message["value"])
        view.fit_again()
        self._stale = True


def _width(text: str, former: float) -> float:
    try:
        width = float(text)
    except ValueError:
        return former
    return former if math.isnan(width) else min(max(width, 0.0), WIDEST)
