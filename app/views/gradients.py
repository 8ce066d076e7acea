"""Squared gradient norm: the optimizer's, raw and smoothed; each flow's; what the flows predict for the smoothed one."""

from __future__ import annotations

from collections.abc import Sequence

from cflows_app.views.base import LOG_OR_LINEAR, Curve, StepView
from cflows_app.views.canvas import Canvas
from cflows_app.views.curves import curve


class GradientView(StepView):
    key = "gradients"
    title = "Squared gradient norm"
    caption = "Most of it is oscillation."
    y_label = "|∇L|²"
    options = {"scale": LOG_OR_LINEAR}

    def __init__(self, canvas: Canvas):
        super().__init__(canvas)
        self.hidden = {"rod pred."}

    def make_curves(self) -> Sequence[Curve]:
        return (
            curve("discrete", "grad_norm_sq", "raw", stroke="raw"),
            curve("discrete", "grad_norm_sq", "smoothed", smooth=True),
            curve("stable", "grad_norm_sq", "stable", anchor=False),
            curve("rod", "grad_norm_sq", "rod", anchor=False),
            curve("rod", "predicted_grad_norm_sq", "rod pred.", stroke="rod_predicted", predicted=True),
            curve("central", "grad_norm_sq", "central", anchor=False),
            curve("central", "predicted_grad_norm_sq", "central pred.", stroke="central_predicted", predicted=True),
        )
