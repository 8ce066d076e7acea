"""Panels of a rod beside its optimizer, from the start of the flows on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cflows_core import panels
from cflows_core.gallery.measures import over_edge
from cflows_core.palette import FLOW_LABELS, STROKES
from cflows_core.panels import Curve, Panel
from cflows_core.store import Run

SIGHT = 2.0  # times the threshold


def since(run: Run, panel: Panel, title: str) -> Panel:
    """The panel without the warm start."""
    return panel.zoomed(run.config.warm_start, run.steps[-1]).titled(title)


def distance(run: Run, label: str) -> Panel:
    return since(run, panels.distance(run), f"{label}: distance to optimizer")


def edge(run: Run, label: str) -> Panel:
    """The first eigenvalue of each flow over the threshold; what is beyond twice the threshold, as stable flows soon are, is cut off."""
    lines = [Curve(run.steps, np.ones(run.rows), STROKES["edge"], "Edge of stability")]
    for flow in run.config.flows:
        top = over_edge(run, flow)
        stroke = panels.OPTIMIZER if flow == "discrete" else STROKES[flow]
        lines.append(Curve(run.steps, np.where(top < SIGHT, top, np.nan), stroke, FLOW_LABELS[flow]))
    return since(run, Panel("", tuple(lines), "λ₁ / c"), f"{label}: effective sharpness")


def loss(run: Run, label: str) -> Panel:
    """Of the optimizer at its iterates and at its midpoints, and of each flow at its centre."""
    series = run.series("discrete", "loss_midpoint")
    lines = [
        Curve(run.steps, run.series("discrete", "loss"), STROKES["raw"], "Optimizer"),
        Curve(run.steps, series, STROKES["discrete"], "At its midpoint"),
    ]
    lines += [Curve(run.steps, run.series(flow, "loss"), STROKES[flow], FLOW_LABELS[flow]) for flow in panels.flows(run)]
    return since(run, Panel("", tuple(lines), "loss", log="y"), f"{label}: train loss")


def halves(run: Run, rod: str, optimizer: str, y: str, title: str) -> Panel:
    """A half-length of the rod, and the optimizer's half-difference; on a logarithmic axis where they cover more than a decade."""
    lines = (
        Curve(run.steps, panels.positive(run.series("discrete", optimizer)), panels.OPTIMIZER, FLOW_LABELS["discrete"]),
        Curve(run.steps, panels.positive(run.series("rod", rod)), STROKES["rod"], FLOW_LABELS["rod"]),
    )
    panel = since(run, Panel("", lines, y), title)
    values = np.concatenate([curve.ys for curve in panel.curves])
    return replace(panel, log="y" if np.nanmax(values) > 10 * np.nanmin(values) else "")


def position(run: Run, label: str) -> Panel:
    return halves(run, "extent", "half_difference", "weights", f"{label}: half-difference of w")


def momentum(run: Run, label: str) -> Panel:
    return halves(run, "momentum_extent", "momentum_half_difference", "gradients", f"{label}: half-difference of m")


def nu(run: Run, label: str) -> Panel:
    return replace(since(run, panels.series("nu_norm", log=True)(run), f"{label}: norm of ν"), y="|ν|")


def alignment(run: Run, label: str) -> Panel:
    """Of the rod ζ and the optimizer's half-difference."""
    return replace(since(run, panels.series("alignment", "rod")(run), f"{label}: alignment"), y="cosine")
