"""The loss with the iterates on it: a curve of one weight, or contours of two seen from above; the rod as a rod."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from bokeh.models import ColumnDataSource, Line, MultiLine, Quad
from bokeh.plotting import figure
from bokeh.plotting.contour import contour_data

from cflows_app.toylab.board import FLOW, LabView, fill, points
from cflows_app.toylab.results import Scene
from cflows_app.toylab.setting import Setting
from cflows_app.views.limits import Limits
from cflows_core.palette import STROKES, Stroke
from cflows_core.problems.toy import Loss

TRAIL = 40  # iterates that are still seen
FADES = 0.93  # of their opacity from one to the one before
FINE, COARSE = 401, 121  # points of a curve, and of each side of a map
LEVELS = 14
ROOM = 0.12  # of what is seen, left free beside it
FAR = 6.0  # times the size of what belongs to the loss: beyond it iterates that diverge are not followed
EDGE = "past the edge"
FLAT = ("loss", "2-cycle")  # legend entries of one weight
SEEN_FROM_ABOVE = ("contours", "stable", "central")  # of two


class LandscapeView(LabView):
    key = "landscape"
    title = "On the loss"
    caption = "The newest iterate is the strongest."

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "x", "loss")
        plot.xaxis.ticker.desired_num_ticks = 7
        palette = self.canvas.palette
        self.x_limits, self.y_limits = Limits(plot.x_range), Limits(plot.y_range)
        self.entries = {"iterates": (FLOW, Stroke("discrete", 3)), "loss": (FLOW, Stroke("muted", 1.6))}
        self.regions = ColumnDataSource({"left": [], "right": [], "top": [], "bottom": []})
        region = Quad(left="left", right="right", top="top", bottom="bottom", fill_color=palette["edge"], fill_alpha=0.1, line_alpha=0.0)
        self._glyph(plot, self.regions, region, EDGE, Stroke("edge", 6, (), 0.2), "underlay")
        self.lines = ColumnDataSource({"xs": [], "ys": []})
        contour = MultiLine(xs="xs", ys="ys", line_color=palette["faint"], line_width=0.8, line_alpha=0.6)
        self._glyph(plot, self.lines, contour, "contours", Stroke("faint", 1.0))
        self.floor = self._line(plot, "contours", STROKES["edge"])
        self.curve = self._line(plot, "loss", Stroke("muted", 1.6))
        self.paths = {name: self._line(plot, name, STROKES[name]) for name in ("stable", "central")}
        self.path = self._line(plot, "iterates", Stroke("discrete", 0.8, (), 0.35))
        self.rod = points()
        rod = Line(x="x", y="y", line_width=7, line_alpha=0.55, line_cap="round", line_color=palette["rod"])
        self._glyph(plot, self.rod, rod, "rod", STROKES["rod"])
        self.ends = self._dots(plot, "rod", Stroke("rod"), 7)
        self.cycle = self._dots(plot, "2-cycle", Stroke("edge"), 11, hollow=True, marker="diamond")
        self.trail = self._dots(plot, "iterates", Stroke("discrete"), 8)
        self.scene: Scene | None = None
        self._window: tuple[float, ...] = ()
        return plot

    def take(self, scene: Scene) -> None:
        """Show another walk, or another loss."""
        former, self.scene = self.scene, scene
        if former is None or former.setting.loss != scene.setting.loss:
            self.x_limits.forget()
            self.y_limits.forget()
        one = scene.one
        gone = [name for name in ("rod", *SEEN_FROM_ABOVE[1:]) if not scene.has(name)]
        self.leave_out(*gone, *(SEEN_FROM_ABOVE if one else (*FLAT, EDGE)), *([] if scene.cycle or not one else ["2-cycle"]))
        if one:
            self._take_curve(scene)
        else:
            self._take_contours(scene)

    def look(self, moment: int) -> None:
        """Show a step of the walk."""
        scene = self.scene
        if scene is None:
            return
        walk, toy = scene.walk, scene.setting.toy
        first = max(0, moment + 1 - TRAIL)
        trail = self._places(walk.w[first : moment + 1])
        fill(self.trail, *trail, alpha=FADES ** np.arange(moment - first, -1, -1))
        fill(self.path, *trail)
        ends = scene.rod_ends(moment)
        fill(self.rod, *(self._places(ends) if ends is not None else ((), ())))
        fill(self.ends, *(self._places(ends) if ends is not None else ((), ())))
        if toy.n_params == 1:
            self._shade(scene, moment)

    # -- inside -------------------------------------------------------------------------------------------------------------------
    def _places(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points w [n, d] are drawn: (x, L(x)), or the plane's two directions."""
        assert self.scene is not None
        if w.shape[1] == 1:
            return w[:, 0], heights(self.scene.setting.toy, w)
        return (w[:, 1], w[:, 0]) if self.scene.setting.loss == "valley" else (w[:, 0], w[:, 1])

    def _take_curve(self, scene: Scene) -> None:
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = "x", "loss"
        near = _near(scene)
        self.x_limits.fit([near])
        low, high = float(self.x_limits.axis.start), float(self.x_limits.axis.end)
        x = np.linspace(low, high, FINE)
        y = heights(scene.setting.toy, x[:, None])
        fill(self.curve, x, y)
        inside = y[(x >= near.min()) & (x <= near.max())]
        self.y_limits.fit([inside])
        fill(self.cycle, *(((), ()) if scene.cycle is None else self._places(scene.cycle.w)))
        fill(self.floor)
        for source in self.paths.values():
            fill(source)
        if len(self.lines.data["xs"]):
            self.lines.data = {"xs": [], "ys": []}
        self._grid = x, curvatures(scene.setting.toy, x)

    def _shade(self, scene: Scene, moment: int) -> None:
        """Where the effective curvature exceeds the threshold, with the preconditioner of the moment."""
        x, curvature = self._grid
        past = np.concatenate([[False], curvature > scene.critical(moment), [False]])
        turns = np.flatnonzero(past[1:] != past[:-1])
        left, right = x[turns[::2]], x[np.minimum(turns[1::2], len(x) - 1)]
        size = [1e3 * (abs(self.y_limits.axis.end) + abs(self.y_limits.axis.start) + 1.0)] * len(left)
        data = {"left": left, "right": right, "top": size, "bottom": [-value for value in size]}
        if len(left) or len(self.regions.data["left"]):
            self.regions.data = data

    def _take_contours(self, scene: Scene) -> None:
        valley = scene.setting.loss == "valley"
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = ("u, along", "x, across") if valley else ("x", "y")
        walk = scene.walk
        seen = [walk.w, walk.stable, walk.central]
        if valley:
            seen.append(np.array([[0.0, scene.setting.target]]))
        size = FAR * max(1.0, *(abs(value) for value in (scene.setting.x, scene.setting.y, scene.setting.target if valley else 0.0)))
        places = [np.concatenate(part) for part in zip(*map(self._places, seen), strict=True)]
        for limits, part in zip((self.x_limits, self.y_limits), places, strict=True):
            limits.fit([part[np.isfinite(part) & (np.abs(part) <= size)]])
        window = tuple(float(value) for axis in (self.x_limits.axis, self.y_limits.axis) for value in (axis.start, axis.end))
        self.lines.data = dict(zip(("xs", "ys"), contours(scene.setting, window), strict=True))
        for name, source in self.paths.items():
            fill(source, *self._places(getattr(walk, name)))
        edge = scene.edge_line
        fill(self.floor, *(((), ()) if edge is None else ([edge, edge], [window[2] - 1e3, window[3] + 1e3])))
        fill(self.curve)
        fill(self.cycle)
        if len(self.regions.data["left"]):
            self.regions.data = {name: [] for name in self.regions.data}


