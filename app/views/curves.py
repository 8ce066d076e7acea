"""Short ways to say which series a curve draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cflows_app.streaming import Column, Reading
from cflows_app.theme import STROKES, Stroke
from cflows_app.views.base import Curve

MODES = 6  # modes drawn, at most
FLOW_NAMES = {"discrete": "optimizer", "stable": "stable flow", "central": "central flow", "rod": "rod flow"}


def curve(
    flow: str,
    series: str,
    legend: str,
    *,
    stroke: str = "",
    smooth: bool = False,
    predicted: bool = False,
    anchor: bool = True,
    when: Callable[[Reading], bool] | None = None,
) -> Curve:
    """A series without modes. predicted: nothing is drawn while the flow is settling. when: nothing is drawn otherwise."""

    def read(reading: Reading):
        values = reading.series(flow, series)
        if when is not None and not when(reading):
            return np.full(len(values), np.nan)
        return reading.unless_settling(flow, values) if predicted else values

    name = f"{flow}.{series}" + (".smooth" if smooth else "")
    label = FLOW_NAMES[flow] + (", smoothed" if smooth else ", predicted" if predicted else "")
    return Curve(Column(name, read, smooth), legend, label, flow, STROKES[stroke or flow], anchor)


def fade(stroke: Stroke, mode: int) -> Stroke:
    """The stroke of a later mode: the same colour and dash, thinner and lighter."""
    return replace(stroke, width=stroke.width * (1.0 if mode == 0 else 0.8), alpha=max(0.35, 1.0 - 0.18 * mode))
