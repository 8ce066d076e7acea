"""The orbit diagram: where the iterates end up for every value of a parameter, coloured by their period; or a map over two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, Image
from bokeh.plotting import figure

from cflows_app.toylab.board import FLOW, PERIOD_COLORS, PERIODS, Board, LabView, fill
from cflows_app.toylab.results import SYMBOLS, Diagram
from cflows_app.views.canvas import render
from cflows_core.palette import Stroke

BINS = 320  # of the vertical axis: points of one column that would be drawn on one another are drawn once
SPAN = (0.5, 99.5)  # per cent of all points that must be seen
OVER = {"lr": "η", "beta1": "β₁", "beta2": "β₂", "lr-beta1": "η, β₁", "lr-beta2": "η, β₂", "beta1-beta2": "β₁, β₂"}


class OrbitView(LabView):
    key = "orbits"
    title = "Orbit diagram"
    caption = "Where iterates end up. A click sets the value."
    options = {"over": OVER}

    def __init__(self, canvas: Board):
        self.varied: tuple[str, ...] = ("lr",)
        self.diagram: Diagram | None = None
        super().__init__(canvas)

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "η", "x")
        plot.xaxis.ticker.desired_num_ticks = 7
        self.map = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        mapper = self.canvas.mapper(tuple(PERIOD_COLORS.values()))
        image = render(
            plot, self.map, Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=mapper, global_alpha=0.8), level="image"
        )
        image.tags = ["color:card"]
        self.marks: dict[int, ColumnDataSource] = {}
        for period, color in PERIOD_COLORS.items():
            self.marks[period] = self._dots(plot, PERIODS[period], Stroke(color), 3 if period else 1.6)
            self.entries[PERIODS[period]] = (FLOW, Stroke(color, 5))
        self.here = self.canvas.span(plot, "height")
        self.here_up = self.canvas.span(plot, "width")
        return plot

    @property
    def over(self) -> tuple[str, ...]:
        """The parameter of the diagram, or the two of the map."""
        names = tuple(self.choices["over"].split("-"))
        return names if set(names) <= set(self.varied) else ("lr",)

    @property
    def offers(self) -> list[dict[str, Any]]:
        (offer,) = super().offers
        values = [value for value in offer["values"] if set(value[0].split("-")) <= set(self.varied)]
        return [{**offer, "values": values, "value": "-".join(self.over)}] if len(values) > 1 else []

    def take(self, diagram: Diagram) -> None:
        """Show another diagram, or another map."""
        self.diagram = diagram
        self.figure.xaxis.axis_label = SYMBOLS[diagram.over[0]]
        self.figure.yaxis.axis_label = SYMBOLS[diagram.over[1]] if diagram.flat else "x"
        x = diagram.values[0]
        self.figure.x_range.update(start=float(x[0]), end=float(x[-1]))
        for source in self.marks.values():
            fill(source)
        if diagram.flat:
            y = diagram.values[1]
            place = {period: i for i, period in enumerate(PERIOD_COLORS)} | {-1: len(PERIOD_COLORS)}
            image = np.vectorize(place.get, otypes=[np.uint8])(diagram.period.T)
            size = {"dw": [float(x[-1] - x[0])], "dh": [float(y[-1] - y[0])]}
            self.map.data = {"image": [image], "x": [float(x[0])], "y": [float(y[0])], **size}
            self.figure.y_range.update(start=float(y[0]), end=float(y[-1]))
            return
        if len(self.map.data["image"]):
            self.map.data = {name: [] for name in self.map.data}
        ends = diagram.points[np.isfinite(diagram.points)]
        low, high = np.percentile(ends, SPAN) if len(ends) else (-1.0, 1.0)
        room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        low, high = low - room, high + room
        self.figure.y_range.update(start=float(low), end=float(high))
        for period, source in self.marks.items():
            fill(source, *thinned(x, diagram.points, diagram.period == period, low, high))

    def mark(self, values: dict[str, float]) -> None:
        """Mark the present values."""
        if self.diagram is None:
            return
        first, *rest = self.diagram.over
        self.here.update(location=values[first], visible=True)
        if rest:
            self.here_up.update(location=values[rest[0]], visible=True)
        elif self.here_up.visible:
            self.here_up.visible = False


def thinned(values: np.ndarray, places: np.ndarray, columns: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The points (x, y) of some columns, of those that fall into one of `BINS` cells between low and high only one."""
    column, y = np.repeat(np.flatnonzero(columns), places.shape[1]), places[columns].ravel()
    inside = np.isfinite(y) & (y >= low) & (y <= high)
    column, y = column[inside], y[inside]
    cell = np.floor((y - low) / (high - low) * BINS).astype(int)
    _, kept = np.unique(column * (BINS + 1) + cell, return_index=True)
    return values[column[kept]], y[kept]
