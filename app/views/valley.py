"""The valley: every path projected on the top eigenvector and on the direction of slow motion, the rod drawn as a rod and Σ as an ellipse.

The ellipse is one standard deviation: on a two-cycle the iterates lie on it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from bokeh.events import RangesUpdate
from bokeh.models import ColumnDataSource, Line, Patch, Scatter
from bokeh.plotting import figure

from cflows_app.once import once
from cflows_app.streaming import Reading, Values, short, single
from cflows_app.views.base import View
from cflows_app.views.canvas import FORMER, Canvas, render
from cflows_app.views.limits import Limits
from cflows_core.palette import STROKES, Stroke

TRAILS = {"150": 150, "600": 600, "all": 100_000}
PATHS = (
    # name, flow, series, legend, stroke
    ("raw", "discrete", "valley", "iterates", STROKES["raw"]),
    ("discrete", "discrete", "valley_centre", "centre", STROKES["discrete"]),
    ("stable", "stable", "valley", "stable", STROKES["stable"]),
    ("rod", "rod", "valley", "rod", STROKES["rod"]),
    ("central", "central", "valley", "central, Σ", STROKES["central"]),
)
PERIODS = {
    0: "No clear period along the top mode",
    1: "At rest along the top mode",
    2: "Period 2 along the top mode",
    4: "Period 4 along the top mode",
}
BENEATH = ("raw", "discrete")  # paths of the former version, drawn beneath the one that it was forked into
MOST_POINTS = 1500
MANY = 200  # points that a message has by themselves
Columns = dict[str, Values] | dict[str, np.ndarray]
_TURN = np.linspace(0, 2 * np.pi, 61)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)])


class ValleyView(View):
    key = "valley"
    title = "Valley"
    caption = "From wall to wall, while the centre drifts along."
    about_fact = "The optimizer's last 40 steps along the top mode as it was on reaching the edge. A rod stands for period 2."
    options = {"trail": {"150": "150 steps", "600": "600", "all": "all"}}

    def __init__(self, canvas: Canvas):
        self.canvas = canvas
        self.paths = {name: ColumnDataSource({"x": [], "y": []}) for name, *_ in PATHS}
        self.points = {name: ColumnDataSource({"x": [], "y": []}) for name, *_ in PATHS}
        self.faint = {name: ColumnDataSource({"x": [], "y": []}) for name in BENEATH}
        self.rod = ColumnDataSource({"x": [], "y": []})
        self.ellipse = ColumnDataSource({"x": [], "y": []})
        super().__init__()
        self.x_limits, self.y_limits = Limits(self.figure.x_range, empty=0.25), Limits(self.figure.y_range)

    def build(self) -> figure:
        plot = self.canvas.plane(self.key, "along the valley (weights)", "across (weights)")
        self.entries = {legend: (flow, stroke) for _, flow, _, legend, stroke in PATHS}
        for name, flow, _, legend, stroke in PATHS:
            thin = Stroke(stroke.color, 0.8 if name == "raw" else 1.4, stroke.dash)
            path = Line(x="x", y="y", line_width=thin.width, line_dash=list(thin.dash), line_color=self._color(thin.color))
            if name in BENEATH:
                faint = path.clone(line_alpha=FORMER)
                self.draw(legend, flow, stroke, render(plot, self.faint[name], faint, level="underlay"))
            self.draw(legend, flow, stroke, render(plot, self.paths[name], path))
        rod = Line(x="x", y="y", line_width=7, line_alpha=0.55, line_cap="round", line_color=self._color("rod"))
        self.draw("rod", "rod", STROKES["rod"], render(plot, self.rod, rod))
        ellipse = Patch(x="x", y="y", fill_alpha=0.12, line_width=2, **self._colors("central"))
        self.draw("central, Σ", "central", STROKES["central"], render(plot, self.ellipse, ellipse))
        for name, flow, _, legend, stroke in PATHS:
            color = "discrete" if name == "raw" else stroke.color
            size = 8 if name == "raw" else 5
            point = Scatter(x="x", y="y", size=size, line_width=1.2, fill_alpha=0.0 if name == "raw" else 1.0, **self._colors(color))
            self.draw(legend, flow, Stroke(color), render(plot, self.points[name], point))
        return plot

    def refresh(self, reading: Reading, following: bool) -> None:
        rows = self._rows(reading)
        seen = []
        for name, flow, series, _, _ in PATHS:
            places, path, point = once(
                reading.history, ("valley", name, rows.start, rows.stop), partial(self._path, reading, name, flow, series, rows)
            )
            _fill(self.paths[name], path)
            _fill(self.points[name], point)
            if flow in self.flows and len(places) and name in ("raw", "central", "rod"):
                seen.append(places)
            if name in BENEATH:
                _fill(self.faint[name], _columns(self._former_places(reading, flow, series, rows)[-MOST_POINTS:]))
        rod, ellipse = once(reading.history, ("extents", rows.start, rows.stop), partial(self._extents, reading, rows))
        _fill(self.rod, rod)
        _fill(self.ellipse, ellipse)
        if following and seen:
            self.x_limits.fit([places[:, 0] for places in seen])
            self.y_limits.fit([places[:, 1] for places in seen])

    def fit_again(self) -> None:
        self.x_limits.forget()
        self.y_limits.forget()

    def moved(self, event: RangesUpdate) -> bool:
        return not (self.x_limits.given(event.x0, event.x1) and self.y_limits.given(event.y0, event.y1))

    def choose(self, option: str, value: str) -> None:
        super().choose(option, value)
        self.fit_again()

    def note(self, reading: Reading) -> str:
        if "valley" not in reading.config.observe:
            return "This run does not observe the valley."
        if reading.rows and self._rows(reading).start == reading.rows:
            return "The plane is fixed when the flows start."
        return ""

    def fact(self, reading: Reading) -> str:
        """The measured period of what the rod stands for (math.md 7)."""
        periods = reading.history.series("discrete", "period")[: reading.rows]
        if not len(periods) or not np.isfinite(periods[-1]):
            return ""
        return PERIODS.get(int(periods[-1]), "")

    def _rows(self, reading: Reading) -> slice:
        """The newest rows, as many as the trail is long, that share the newest basis."""
        n = reading.rows
        first = max(0, n - TRAILS[self.choices["trail"]])
        basis = reading.history.series("discrete", "valley_basis")[first:n]
        other = np.flatnonzero(basis != basis[-1]) if len(basis) else np.empty(0)  # NaN differs from itself: no basis yet
        return slice(first + int(other[-1]) + 1 if len(other) else first, n)

    def _former_places(self, reading: Reading, flow: str, series: str, rows: slice) -> np.ndarray:
        """The former version's positions [m, 2] in the plane of the newest rows; none if it has another plane."""
        former = self.former
        if former is None or rows.start == rows.stop:
            return np.empty((0, 2))
        fixed = reading.history.series("discrete", "valley_basis")[rows.stop - 1]
        # A plane is fixed by a step and the next one's weights: both versions have it if they were one run until then.
        histories = reading.history, former.history
        mine, other = (run.series("discrete", "loss")[(run.steps == fixed) | (run.steps == fixed + 1)] for run in histories)
        if not len(mine) or not np.array_equal(mine, other):
            return np.empty((0, 2))
        basis = former.history.series("discrete", "valley_basis")[: former.rows]
        first = max(0, former.rows - TRAILS[self.choices["trail"]])
        seen = np.flatnonzero(basis[first:] == fixed) + first
        return self._places(former, flow, series, slice(seen[0], seen[-1] + 1)) if len(seen) else np.empty((0, 2))

    @staticmethod
    def _places(reading: Reading, flow: str, series: str, rows: slice) -> np.ndarray:
        """Positions [m, 2] as (along, across), steps without one left out."""
        values = reading.history.series(flow, series)
        if values.ndim < 2:
            return np.empty((0, 2))
        places = values[rows][:, ::-1]
        return places[np.isfinite(places).all(axis=1)]

    def _path(self, reading: Reading, name: str, flow: str, series: str, rows: slice) -> tuple[np.ndarray, Columns, Columns]:
        """Of one of `PATHS`: its positions [m, 2], the same as columns, and its newest point."""
        places = self._places(reading, flow, series, _fewer(rows, name == "raw"))
        newest = self._places(reading, flow, series, _fewer(rows, True))
        return places, _columns(places), _columns((newest if len(newest) else places)[-1:])

    def _extents(self, reading: Reading, rows: slice) -> tuple[Columns, Columns]:
        """The rod's ends, and the outline of the ellipse of Σ."""
        ends = np.empty((0, 2))
        centre = self._newest(reading, "rod", "valley", rows)
        extent = self._newest(reading, "rod", "valley_extent", rows)
        if centre is not None and extent is not None:
            ends = np.stack([centre - extent, centre + extent])[:, ::-1]
        outline = np.empty((0, 2))
        centre = self._newest(reading, "central", "valley", rows)
        pair = self._newest(reading, "central", "valley_covariance", rows)
        if centre is not None and pair is not None:
            values, vectors = np.linalg.eigh(np.array([[pair[0], pair[1]], [pair[1], pair[2]]]))
            outline = (centre[:, None] + vectors @ (np.sqrt(np.clip(values, 0, None))[:, None] * _CIRCLE)).T[:, ::-1]
        return _columns(ends), _columns(outline)

    @staticmethod
    def _newest(reading: Reading, flow: str, series: str, rows: slice) -> np.ndarray | None:
        values = reading.history.series(flow, series)[rows]
        return values[-1] if values.ndim == 2 and len(values) and np.isfinite(values[-1]).all() else None

    def _color(self, name: str) -> str:
        return self.canvas.palette[name]

    def _colors(self, name: str) -> dict[str, str]:
        return {"fill_color": self._color(name), "line_color": self._color(name)}


def _fewer(rows: slice, dense: bool) -> slice:
    """At most some `MOST_POINTS` of the rows: the newest ones, or some from all along, the same ones while the run goes on."""
    if dense:
        return slice(max(rows.start, rows.stop - MOST_POINTS), rows.stop)
    stride = max(1, (rows.stop - rows.start) // MOST_POINTS)
    return slice(-(-rows.start // stride) * stride, rows.stop, stride)


def _columns(places: np.ndarray) -> Columns:
    """As a message takes them: an array is two messages of its own, which pays for many numbers."""
    taken = short if len(places) <= MANY else single
    return {"x": taken(places[:, 0]), "y": taken(places[:, 1])}


def _fill(source: ColumnDataSource, columns: Columns) -> None:
    if len(columns["x"]) or len(source.data["x"]):
        source.data = dict(columns)
