"""A panel whose curves come ready made (`cflows_core.panels.Panel`), one after another in the same frame."""

from __future__ import annotations

import numpy as np
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure

from cflows_app.streaming import Reading
from cflows_app.views.base import View
from cflows_app.views.canvas import Canvas, at_once, render
from cflows_app.views.limits import Limits, use_scale
from cflows_core.panels import Curve, Panel

FLOW = "discrete"  # to which all its curves belong: they are shown whatever flows are

_POINTER = """
<div style="font: 12px/1.35 system-ui, sans-serif; font-variant-numeric: tabular-nums">
  <b>$name</b><br>$snap_y{%.4g}&ensp;<span style="opacity: .7">at $snap_x{%.6g}</span>
</div>"""


class Slot(View):
    """key, title, caption: of the card; the page writes the panel's own title over it."""

    key = title = caption = ""

    def __init__(self, canvas: Canvas, number: int):
        self.canvas = canvas
        self.key, self.title = f"panel{number}", f"Panel {number}"  # type: ignore[misc]
        self.panel: Panel | None = None
        super().__init__()
        self.limits = Limits(self.figure.y_range, decades=8)
        self.show((FLOW,))

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "", "")
        self.pointer = HoverTool(
            renderers=[],
            tooltips=_POINTER,
            formatters={"$snap_y": "printf", "$snap_x": "printf"},
            line_policy="nearest",
            point_policy="snap_to_data",
            visible=False,
        )
        plot.add_tools(self.pointer)
        return plot

    def fill(self, panel: Panel) -> None:
        """Draw this panel in place of the former."""
        self.panel, plot = panel, self.figure
        self.hidden, self.entries, self.drawn = set(), {}, []
        with at_once(plot):
            plot.renderers = []
            plot.xaxis.axis_label, plot.yaxis.axis_label = panel.x, panel.y
            self._rescale(panel.log)
            for curve, legend in zip(panel.curves, _legends(panel.curves), strict=True):
                self._draw(curve, legend)
            self.entries.pop("", None)
            self.pointer.renderers = list(plot.renderers)  # type: ignore[assignment]
            self.show((FLOW,))
            self.fit_again()

    def _draw(self, curve: Curve, legend: str) -> None:
        stroke = curve.stroke
        source = ColumnDataSource({"x": np.asarray(curve.xs, dtype=float), "y": np.asarray(curve.ys, dtype=float)})
        self.draw(legend, FLOW, stroke, render(self.figure, source, self.canvas.line(stroke), name=legend, tags=[f"color:{stroke.color}"]))

    def _rescale(self, log: str) -> None:
        scale = "log" if "y" in log else "linear"
        use_scale(self.figure, scale)
        self.limits.rescale(scale)
        use_scale(self.figure, "log" if "x" in log else "linear", "x")

    def fit_again(self) -> None:
        if self.panel is None:
            return
        self.limits.forget()
        shown = [curve for curve, (legend, _, _) in zip(self.panel.curves, self.drawn, strict=True) if legend not in self.hidden]
        self.limits.fit([np.asarray(curve.ys, dtype=float) for curve in shown])
        xs = np.concatenate([np.asarray(curve.xs, dtype=float)[np.isfinite(curve.ys)] for curve in shown]) if shown else np.empty(0)
        xs = xs[np.isfinite(xs) & (xs > 0 if "x" in self.panel.log else True)]
        if len(xs):
            low, high = float(xs.min()), float(xs.max())
            self.figure.x_range.update(start=low, end=high if high > low else low + 1)

    def refresh(self, reading: Reading, following: bool) -> None:
        return

    def moved(self, event: RangesUpdate) -> bool:
        return False


def _legends(curves: tuple[Curve, ...]) -> list[str]:
    """The legend entry of each curve: one without a label belongs to the last labelled one of its colour."""
    last: dict[str, str] = {}
    entries = []
    for curve in curves:
        if curve.label:
            last[curve.stroke.color] = curve.label
        entries.append(last.get(curve.stroke.color, ""))
    return entries