def heights(toy: Loss, w: np.ndarray) -> np.ndarray:
    """L at the points w [n, d], [n]; NaN where it is not finite."""
    values = toy.loss(torch.as_tensor(w, dtype=torch.float64)).numpy()
    return np.where(np.isfinite(values), values, np.nan)


def curvatures(toy: Loss, x: np.ndarray) -> np.ndarray:
    """L″ at the points x [n]."""
    w = torch.as_tensor(x, dtype=torch.float64)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(toy.loss(w).sum(), w, create_graph=True)
    if not slope.requires_grad:
        return np.zeros(len(x))
    (curvature,) = torch.autograd.grad(slope.sum(), w)
    return curvature[:, 0].numpy()


@functools.lru_cache(maxsize=64)
def contours(setting: Setting, window: tuple[float, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The loss's contours within a window (left, right, bottom, top), close together near its lowest point."""
    across, up = np.linspace(*window[:2], COARSE), np.linspace(*window[2:], COARSE)
    first, second = np.meshgrid(across, up)
    w = np.stack([second, first] if setting.loss == "valley" else [first, second], axis=-1)
    z = heights(setting.toy, w.reshape(-1, 2)).reshape(first.shape)
    low, high = np.nanmin(z), np.nanmax(z)
    if not math.isfinite(high - low) or high <= low:
        return [], []
    levels = low + (high - low) * np.linspace(0, 1, LEVELS + 2)[1:-1] ** 2
    lines = contour_data(first, second, z, levels, want_fill=False).line_data
    assert lines is not None
    return [line for level in lines.xs for line in _pieces(level)], [line for level in lines.ys for line in _pieces(level)]


def _pieces(line: np.ndarray) -> list[np.ndarray]:
    """The parts of a line that gaps separate."""
    gaps = np.flatnonzero(np.isnan(line))
    return [part[~np.isnan(part)] for part in np.split(line, gaps)]


def _near(scene: Scene) -> np.ndarray:
    """Places on the axis that should be seen: the iterates, as far as they stay near, the cycle, and what belongs to the loss."""
    setting, walk = scene.setting, scene.walk
    fixed = [setting.x]
    if setting.loss in ("quadratic", "quartic"):
        fixed += [0.0, -setting.x]
    if setting.loss == "quartic":
        wall = math.sqrt(setting.sharpness / setting.gamma)
        fixed += [-1.05 * wall, 1.05 * wall]
    if scene.cycle is not None:
        fixed += scene.cycle.w[:, 0].tolist()
    size = max(map(abs, fixed)) or 1.0
    if setting.loss == "linear":
        return np.concatenate([walk.w[:, 0], [0.0]])
    bound = (1.3 if setting.loss == "quartic" else FAR) * size
    near = walk.w[np.abs(walk.w[:, 0]) <= bound, 0]
    return np.concatenate([near, fixed])
