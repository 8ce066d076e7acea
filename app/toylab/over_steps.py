"""Over the steps: where the iterates are, beside the rod's ends and the central flow; and how far from the edge."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from bokeh.models import ColumnDataSource, VArea
from bokeh.plotting import figure

from cflows_app.toylab.board import FLOW, LabView, fill
from cflows_app.toylab.results import Scene
from cflows_app.views.limits import Limits, use_scale
from cflows_core.palette import STROKES, Stroke

CYCLE = "2-cycle"
FARTHEST = (-2.0, 4.0)  # λ/c that limits follow
ZIGZAG = 110  # steps, up to which a line joins the iterates
FAR = 1e6  # steps: a line across the whole panel


class OverSteps(LabView):
    """Lines over the steps of a walk, whose moment is marked on all of them."""

    scene: Scene | None = None

    def build(self) -> figure:
        plot = self.canvas.figure(self.key, "")
        use_scale(plot, "linear")
        self.limits = Limits(plot.y_range)
        self.draw_into(plot)
        return plot

    @abstractmethod
    def draw_into(self, plot: figure) -> None:
        """Draw all that is ever drawn, empty."""

    def take(self, scene: Scene) -> None:
        """Show another walk."""
        if self.scene is None or self.scene.setting.loss != scene.setting.loss:
            self.limits.forget()
        self.scene = scene
        self.draw_scene(scene)

    @abstractmethod
    def draw_scene(self, scene: Scene) -> None:
        """Draw a walk."""

    def fit_again(self) -> None:
        self.limits.forget()
        if self.scene is not None:
            self.draw_scene(self.scene)


class PositionView(OverSteps):
    key = "position"
    title = "Over the steps"
    caption = ""
    options = {"coordinate": {"first": "x", "second": "y"}}

    def draw_into(self, plot: figure) -> None:
        self.entries = {"iterates": (FLOW, Stroke("discrete", 3)), "rod": (FLOW, STROKES["rod"])}
        self.band = ColumnDataSource({"x": [], "low": [], "high": []})
        area = VArea(x="x", y1="low", y2="high", fill_color=self.canvas.palette["central"], fill_alpha=0.12)
        self._glyph(plot, self.band, area, "central ± σ", STROKES["central"], "underlay")
        self.path = self._line(plot, "iterates", Stroke("discrete", 0.7, (), 0.25))
        self.stable = self._line(plot, "stable", STROKES["stable"])
        self.central = self._line(plot, "central ± σ", STROKES["central"])
        self.ends = [self._line(plot, "rod", STROKES["rod"]) for _ in range(2)]
        self.cycle = self._line(plot, CYCLE, STROKES["edge"])
        self.iterates = self._dots(plot, "iterates", Stroke("discrete"), 4)

    @property
    def offers(self) -> list[dict[str, object]]:
        if self.scene is None or self.scene.walk.w.shape[1] == 1:
            return []
        second = "u" if self.scene.setting.loss == "valley" else "y"
        return [{**offer, "values": [["first", "x", ""], ["second", second, ""]]} for offer in super().offers]

    def draw_scene(self, scene: Scene) -> None:
        walk = scene.walk
        at = min(walk.w.shape[1] - 1, 0 if self.choices["coordinate"] == "first" else 1)
        self.figure.yaxis.axis_label = "x" if at == 0 else "u" if scene.setting.loss == "valley" else "y"
        w = walk.w[:, at]
        steps = np.arange(len(w))
        fill(self.iterates, steps, w, alpha=0.85)
        fill(self.path, *((steps, w) if len(w) <= ZIGZAG else ((), ())))
        fill(self.stable, steps, walk.stable[:, at])
        fill(self.central, steps, walk.central[:, at])
        middle, spread = walk.central[:, at], scene.spread(at)
        known = np.isfinite(middle + spread)
        self.band.data = {"x": steps[known], "low": (middle - spread)[known], "high": (middle + spread)[known]}
        for source, path in zip(self.ends, scene.rod_paths, strict=True):
            fill(source, steps, path[:, at])
        closed = np.repeat([] if scene.cycle is None or not scene.one else scene.cycle.w[:, 0], 3)
        fill(self.cycle, np.tile([-FAR, FAR, np.nan], len(closed) // 3), closed)
        absent = {"stable": "stable", "central": "central ± σ", "rod": "rod"}
        self.leave_out(*(entry for flow, entry in absent.items() if not scene.has(flow)), *([] if len(closed) else [CYCLE]))
        self.limits.fit([scene.near(w), *(scene.near(path[:, at]) for path in scene.rod_paths)], [closed])


class EdgeView(OverSteps):
    key = "edge"
    title = "How far from the edge"
    caption = "The edge is at 1."

    def draw_into(self, plot: figure) -> None:
        self.entries = {"at iterates": (FLOW, Stroke("raw", 3))}
        self.at_iterates = self._dots(plot, "at iterates", Stroke("raw"), 4)
        self.edge = self._line(plot, "edge", STROKES["edge"])
        self.at_centre = self._line(plot, "at centre", STROKES["discrete"])

    def draw_scene(self, scene: Scene) -> None:
        walk, c = scene.walk, scene.walk.threshold
        self.figure.yaxis.axis_label = "λ / c"
        iterates, centre = walk.eigenvalue / c, walk.eigenvalue_centre / c
        fill(self.at_iterates, np.arange(len(iterates)), iterates)
        fill(self.at_centre, np.arange(len(centre)), centre)
        fill(self.edge, [-FAR, FAR], [1.0, 1.0])
        self.limits.fit([np.clip(centre, *FARTHEST), np.array([0.0, 1.0])], [np.clip(iterates, *FARTHEST)])
