"""[CF] Figures 13 and 1: the central flow on several architectures, for gradient descent and RMSProp."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cflows_core.gallery.descent.averages import averaged, error
from cflows_core.gallery.descent.settings import VIT, distances, grown, in_weights, oscillation, shares
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent
from cflows_core.panels import Panel
from cflows_core.presets import get
from cflows_core.store import Run

# Limits, as in central.py and averages.py: a path of its own; an eighth of an amplitude; what a plot of this height does not show.
NEAR, VARIANCE, LOSS = 0.1, 0.25, 0.05

GD = {
    "CNN": Stored("gd-cnn", get("fig-23").config),
    "ViT": VIT["vit"],
    "Transformer": Stored("gd-transformer", get("fig-13").config),
}
RMSPROP = {
    "RMSProp, CNN": Stored("rmsprop-cnn", GD["CNN"].config.replace(optimizer="rmsprop", lr=0.005, steps=300, observe=[])),
    "RMSProp, Transformer": Stored("rmsprop-transformer", GD["Transformer"].config.replace(optimizer="rmsprop", lr=0.003, steps=300)),
}


def _grid(data: Data) -> Sequence[Panel]:
    """Rows: distance, oscillation, loss. Columns: the architectures."""
    columns = [
        (
            distances(run).titled(f"{name}: distance"),
            oscillation(run, 0, run.series("central", "rank") > 0).titled(f"{name}: oscillation, top mode"),
            averaged(run, "loss", f"{name}: train loss", "loss"),
        )
        for name, run in data.runs.items()
    ]
    return [panel for row in zip(*columns, strict=True) for panel in row]


def _losses(data: Data) -> Sequence[Panel]:
    return [averaged(run, "loss", name, "train loss") for name, run in data.runs.items()]


def _everywhere(value: Callable[[Run], float], told: Callable[[float], str], holds: Callable[[float], bool]) -> Callable[[Data], Finding]:
    """A number of each run; the claim holds if it does for all."""

    def measure(data: Data) -> Finding:
        numbers = {name: value(run) for name, run in data.runs.items()}
        words = ", ".join(f"{name} {told(number)}" for name, number in numbers.items())
        return Finding(f"{words}.", all(map(holds, numbers.values())))

    return measure


def _ratio(run: Run) -> float:
    """Mean predicted over mean measured variance along Σ's first eigenvector, once the oscillation has grown."""
    measured, predicted = (np.nanmean(values[grown(run), 0]) for values in in_weights(run))
    return float(predicted / measured)


ARCHITECTURES: tuple[Figure, ...] = (
    Figure(
        name="cf-13",
        source="[CF] Figure 13",
        title="Gradient descent's central flow across architectures",
        caption="",
        theirs="",
        ours="",
        preset="fig-13",
        runs=GD,
        panels=_grid,
        claims=(
            Claim(
                "The central flow predicts the trajectory in weight space: its last distance is a small share of the path.",
                _everywhere(lambda run: shares(run)["central"], per_cent, lambda share: share < NEAR),
            ),
            Claim(
                "It is much nearer than gradient flow.",
                _everywhere(lambda run: shares(run)["stable"] / shares(run)["central"], lambda r: f"{r:.1f} times", lambda r: r > 3),
            ),
            Claim(
                "It predicts the covariance of the oscillations.",
                _everywhere(_ratio, lambda ratio: f"{ratio:.2f}", lambda ratio: abs(ratio - 1) < VARIANCE),
            ),
            Claim(
                "It predicts the time-averaged loss.",
                _everywhere(lambda run: error(run, "loss"), per_cent, lambda off: off < LOSS),
            ),
        ),
    ),
    Figure(
        name="cf-1",
        source="[CF] Figure 1",
        title="Predicted loss curves of practical networks",
        caption="",
        theirs="",
        ours="",
        preset="fig-13",
        runs=GD | RMSPROP,
        panels=_losses,
        claims=(
            Claim(
                "The central flow predicts the time-averaged loss curves of gradient descent and RMSProp.",
                _everywhere(lambda run: error(run, "loss"), per_cent, lambda off: off < LOSS),
            ),
        ),
    ),
)
