"""What the toy lab's panels share: their canvas, and a panel that is drawn from what was computed rather than from a table of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, Glyph, GlyphRenderer, LinearColorMapper, Scatter, Span
from bokeh.plotting import figure

from cflows_app.streaming import Reading
from cflows_app.views.base import View
from cflows_app.views.canvas import Canvas, render
from cflows_core.palette import Stroke

FLOW = "discrete"  # to which everything belongs, so that the legend alone decides what is drawn
PERIODS = {1: "rest", 2: "period 2", 4: "period 4", 0: "other, chaos", -1: "diverges"}
PERIOD_COLORS = {1: "faint", 2: "discrete", 4: "central", 0: "stationary"}  # of the palette


class Board(Canvas):
    """A canvas with lines of its own that move, and maps whose colours are the palette's."""

    def __init__(self, *args: object):
        super().__init__(*args)  # type: ignore[arg-type]
        self.spans: list[Span] = []
        self.mappers: list[LinearColorMapper] = []

    def span(self, plot: figure, dimension: str) -> Span:
        """A line across a plot, at a value that is set later."""
        line = Span(
            dimension=dimension, location=0, line_color=self.palette["accent"], line_width=1.5, visible=False, tags=["color:accent"]
        )
        plot.add_layout(line)
        self.spans.append(line)
        return line

    def mapper(self, colors: Sequence[str]) -> LinearColorMapper:
        """Whole numbers from 0 on in these colours of the palette; what is beyond is not drawn."""
        clear = "rgba(0, 0, 0, 0)"
        made = LinearColorMapper(
            palette=[self.palette[name] for name in colors],
            low=-0.5,
            high=len(colors) - 0.5,
            low_color=clear,
            high_color=clear,
            nan_color=clear,
        )
        made.tags = [f"palette:{','.join(colors)}"]
        self.mappers.append(made)
        return made

    def paint(self, palette: dict[str, str], plots: Sequence[figure]) -> None:
        super().paint(palette, plots)
        for line in self.spans:
            line.line_color = palette["accent"]
        for mapper in self.mappers:
            mapper.palette = [palette[name] for name in mapper.tags[0].removeprefix("palette:").split(",")]


class LabView(View):
    """A panel of the toy lab; legend entries that mean nothing now are `absent`."""

    canvas: Board

    def __init__(self, canvas: Board):
        self.canvas = canvas
        super().__init__()
        self.show((FLOW,))

    def refresh(self, reading: Reading, following: bool) -> None:
        return

    def fit_again(self) -> None:
        return

    def moved(self, event: RangesUpdate) -> bool:
        return False

    def leave_out(self, *entries: str) -> None:
        """Let these legend entries be absent, and no others."""
        if set(entries) != self.absent:
            self.absent = set(entries)
            self.show(self.flows)

    def _glyph(
        self, plot: figure, source: ColumnDataSource, glyph: Glyph, legend: str, stroke: Stroke, level: str = "glyph"
    ) -> GlyphRenderer:
        return self.draw(legend, FLOW, stroke, render(plot, source, glyph, level=level))

    def _line(self, plot: figure, legend: str, stroke: Stroke, level: str = "glyph", **properties: object) -> ColumnDataSource:
        """A line, given its points later."""
        source = points()
        self._glyph(plot, source, self.canvas.line(stroke, **properties), legend, stroke, level)
        return source

    def _dots(self, plot: figure, legend: str, stroke: Stroke, size: float, hollow: bool = False, **properties: object) -> ColumnDataSource:
        """Points, given later, with an opacity each."""
        source = points(alpha=True)
        color = self.canvas.palette[stroke.color]
        dot = Scatter(
            x="x",
            y="y",
            size=size,
            line_color=color,
            fill_color=color,
            line_width=1.6 if hollow else 0,
            fill_alpha=0.0 if hollow else "alpha",
            line_alpha="alpha" if hollow else 0.0,
            **properties,
        )
        self._glyph(plot, source, dot, legend, stroke)
        return source


def points(alpha: bool = False) -> ColumnDataSource:
    """An empty source of places."""
    return ColumnDataSource({name: np.empty(0) for name in ("x", "y", *(["alpha"] if alpha else []))})


def fill(source: ColumnDataSource, x: object = (), y: object = (), alpha: object = 1.0) -> None:
    """Give a source its places, those that are not finite as gaps; nothing is sent if there were and are none."""
    x, y = np.atleast_1d(np.asarray(x, dtype=float)), np.atleast_1d(np.asarray(y, dtype=float))
    data = {"x": x, "y": y}
    if "alpha" in source.data:
        data["alpha"] = np.broadcast_to(np.asarray(alpha, dtype=float), x.shape).copy()
    if len(x) or len(source.data["x"]):
        source.data = data
