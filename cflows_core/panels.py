"""What is drawn of a run, as data: curves over an axis, each with its stroke. figures.py draws them with HoloViews, the page with Bokeh.

Every function gives the flows that the run has; nothing is smoothed unless it says so, and what a settling flow predicts is left out.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.frames import SERIES, STATUSES
from cflows_core.optimizers import KINDS, Optimizer
from cflows_core.palette import FLOW_LABELS, STROKES, Stroke

if TYPE_CHECKING:
    from cflows_core.store import Run

BEYOND = 3.0  # a flow that left is drawn up to so many times the height of the others
OPTIMIZER = replace(STROKES["discrete"], width=1.0, alpha=0.6)  # jagged: thin, so that flows on it are seen

_CYCLE = ("discrete", "central", "rod", "stable", "ablation", "stationary")  # colours of curves that are no flow's


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through (xs, ys), [n] each; a NaN interrupts it. label: its legend entry, "" for none. stroke: how it is drawn."""

    xs: np.ndarray
    ys: np.ndarray
    stroke: Stroke
    label: str = ""


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves in one frame. x, y: labels of the axes. log: the logarithmic ones, "x", "y" or "xy"."""

    title: str
    curves: tuple[Curve, ...]
    y: str = ""
    x: str = "step"
    log: str = ""

    def titled(self, title: str) -> Panel:
        return replace(self, title=title)

    def zoomed(self, start: float, stop: float) -> Panel:
        """The part of it from `start` to `stop` of the horizontal axis."""

        def part(curve: Curve) -> Curve:
            seen = (curve.xs >= start) & (curve.xs <= stop)
            return replace(curve, xs=curve.xs[seen], ys=curve.ys[seen])

        return replace(self, curves=tuple(map(part, self.curves)))


Plot = Callable[["Run"], Panel]


def loss(run: Run) -> Panel:
    """Train loss over the steps, on a logarithmic axis: the optimizer's, each flow's, and the average that central and rod flow predict.

    [CF] eq. 23.
    """
    curves = [_of(run, "discrete", "loss", OPTIMIZER, "Optimizer")]
    curves += [_of(run, flow, "loss", STROKES[flow], FLOW_LABELS[flow]) for flow in flows(run)]
    for flow in ("central", "rod"):
        if flow in run.config.flows:
            curves.append(_predicted(run, flow, "predicted_loss", STROKES[f"{flow}_predicted"], f"{FLOW_LABELS[flow]}, predicted"))
    return Panel("Train loss", within_sight(curves, curves[0]), "loss", log="y")


def eigenvalues(run: Run, raw: bool = False) -> Panel:
    """Largest eigenvalues of the effective Hessian over the critical threshold c; `raw`: the sharpness, in units of the loss.

    Raw eigenvalues are those of the Hessian where P = 1/η, and of P⁻¹H for adaptive optimizers.
    """
    unit = _raw_unit(run) if raw else np.full(run.rows, 1 / threshold(run.config))
    curves = [Curve(run.steps, threshold(run.config) * unit, STROKES["edge"], "Edge of stability")]
    for flow in ("discrete", *flows(run)):
        modes = run.config.n_eigs if flow != "stable" else 1
        for mode in range(modes):
            label = FLOW_LABELS[flow] if mode == 0 else ""
            curves.append(Curve(run.steps, nth(run.series(flow, "effective_eigs"), mode) * unit, faded(STROKES[flow], mode), label))
    return Panel("Eigenvalues", within_sight(curves, *curves[:2]), "λ" if raw else "λ / c")


def covariance(run: Run) -> Panel:
    """Variance of the oscillation along each mode (P-metric): the central flow's Σ, and what the optimizer shows, step by step."""
    curves = []
    for mode in range(run.config.n_eigs):
        measured, predicted = (hide_settling(run, run.series("central", name)) for name in ("measured_variance", "covariance_eigs"))
        curves.append(Curve(run.steps, nth(measured, mode), faded(OPTIMIZER, mode), "Measured" if mode == 0 else ""))
        curves.append(Curve(run.steps, nth(predicted, mode), faded(STROKES["central_predicted"], mode), "Predicted" if mode == 0 else ""))
    return Panel("Oscillation Σ", tuple(curves), "variance (P-metric)")


def distance(run: Run) -> Panel:
    """Euclidean distance of each flow to the optimizer's centre (math.md 9), on a logarithmic axis."""
    curves = [Curve(run.steps, positive(run.series(flow, "distance")), STROKES[flow], FLOW_LABELS[flow]) for flow in flows(run)]
    return Panel("Distance to the optimizer", tuple(curves), "distance", log="y")


