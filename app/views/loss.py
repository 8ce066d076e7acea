"""Train loss: the optimizer's, raw and smoothed; each flow's at its own point; what the flows predict for the smoothed one."""

from __future__ import annotations

from collections.abc import Sequence

from cflows_app.streaming import Reading
from cflows_app.views.base import LINEAR_OR_LOG, Curve, StepView
from cflows_app.views.canvas import Canvas
from cflows_app.views.curves import compared, curve


class LossView(StepView):
    key = "loss"
    title = "Train loss"
    caption = "Central's prediction runs through the smoothed loss."
    y_label = "loss"
    options = {"scale": LINEAR_OR_LOG}

    def __init__(self, canvas: Canvas):
        super().__init__(canvas)
        self.hidden = {"rod pred."}

    def make_curves(self) -> Sequence[Curve]:
        return (
            curve("discrete", "loss", "raw", stroke="raw"),
            curve("discrete", "loss", "smoothed", smooth=True),
            curve("discrete", "loss_average", "iterates' average", stroke="average", label="at the iterates' average", when=_averages),
            curve("stable", "loss", "stable"),
            *compared("loss", anchor=False),
            curve("rod", "loss", "rod"),
            curve("rod", "predicted_loss", "rod pred.", stroke="rod_predicted", predicted=True),
            curve("central", "loss", "central"),
            curve("central", "predicted_loss", "central pred.", stroke="central_predicted", predicted=True),
        )


def _averages(reading: Reading) -> bool:
    return "average" in reading.config.observe
