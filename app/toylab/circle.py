"""The unit circle: eigenvalues of one step's transition matrix, which leave it at −1 when the edge is crossed."""

from __future__ import annotations

import numpy as np
from bokeh.models import CustomJS
from bokeh.plotting import figure

from cflows_app.toylab.board import FLOW, LabView, fill
from cflows_app.toylab.results import Scene
from cflows_core.palette import STROKES, Stroke

TURN = np.linspace(0, 2 * np.pi, 181)
NOW, BEFORE, CYCLE = "of this step", "of those before", "2-cycle"
SMALLEST, LARGEST = 1.25, 4.0  # half the height that is seen

# As wide as makes a circle round.
_ROUND = """
const {start, end} = plot.y_range
const half = (end - start) / 2 * plot.inner_width / plot.inner_height
if (Number.isFinite(half) && half > 0) plot.x_range.setv({start: -half, end: half})
"""


class CircleView(LabView):
    key = "circle"
    title = "Unit circle"
    caption = "Eigenvalues of one step."

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "real part", "imaginary part")
        follow = CustomJS(args={"plot": plot}, code=_ROUND)
        for event in ("inner_width", "inner_height"):
            plot.js_on_change(event, follow)
        plot.y_range.js_on_change("end", follow)
        self.entries = {NOW: (FLOW, Stroke("discrete", 4)), BEFORE: (FLOW, Stroke("raw", 3)), CYCLE: (FLOW, Stroke("rod", 4))}
        circle = self._line(plot, "circle", STROKES["edge"])
        fill(circle, np.cos(TURN), np.sin(TURN))
        del self.entries["circle"]
        self.trail = self._dots(plot, BEFORE, Stroke("raw"), 4)
        self.now = self._dots(plot, NOW, Stroke("discrete"), 9)
        self.multipliers = self._dots(plot, CYCLE, Stroke("rod"), 11, hollow=True, marker="diamond")
        self.scene: Scene | None = None
        return plot

    def take(self, scene: Scene) -> None:
        """Show another walk."""
        self.scene = scene
        values, multipliers = scene.eigenvalues, scene.multipliers
        fill(self.multipliers, multipliers.real, multipliers.imag)
        self.leave_out(*([] if len(multipliers) else [CYCLE]))
        seen = np.concatenate([np.abs(values[np.isfinite(values)]).ravel(), np.abs(multipliers)])
        size = min(max(SMALLEST, 1.12 * float(seen.max(initial=0.0))), LARGEST)
        if self.figure.y_range.end != size:
            self.figure.y_range.update(start=-size, end=size)

    def look(self, moment: int) -> None:
        """Show a step of the walk."""
        if self.scene is None:
            return
        past = self.scene.eigenvalues[: moment + 1]
        fill(self.trail, past.real.ravel(), past.imag.ravel())
        fill(self.now, past[-1:].real.ravel(), past[-1:].imag.ravel())
