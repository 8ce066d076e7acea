"""Euclidean distance of each flow to the centre of the optimizer's oscillation (math.md 9)."""

from __future__ import annotations

from collections.abc import Sequence

from cflows_app.views.base import LOG_OR_LINEAR, Curve, StepView
from cflows_app.views.curves import compared, curve


class DistanceView(StepView):
    key = "distance"
    title = "Distance to the optimizer"
    caption = "From the centre of its oscillation."
    y_label = "distance (weights)"
    options = {"scale": LOG_OR_LINEAR}

    def make_curves(self) -> Sequence[Curve]:
        return (
            curve("stable", "distance", "stable"),
            *compared("distance"),
            curve("rod", "distance", "rod"),
            curve("central", "distance", "central"),
        )
