"""The drawings of lessons that are no panels over the steps: a cartoon of theory and reality, and final sharpness against 2/η."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, Patch, Scatter, Text
from bokeh.plotting import figure

from cflows_app.lessons.cartoon import LARGE, SMALL, START, VALLEY, cartoon
from cflows_app.stored import Stored
from cflows_app.streaming import Reading
from cflows_app.theme import FONT
from cflows_app.views.base import View
from cflows_app.views.canvas import Canvas, render
from cflows_app.views.limits import use_scale
from cflows_core.palette import STROKES, Stroke

FLOW = "discrete"  # to which drawings belong, so that they are drawn whatever flows are shown


class Drawing(View):
    """A figure that is not drawn from the page's table. `advance` draws a part of it, so that it grows when it is revealed."""

    def __init__(self, canvas: Canvas):
        self.canvas = canvas
        super().__init__()

    def refresh(self, reading: Reading, following: bool) -> None:
        return

    def fit_again(self) -> None:
        return

    def moved(self, event: RangesUpdate) -> bool:
        return False

    @abstractmethod
    def advance(self, share: float) -> None:
        """Draw that share of it, from 0 to 1."""

    def _line(self, plot: figure, source: ColumnDataSource, stroke: Stroke, legend: str) -> None:
        self.draw(legend, FLOW, stroke, render(plot, source, self.canvas.line(stroke)))


class CartoonView(Drawing):
    """Gradient descent in a valley that grows steeper on the way to its minimum (cartoon.py), seen from above."""

    lr: ClassVar[float]
    flows_drawn: ClassVar[tuple[tuple[str, str, Stroke], ...]]  # attribute of the cartoon, legend, stroke

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "along the valley's floor", "")
        plot.yaxis.visible = plot.grid.visible = False
        plot.x_range.update(start=0.3, end=3.9)
        plot.y_range.update(start=-2.8, end=1.8)
        palette = self.canvas.palette
        drawn = cartoon(self.lr)
        outside = np.concatenate([drawn.edge, drawn.edge[::-1] + 9 * drawn.beyond])
        region = Patch(x="x", y="y", fill_color=palette["edge"], fill_alpha=0.08, line_color=None)
        self.draw("beyond the edge", FLOW, Stroke("edge", 6, (), 0.2), render(plot, _points(outside), region))
        self._line(plot, _points(drawn.edge), STROKES["edge"], "edge, sharpness 2/η")
        self.paths = {name: _points(np.empty((0, 2))) for name, _, _ in self.flows_drawn}
        for name, legend, stroke in self.flows_drawn:
            self._line(plot, self.paths[name], stroke, legend)
        spots = _points(np.stack([np.array(START[1:]), VALLEY.target.numpy()]))
        spots.data["text"] = ["start", "minimum"]
        mark = {"line_color": palette["ink"], "fill_color": palette["ink"]}
        self.draw("", FLOW, Stroke("ink"), render(plot, spots, Scatter(x="x", y="y", size=6, **mark)))
        label = Text(
            x="x", y="y", text="text", text_color=palette["ink"], text_font={"value": FONT}, text_font_size="12px", x_offset=8, y_offset=4
        )
        self.draw("", FLOW, Stroke("ink"), render(plot, spots, label))
        del self.entries[""]
        return plot

    def advance(self, share: float) -> None:
        drawn = cartoon(self.lr)
        for name, source in self.paths.items():
            path = getattr(drawn, name)
            _fill(source, path[: max(1, round(share * len(path)))])


class ExpectationView(CartoonView):
    key = "expectation"
    title = "What theory expects"
    caption = "A path that stays where the sharpness is below 2/η."
    lr = SMALL
    flows_drawn = (("iterates", "gradient descent", Stroke("discrete", 1.4)),)


class RealityView(CartoonView):
    key = "reality"
    title = "What happens"
    caption = "The path reaches the edge, and slides along it."
    lr = LARGE
    flows_drawn = (
        ("iterates", "gradient descent", Stroke("discrete", 1.0)),
        ("stable", "stable flow", STROKES["stable"]),
        ("central", "central flow", Stroke("central", 2.4)),
    )


class SweepView(Drawing):
    """The sharpness of runs against the edge that their step size gives them: on the diagonal they are at the edge."""

    key = "sweep"
    title = "Sharpness against 2/η"
    caption = "A point a step size; on the diagonal, a run is at its edge."

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "2/η", "sharpness")
        use_scale(plot, "log")
        use_scale(plot, "log", "x")
        self.diagonal, self.trails, self.points = (ColumnDataSource({"x": [], "y": []}) for _ in range(3))
        color = self.canvas.palette["discrete"]
        self._line(plot, self.diagonal, STROKES["edge"], "edge, sharpness = 2/η")
        self._line(plot, self.trails, Stroke("raw", 1.2), "during training")
        points = Scatter(x="x", y="y", size=9, line_color=color, fill_color=color)
        self.draw("now", FLOW, Stroke("discrete", 5), render(plot, self.points, points))
        self.runs: list[tuple[float, np.ndarray]] = []  # 2/η, sharpness [n]
        return plot

    def take(self, runs: Sequence[Stored]) -> None:
        """Show these runs."""
        self.runs = [(2 / run.config.lr, run.history.series("discrete", "hessian_eigs")[:, 0]) for run in runs]
        edges = [edge for edge, _ in self.runs]
        values = np.concatenate([sharpness[np.isfinite(sharpness)] for _, sharpness in self.runs])
        self.figure.x_range.update(start=min(edges) / 1.6, end=max(edges) * 1.6)
        low, high = min(values.min(), min(edges)) / 1.3, max(values.max(), max(edges)) * 1.3
        self.figure.y_range.update(start=low, end=high)
        _fill(self.diagonal, np.array([[low, low], [high, high]]))

    def advance(self, share: float) -> None:
        trails, points = [], []
        for edge, sharpness in self.runs:
            seen = sharpness[: max(1, round(share * len(sharpness)))]
            trails += [np.column_stack([np.full(len(seen), edge), seen]), np.full((1, 2), np.nan)]
            points.append([edge, seen[-1]])
        if points:
            _fill(self.trails, np.concatenate(trails))
            _fill(self.points, np.array(points))

    def outcome(self) -> dict[str, Any]:
        """The table: a column a run."""
        last = [(edge, float(np.nanmean(sharpness[-10:]))) for edge, sharpness in self.runs]
        rows = {
            "2/η": [f"{edge:.4g}" for edge, _ in last],
            "Sharpness at the end": [f"{value:.4g}" for _, value in last],
            "Ratio": [f"{value / edge:.3f}" for edge, value in last],
        }
        heads = [{"label": f"η = {2 / edge:g}", "color": "discrete"} for edge, _ in last]
        cells = [{"label": label, "term": "", "cells": values} for label, values in rows.items()]
        return {"heads": heads, "groups": [{"title": "Six step sizes" if len(last) == 6 else "Step sizes", "rows": cells}]}


DRAWINGS = (ExpectationView, RealityView, SweepView)


def _points(places: np.ndarray) -> ColumnDataSource:
    return ColumnDataSource({"x": places[:, 0], "y": places[:, 1]})


def _fill(source: ColumnDataSource, places: np.ndarray) -> None:
    source.data = {"x": places[:, 0], "y": places[:, 1]}