def series(name: str, *of: str, log: bool = False) -> Plot:
    """A panel of one series of a run (`cf.SERIES`), of those flows, or of all that have it; of several values the first is drawn.

    Raises ConfigError for a name that is no series.
    """
    if name not in SERIES:
        close = difflib.get_close_matches(name, SERIES, n=3, cutoff=0.4) or list(SERIES)
        raise ConfigError(f"There is no series {name!r}: choose one of {', '.join(close)}.")

    def plot(run: Run) -> Panel:
        chosen = [flow for flow in of or run.config.flows if flow in run.config.flows]
        values = [nth(run.series(flow, name), 0) for flow in chosen]
        curves = [
            Curve(run.steps, positive(value) if log else value, OPTIMIZER if flow == "discrete" else STROKES[flow], FLOW_LABELS[flow])
            for flow, value in zip(chosen, values, strict=True)
        ]
        return Panel(name.replace("_", " "), tuple(curves), SERIES[name].unit or name, log="y" if log else "")

    return plot


def curves(
    lines: Mapping[str, tuple[Any, Any]], title: str = "", x: str = "step", y: str = "", log: str = "", levels: Sequence[float] = ()
) -> Panel:
    """Curves of your own in the style of the others: label -> (xs, ys), with an axis label each.

    A label of `FLOW_LABELS` takes that flow's colour and dashes. log: the logarithmic axes, "x", "y" or "xy". levels: heights at which
    a dashed line is drawn, like an edge of stability.
    """
    strokes = {label: STROKES[flow] for flow, label in FLOW_LABELS.items()}
    colors = itertools.cycle(_CYCLE)
    drawn = [_curve(xs, ys, strokes.get(label) or Stroke(next(colors)), label) for label, (xs, ys) in lines.items()]
    widest = [curve.xs for curve in drawn if len(curve.xs)]
    ends = np.array([min(map(np.min, widest)), max(map(np.max, widest))]) if widest else np.empty(0)
    drawn += [_curve(ends, np.full(len(ends), level), STROKES["edge"], "") for level in levels]
    return Panel(title, tuple(drawn), y, x, log)


# -- parts of panels --------------------------------------------------------------------------------------------------------------
def flows(run: Run) -> list[str]:
    """All but the optimizer."""
    return [flow for flow in run.config.flows if flow != "discrete"]


def threshold(config: RunConfig) -> float:
    """c: the effective eigenvalue at the edge."""
    return Optimizer.of(config).threshold


def nth(values: np.ndarray, mode: int) -> np.ndarray:
    """One column of a series, [rows]: NaN where it has fewer."""
    if values.ndim == 1:
        return values if mode == 0 else np.full(len(values), np.nan)
    return values[:, mode] if mode < values.shape[1] else np.full(len(values), np.nan)


def positive(values: np.ndarray) -> np.ndarray:
    """For a logarithmic axis: NaN in place of what is not above 0."""
    return np.where(values > 0, values, np.nan)


def hide_settling(run: Run, values: np.ndarray) -> np.ndarray:
    """A series of the central flow [rows] or [rows, k], NaN while the flow settles."""
    settling = run.status("central") == STATUSES.index("settling")
    return np.where(settling[:, None] if values.ndim == 2 else settling, np.nan, values)


def faded(stroke: Stroke, mode: int) -> Stroke:
    """How the curve of a mode is drawn: the first as it is, the others fainter and thinner."""
    return replace(stroke, alpha=max(0.35, 1 - 0.18 * mode), width=stroke.width * (0.8 if mode else 1))


def within_sight(curves: Iterable[Curve], *anchors: Curve) -> tuple[Curve, ...]:
    """The curves, but a flow that left the anchors far behind is cut off: it would push everything else together."""
    tops = [np.nanmax(anchor.ys) for anchor in anchors if np.isfinite(anchor.ys).any()]
    high = BEYOND * max(tops, default=np.inf)
    return tuple(replace(curve, ys=np.where(curve.ys > high, np.nan, curve.ys)) for curve in curves)


def _raw_unit(run: Run) -> np.ndarray:
    """What an effective eigenvalue [rows] is multiplied by: 1/η where P = 1/η, as η was at each step."""
    if KINDS[run.config.optimizer][1] != "identity":
        return np.ones(run.rows)
    sizes = np.full(run.rows, run.config.lr)
    for step, name, value in run.changes:
        if name == "lr":
            sizes[np.searchsorted(run.steps, step) :] = value
    return 1 / sizes


def _of(run: Run, flow: str, name: str, stroke: Stroke, label: str) -> Curve:
    return Curve(run.steps, run.series(flow, name), stroke, label)


def _predicted(run: Run, flow: str, name: str, stroke: Stroke, label: str) -> Curve:
    values = run.series(flow, name)
    return Curve(run.steps, hide_settling(run, values) if flow == "central" else values, stroke, label)


def _curve(xs: Any, ys: Any, stroke: Stroke, label: str) -> Curve:
    return Curve(np.asarray(xs, dtype=float), np.asarray(ys, dtype=float), stroke, label)
