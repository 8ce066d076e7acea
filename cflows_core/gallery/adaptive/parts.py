"""What the figures of adaptive optimizers share: curves, and comparisons of two losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cflows_core import panels
from cflows_core.gallery.measures import smooth
from cflows_core.palette import FLOW_LABELS, STROKES, Stroke
from cflows_core.panels import OPTIMIZER, Curve, Panel, nth
from cflows_core.store import Run

ABLATED = "central_no_curvature"
LOSS = {"discrete": "loss_midpoint", "central": "loss", ABLATED: "loss"}  # the optimizer's at midpoints, as in [CF] fn 43 and 53
COLORS = ("central", "rod", "stationary", "stable", "ablation", "discrete")  # of runs drawn in one panel


def started(run: Run) -> np.ndarray:
    """The rows since the flows started: those before are the warm start."""
    return run.steps >= run.config.warm_start


def from_start(run: Run, panel: Panel) -> Panel:
    """Without most of the warm start."""
    length = float(run.steps[-1] - run.config.warm_start)
    return panel.zoomed(max(0.0, run.config.warm_start - 0.15 * length), float(run.steps[-1]))


def eigenvalues(run: Run, title: str = "Effective Hessian's eigenvalues", height: float = 2.2) -> Panel:
    """`panels.eigenvalues` without the warm start, up to `height` times the edge: a stable flow goes far beyond."""
    panel = from_start(run, panels.eigenvalues(run))
    low = tuple(replace(curve, ys=np.where(curve.ys > height, np.nan, curve.ys)) for curve in panel.curves)
    return replace(panel, title=title, curves=low)


def row(run: Run, step: float) -> int:
    """The row of a step, or of the next that is recorded."""
    return min(int(np.searchsorted(run.steps, step)), run.rows - 1)


def edge(run: Run) -> int:
    """The first step at which the central flow oscillates, its last if it never does."""
    at = np.flatnonzero(run.series("central", "rank") > 0)
    return int(run.steps[at[0]]) if len(at) else int(run.steps[-1])


def flow_curve(run: Run, flow: str, values: np.ndarray, stroke: Stroke | None = None, label: str | None = None) -> Curve:
    """A series of a flow in its own stroke, with its own label."""
    own = OPTIMIZER if flow == "discrete" else STROKES[flow]
    return Curve(run.steps, values, stroke or own, FLOW_LABELS[flow] if label is None else label)


def of_flows(run: Run, name: str | Mapping[str, str], title: str, y: str, log: str = "", flows: tuple[str, ...] = ()) -> Panel:
    """One series of several flows, of all of the run's where none is named. name: the series, or that of each flow."""
    chosen = flows or tuple(run.config.flows)
    named = {flow: name if isinstance(name, str) else name[flow] for flow in chosen}
    return Panel(title, tuple(flow_curve(run, flow, nth(run.series(flow, named[flow]), 0)) for flow in chosen), y, log=log)


def covariance(run: Run, title: str = "Σ: predicted and measured") -> Panel:
    """Variance along each mode (P-metric): the optimizer's smoothed, as [CF] draws it, and the central flow's."""
    drawn = []
    predicted, measured = (panels.hide_settling(run, run.series("central", name)) for name in ("covariance_eigs", "measured_variance"))
    for mode in range(run.config.n_eigs):
        shown = np.where(nth(predicted, mode) > 0, nth(measured, mode), np.nan)
        label = mode == 0
        drawn.append(Curve(run.steps, smooth(run, shown), panels.faded(STROKES["discrete"], mode), "Measured, smoothed" if label else ""))
        drawn.append(Curve(run.steps, nth(predicted, mode), panels.faded(STROKES["central_predicted"], mode), "Predicted" if label else ""))
    return Panel(title, tuple(drawn), "variance (P-metric)")


def averaged_loss(run: Run, title: str = "Train loss") -> Panel:
    """The optimizer's loss, raw and smoothed, the flows' own, and the average that the central flow predicts."""
    loss = run.series("discrete", "loss")
    drawn = [flow_curve(run, "discrete", loss, STROKES["raw"]), flow_curve(run, "discrete", smooth(run, loss), label="Optimizer, smoothed")]
    drawn += [flow_curve(run, flow, run.series(flow, "loss")) for flow in panels.flows(run)]
    predicted = panels.hide_settling(run, run.series("central", "predicted_loss"))
    drawn.append(flow_curve(run, "central", predicted, STROKES["central_predicted"], "Central flow, predicted"))
    return Panel(title, panels.within_sight(drawn, drawn[0]), "loss", log="y")


def hued(color: str, **changes: object) -> Stroke:
    """A stroke of a colour of the palette."""
    return replace(Stroke(color), **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Race:
    """Two losses held against one another. until: the last step at which the first is above the second, None if it never is. excess: the
    most by which it is above, as a share. ahead: by how much it is below at last, as a share."""

    until: int | None
    excess: float
    ahead: float

    @classmethod
    def of(cls, steps: np.ndarray, loss: np.ndarray, other: np.ndarray) -> Race:
        """Losses [rows]; what differs by less than 1e-7 is equal."""
        over = loss / other - 1
        above = np.flatnonzero(over > 1e-7)
        return cls(int(steps[above[-1]]), float(over[above].max()), float(-over[-1])) if len(above) else cls(None, 0.0, float(-over[-1]))


def significant(values: np.ndarray, digits: int = 6) -> np.ndarray:
    """Rounded to so many digits, so that a study's file is small."""
    values = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((values != 0) & np.isfinite(values), np.floor(np.log10(np.abs(values))), 0)
    unit = 10.0 ** (digits - 1 - size)
    return np.round(values * unit) / unit
