"""Squared gradient norm: the optimizer's, raw and smoothed; each flow's; what the flows predict. Or what adaptive optimizers make of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_app.streaming import Column, Reading
from cflows_app.theme import STROKES
from cflows_app.views.base import LOG_OR_LINEAR, Curve, StepView
from cflows_app.views.canvas import Canvas
from cflows_app.views.curves import FLOW_NAMES, curve
from cflows_core.optimizers import KINDS

UNIT = "gradients.unit"
SERIES = {"gradient": "grad_norm_sq", "nu": "nu_norm", "step": "effective_step_size"}
LABELS = {"gradient": "|∇L|²", "nu": "|ν|", "step": "mean of 1 / P"}


class GradientView(StepView):
    key = "gradients"
    title = "Squared gradient norm"
    caption = "Most of it is oscillation."
    y_label = LABELS["gradient"]
    options = {"scale": LOG_OR_LINEAR, "unit": {"gradient": "|∇L|²", "nu": "ν", "step": "step size"}}

    def __init__(self, canvas: Canvas):
        super().__init__(canvas)
        self.hidden = {"rod pred."}

    def make_curves(self) -> Sequence[Curve]:
        return (
            _curve("discrete", "raw", stroke="raw"),
            curve("discrete", "grad_norm_sq", "smoothed", smooth=True, when=_is_gradient),
            _curve("stable", "stable"),
            _curve("rod", "rod"),
            curve("rod", "predicted_grad_norm_sq", "rod pred.", stroke="rod_predicted", predicted=True, when=_is_gradient),
            _curve("central", "central"),
            curve("central", "predicted_grad_norm_sq", "central pred.", stroke="central_predicted", predicted=True, when=_is_gradient),
        )

    def choose(self, option: str, value: str) -> None:
        super().choose(option, value)
        if option == "unit":
            self.figure.yaxis.axis_label = LABELS[value]

    def note(self, reading: Reading) -> str:
        if _unit(reading) == "gradient" or KINDS[reading.config.optimizer][1] != "identity":
            return ""
        return "This optimizer does not adapt its step sizes: it has no ν."


def _curve(flow: str, legend: str, *, stroke: str = "") -> Curve:
    def read(reading: Reading) -> np.ndarray:
        return reading.series(flow, SERIES[_unit(reading)])

    anchor = flow == "discrete"
    return Curve(Column(f"{flow}.gradients", read), legend, FLOW_NAMES[flow], flow, STROKES[stroke or flow], anchor)


def _unit(reading: Reading) -> str:
    return reading.options.get(UNIT, "gradient")


def _is_gradient(reading: Reading) -> bool:
    return _unit(reading) == "gradient"
