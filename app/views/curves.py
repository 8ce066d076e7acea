"""Short ways to say which series a curve draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cflows_app.streaming import Column, Reading
from cflows_app.views.base import Curve
from cflows_core.palette import FLOW_NAMES, STROKES, Stroke

MODES = 6  # modes drawn, at most
# Flows for comparison -> their legend entry.
COMPARED = {
    "central_no_curvature": "no curvature",
    "modified": "modified",
    "stationary": "stationary",
    "stationary_limit": "stationary, large η",
}


def curve(
    flow: str,
    series: str,
    legend: str,
    *,
    stroke: str = "",
    label: str = "",
    smooth: bool = False,
    predicted: bool = False,
    anchor: bool = True,
    when: Callable[[Reading], bool] | None = None,
) -> Curve:
    """A series without modes. predicted: nothing is drawn while the flow is settling. when: nothing is drawn otherwise."""

    def read(reading: Reading) -> np.ndarray:
        values = reading.series(flow, series)
        return reading.unless_settling(flow, values) if predicted else values

    name = f"{flow}.{series}" + (".smooth" if smooth else "")
    label = label or FLOW_NAMES[flow] + (", smoothed" if smooth else ", predicted" if predicted else "")
    return Curve(Column(name, only(when, read), smooth), legend, label, flow, STROKES[stroke or flow], anchor, when)


def compared(series: str, **options: bool) -> list[Curve]:
    """The flows for comparison, with a series that all of them have."""
    return [curve(flow, series, legend, **options) for flow, legend in COMPARED.items()]


def only(when: Callable[[Reading], bool] | None, read: Callable[[Reading], np.ndarray]) -> Callable[[Reading], np.ndarray]:
    """`read` where `when` holds, and NaN [n] elsewhere."""
    if when is None:
        return read
    return lambda reading: read(reading) if when(reading) else reading.nothing


def fade(stroke: Stroke, mode: int) -> Stroke:
    """The stroke of a later mode: the same colour and dash, thinner and lighter."""
    return replace(stroke, width=stroke.width * (1.0 if mode == 0 else 0.8), alpha=max(0.35, 1.0 - 0.18 * mode))
