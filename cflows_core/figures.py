"""Runs as plots, for notebooks: functions from a `Run` to a HoloViews overlay, and `watch`, which moves them while a simulation runs.

Needs holoviews with its Bokeh backend (`pip install 'cflows[app]'`); a notebook begins with `hv.extension("bokeh", inline=True)`, so
that it asks no other host. Colours and dash patterns are the dashboard's (palette.py). Every function draws the flows that the run has;
nothing is smoothed, and what a settling flow predicts is left out.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.frames import SERIES, STATUSES
from cflows_core.history import History
from cflows_core.optimizers import KINDS, Optimizer
from cflows_core.palette import FLOW_LABELS, LIGHT, STROKES, Stroke
from cflows_core.screen import Screen
from cflows_core.simulation import Simulation

if TYPE_CHECKING:
    import holoviews as hv

    from cflows_core.store import Run

WIDTH, HEIGHT = 480, 260  # pixels
BEYOND = 3.0  # a flow that left is drawn up to so many times the height of the others

_OPTIMIZER = replace(STROKES["discrete"], width=1.0, alpha=0.6)  # jagged: thin, so that flows on it are seen

_CYCLE = ("discrete", "central", "rod", "stable", "ablation", "stationary")  # colours of curves that are no flow's

Plot = Callable[["Run"], "hv.Overlay"]


def loss(run: Run) -> hv.Overlay:
    """Train loss over the steps, on a logarithmic axis: the optimizer's, each flow's, and the average that central and rod flow predict.

    [CF] eq. 23.
    """
    curves = [_curve(run, "discrete", "loss", _OPTIMIZER, "Optimizer")]
    curves += [_curve(run, flow, "loss", STROKES[flow], FLOW_LABELS[flow]) for flow in _flows(run)]
    for flow in ("central", "rod"):
        if flow in run.config.flows:
            curves.append(_predicted(run, flow, "predicted_loss", STROKES[f"{flow}_predicted"], f"{FLOW_LABELS[flow]}, predicted"))
    return _overlay(_within_sight(curves, curves[0]), "loss", "Train loss", log="y")


def eigenvalues(run: Run, raw: bool = False) -> hv.Overlay:
    """Largest eigenvalues of the effective Hessian over the critical threshold c; `raw`: the sharpness, in units of the loss.

    Raw eigenvalues are those of the Hessian where P = 1/η, and of P⁻¹H for adaptive optimizers.
    """
    unit = _raw_unit(run) if raw else np.full(run.rows, 1 / _threshold(run.config))
    curves = [_drawn(run.steps, _threshold(run.config) * unit, STROKES["edge"], "Edge of stability")]
    for flow in ("discrete", *_flows(run)):
        modes = run.config.n_eigs if flow != "stable" else 1
        for mode in range(modes):
            label = FLOW_LABELS[flow] if mode == 0 else ""
            curves.append(_drawn(run.steps, _mode(run.series(flow, "effective_eigs"), mode) * unit, _faded(STROKES[flow], mode), label))
    return _overlay(_within_sight(curves, *curves[:2]), "λ" if raw else "λ / c", "Eigenvalues")


def covariance(run: Run) -> hv.Overlay:
    """Variance of the oscillation along each mode (P-metric): the central flow's Σ, and what the optimizer shows, step by step."""
    curves = []
    for mode in range(run.config.n_eigs):
        measured, predicted = (_hide_settling(run, run.series("central", name)) for name in ("measured_variance", "covariance_eigs"))
        curves.append(_drawn(run.steps, _mode(measured, mode), _faded(_OPTIMIZER, mode), "Measured" if mode == 0 else ""))
        curves.append(
            _drawn(run.steps, _mode(predicted, mode), _faded(STROKES["central_predicted"], mode), "Predicted" if mode == 0 else "")
        )
    return _overlay(curves, "variance (P-metric)", "Oscillation Σ")


def distance(run: Run) -> hv.Overlay:
    """Euclidean distance of each flow to the optimizer's centre (math.md 9), on a logarithmic axis."""
    curves = [_drawn(run.steps, _positive(run.series(flow, "distance")), STROKES[flow], FLOW_LABELS[flow]) for flow in _flows(run)]
    return _overlay(curves, "distance", "Distance to the optimizer", log="y")


def series(name: str, *flows: str, log: bool = False) -> Plot:
    """A plot of one series of a run (`cf.SERIES`), of those flows, or of all that have it; of several values the first is drawn.

    Raises ConfigError for a name that is no series.
    """
    if name not in SERIES:
        close = difflib.get_close_matches(name, SERIES, n=3, cutoff=0.4) or list(SERIES)
        raise ConfigError(f"There is no series {name!r}: choose one of {', '.join(close)}.")

    def plot(run: Run) -> hv.Overlay:
        chosen = [flow for flow in flows or run.config.flows if flow in run.config.flows]
        values = [_mode(run.series(flow, name), 0) for flow in chosen]
        curves = [
            _drawn(run.steps, _positive(value) if log else value, _OPTIMIZER if flow == "discrete" else STROKES[flow], FLOW_LABELS[flow])
            for flow, value in zip(chosen, values, strict=True)
        ]
        return _overlay(curves, SERIES[name].unit or name, name.replace("_", " "), log="y" if log else "")

    return plot


