"""[CF] Figures 13 and 1: the central flow on several architectures, for gradient descent and RMSProp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cflows_core.gallery.descent.averages import averaged, error
from cflows_core.gallery.descent.settings import CNN, VIT, distances, grown, in_weights, oscillation, shares
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent
from cflows_core.panels import Panel
from cflows_core.presets import get
from cflows_core.store import Run

# Limits, as in central.py and averages.py: a path of its own; an eighth of an amplitude; what a plot of this height does not show.
NEAR, VARIANCE, LOSS = 0.1, 0.25, 0.05

GD = {
    "CNN": CNN[0.2],
    "ViT": VIT["vit"],
    "Transformer": Stored("gd-transformer", get("fig-13").config),
}
OURS = "Here: a CNN (358 weights) and a ViT (1,018) on 100 digits, a Transformer (956) on 64 sequences to be sorted, squared error."
_ADAPTED: dict[str, Any] = {"optimizer": "rmsprop", "flows": ["discrete", "central"], "n_eigs": 6, "observe": []}
RMSPROP = {  # from after the first spike on
    "RMSProp, CNN": Stored("rmsprop-cnn", CNN[0.2].config.replace(**_ADAPTED, lr=0.005, warm_start=90, steps=250)),
    "RMSProp, Transformer": Stored(
        "rmsprop-transformer", GD["Transformer"].config.replace(**_ADAPTED, lr=0.003, warm_start=130, steps=200)
    ),
}


def _grid(data: Data) -> Sequence[Panel]:
    """Rows: distance, oscillation, loss. Columns: the architectures."""
    columns = [
        (
            distances(run).titled(f"{name}: distance"),
            oscillation(run, 0, grown(run)).titled(f"{name}: after the first spike"),
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
        title="The central flow of gradient descent across architectures",
        caption="Three networks, a column each: the distance of gradient flow and of the central flow to gradient descent; after the "
        "first spike, the oscillation along the top mode and the eigenvalue of Σ that predicts it; the loss, smoothed and predicted.",
        theirs="[CF]: CNN, ResNet and ViT on a subset of CIFAR-10, LSTM, Transformer and Mamba on sorting, squared error.",
        ours=OURS,
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
                "It predicts the variance of the oscillations along the top mode, after the first spike (predicted over measured).",
                _everywhere(_ratio, lambda ratio: f"{ratio:.2f}", lambda ratio: abs(ratio - 1) < VARIANCE),
            ),
            Claim(
                "It predicts the time-averaged loss, after the first spike (mean relative error).",
                _everywhere(lambda run: error(run, "loss"), per_cent, lambda off: off < LOSS),
            ),
        ),
    ),
    Figure(
        name="cf-1",
        source="[CF] Figure 1",
        title="Predicted loss curves of several networks",
        caption="Grey: the optimizer's loss at every step; black: its average over time; dashed: that average as the central flow "
        "predicts it from the start alone. The solid blue curve is the loss on the valley's floor.",
        theirs="[CF]: gradient descent and RMSProp on several architectures; which settings are drawn is not in the text.",
        ours=f"{OURS} RMSProp: η = 0.005 and 0.003, β₂ = 0.99, the same networks.",
        preset="fig-13",
        runs={f"GD, {name}": stored for name, stored in GD.items()} | RMSPROP,
        panels=_losses,
        claims=(
            Claim(
                "The central flow predicts the time-averaged loss curves of gradient descent and RMSProp (mean relative error).",
                _everywhere(lambda run: error(run, "loss"), per_cent, lambda off: off < LOSS),
            ),
        ),
    ),
)
