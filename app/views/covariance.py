"""Σ: the variance of the oscillation along each of its modes, as the central flow predicts it and as the optimizer shows it, smoothed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_app.streaming import SETTLING, Column, Reading
from cflows_app.views.base import LINEAR_OR_LOG, Curve, StepView
from cflows_app.views.curves import MODES, fade
from cflows_core.palette import STROKES

UNIT = "covariance.unit"
_SUBSCRIPTS = "₁₂₃₄₅₆"


class CovarianceView(StepView):
    key = "covariance"
    title = "Oscillation Σ"
    caption = "For each oscillating mode: predicted, measured."
    y_label = "variance (P-metric)"
    floor = 0.0
    options = {"scale": LINEAR_OR_LOG, "unit": {"metric": "P-metric", "weights": "weights²"}}

    def make_curves(self) -> Sequence[Curve]:
        measured = [_measured(mode) for mode in range(MODES)]
        return (*measured, *(_predicted(mode) for mode in range(MODES)))

    def choose(self, option: str, value: str) -> None:
        super().choose(option, value)
        self.figure.yaxis.axis_label = "variance (P-metric)" if self.choices["unit"] == "metric" else "variance (weights²)"

    def note(self, reading: Reading) -> str:
        if "central" not in reading.config.flows:
            return "Σ belongs to the central flow, which is not part of this run."
        status = reading.history.status("central")
        if len(status) and status[-1] == SETTLING:
            return "The central flow is settling: no Σ until it is back at the edge."
        return ""


def _predicted(mode: int) -> Curve:
    def read(reading: Reading) -> np.ndarray:
        name = "covariance_eigs_weights" if reading.options.get(UNIT) == "weights" else "covariance_eigs"
        return reading.unless_settling("central", reading.series("central", name, mode))

    column = Column(f"central.covariance_eigs.{mode}", read)
    stroke = fade(STROKES["central_predicted"], mode)
    return Curve(column, "central predicted", f"mode {mode + 1}, predicted", "central", stroke, anchor=False)


def _measured(mode: int) -> Curve:
    def read(reading: Reading) -> np.ndarray:
        values = reading.unless_settling("central", reading.series("central", "measured_variance", mode))
        # P = 1/η: a variance in weights is η times that in the metric of P.
        return values * reading.changed("lr") if reading.options.get(UNIT) == "weights" else values

    column = Column(f"central.measured_variance.{mode}", read, smooth=True)
    return Curve(column, "measured, smoothed", f"mode {mode + 1}, measured", "central", fade(STROKES["discrete"], mode))