def curves(
    lines: Mapping[str, tuple[Any, Any]], title: str = "", x: str = "step", y: str = "", log: str = "", levels: Sequence[float] = ()
) -> hv.Overlay:
    """Curves of your own in the style of the others: label -> (xs, ys), with an axis label each.

    A label of `FLOW_LABELS` takes that flow's colour and dashes. log: the logarithmic axes, "x", "y" or "xy". levels: heights at which
    a dashed line is drawn, like an edge of stability.
    """
    strokes = {label: STROKES[flow] for flow, label in FLOW_LABELS.items()}
    colors = itertools.cycle(_CYCLE)
    drawn = [_drawn(xs, ys, strokes.get(label) or Stroke(next(colors)), label) for label, (xs, ys) in lines.items()]
    widest = [np.ravel(xs) for xs, _ in lines.values() if np.size(xs)]
    ends = np.array([min(map(np.min, widest)), max(map(np.max, widest))]) if widest else np.empty(0)
    drawn += [_drawn(ends, np.full(len(ends), level), STROKES["edge"], "") for level in levels]
    return _overlay(drawn, y, title, log, x)


def show(*plots: hv.Element | hv.Overlay, columns: int = 2) -> None:
    """Show plots that stand still in a notebook, side by side, without asking another host for styles as HoloViews does."""
    Screen(*[lambda _, plot=plot: plot for plot in plots], data=None, columns=columns)


def watch(simulation: Simulation | RunConfig, *plots: Plot, steps: int | None = None) -> Run:
    """Run a simulation, `steps` steps or to its end, while plots of it move; the run, in memory.

    simulation: one that has not begun, or a configuration. plots: functions of a run, such as those of this module; loss and eigenvalues
    if none is named. Without IPython nothing is displayed.
    """
    if isinstance(simulation, RunConfig):
        simulation = Simulation(simulation)
    history = History()
    screen = Screen(*(plots or (loss, eigenvalues)), data=_run(history, simulation))
    for frame in islice(simulation, steps):
        history.append([frame])
        if screen.ready:
            screen.send(_run(history, simulation))
    run = _run(history, simulation)
    screen.send(run)
    return run


# -- inside -----------------------------------------------------------------------------------------------------------------------
def _run(history: History, simulation: Simulation) -> Run:
    from cflows_core.store.export import recorded

    return recorded(history, simulation.config, {})


def _flows(run: Run) -> list[str]:
    return [flow for flow in run.config.flows if flow != "discrete"]


def _threshold(config: RunConfig) -> float:
    return Optimizer.of(config).threshold


def _raw_unit(run: Run) -> np.ndarray:
    """What an effective eigenvalue [rows] is multiplied by: 1/η where P = 1/η, as η was at each step."""
    if KINDS[run.config.optimizer][1] != "identity":
        return np.ones(run.rows)
    sizes = np.full(run.rows, run.config.lr)
    for step, name, value in run.changes:
        if name == "lr":
            sizes[np.searchsorted(run.steps, step) :] = value
    return 1 / sizes


def _mode(values: np.ndarray, mode: int) -> np.ndarray:
    if values.ndim == 1:
        return values if mode == 0 else np.full(len(values), np.nan)
    return values[:, mode] if mode < values.shape[1] else np.full(len(values), np.nan)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _hide_settling(run: Run, values: np.ndarray) -> np.ndarray:
    settling = run.status("central") == STATUSES.index("settling")
    return np.where(settling[:, None] if values.ndim == 2 else settling, np.nan, values)


def _faded(stroke: Stroke, mode: int) -> Stroke:
    return replace(stroke, alpha=max(0.35, 1 - 0.18 * mode), width=stroke.width * (0.8 if mode else 1))


def _curve(run: Run, flow: str, name: str, stroke: Stroke, label: str) -> hv.Curve:
    return _drawn(run.steps, run.series(flow, name), stroke, label)


def _predicted(run: Run, flow: str, name: str, stroke: Stroke, label: str) -> hv.Curve:
    values = run.series(flow, name)
    return _drawn(run.steps, _hide_settling(run, values) if flow == "central" else values, stroke, label)


def _drawn(steps: np.ndarray, values: np.ndarray, stroke: Stroke, label: str) -> hv.Curve:
    import holoviews as hv

    options: dict[str, Any] = {
        "color": LIGHT[stroke.color],
        "line_width": stroke.width,
        "line_dash": list(stroke.dash),
        "line_alpha": stroke.alpha,
    }
    return _styled(hv.Curve((steps, values), "step", "value", label=label), options | {"show_legend": bool(label)})


def _styled(element: Any, options: dict[str, Any]) -> Any:
    return element.opts(**options, backend="bokeh")


def _overlay(curves: list[hv.Curve], y_label: str, title: str, log: str = "", x_label: str = "step") -> hv.Overlay:
    import holoviews as hv

    options: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "xlabel": x_label,
        "ylabel": y_label,
        "title": title,
        "legend_position": "right",
        "legend_opts": {
            "border_line_alpha": 0,
            "label_text_font_size": "8pt",
            "spacing": 0,
            "padding": 2,
            "margin": 4,
            "location": "top_left",
        },
        "shared_axes": False,
        "show_grid": True,
        "toolbar": "above",
        "logx": "x" in log,
        "logy": "y" in log,
    }
    if "x" in log:
        from bokeh.models import LogTicker

        options["xticks"] = LogTicker(mantissas=[1, 3])  # more labels than these lie on one another
    # Limits are shared by what has the same name: a panel's own is its title.
    return _styled(hv.Overlay([curve.redim(value=title or y_label or "value") for curve in curves]), options)


def _within_sight(curves: list[hv.Curve], *anchors: hv.Curve) -> list[hv.Curve]:
    """The curves, but a flow that left the anchors far behind is cut off: it would push everything else together."""
    tops = [np.nanmax(values) for anchor in anchors if np.isfinite(values := anchor.dimension_values(1)).any()]
    high = BEYOND * max(tops, default=np.inf)
    return [
        curve.clone((curve.dimension_values(0), np.where(curve.dimension_values(1) > high, np.nan, curve.dimension_values(1))))
        for curve in curves
    ]
