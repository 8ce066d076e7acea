"""The central flow's loss as the loss after annealing η ([CF] 3.2.3): the optimizer's loss falls onto it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cflows_core.gallery.adaptive.parts import row
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent
from cflows_core.palette import STROKES
from cflows_core.panels import OPTIMIZER, Curve, Panel, hide_settling
from cflows_core.presets import PRESETS
from cflows_core.store import Run

BEFORE = 40  # steps over which losses are averaged before η falls
AFTER = (5, 10, 20, 40)  # steps after it
FALLS = {"GD": 350, "Scalar RMSProp": 400, "RMSProp": 400}  # the step at which η falls to a tenth


class Annealed(NamedTuple):
    """Losses at the step at which η falls. mean, predicted: over the steps before, the optimizer's and the central flow's prediction of it.
    average: at the iterates' average, and central: the flow's, both at the last step before. apart: the optimizer's over the flow's,
    less 1, AFTER."""

    mean: float
    predicted: float
    average: float
    central: float
    apart: np.ndarray


def _annealed(run: Run, at: int) -> Annealed:
    first, last = row(run, at - BEFORE), row(run, at)
    loss, central = run.series("discrete", "loss"), run.series("central", "loss")
    predicted, average = run.series("central", "predicted_loss"), run.series("discrete", "loss_average")
    after = np.array([row(run, at + steps) for steps in AFTER])
    return Annealed(
        float(loss[first:last].mean()),
        float(predicted[first:last].mean()),
        float(average[last - 1]),
        float(central[last - 1]),
        loss[after] / central[after] - 1,
    )


def _found(data: Data) -> dict[str, Annealed]:
    return {label: _annealed(data[label], at) for label, at in FALLS.items()}


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{label} {100 * value:+.1f} %" for label, value in values.items())


def _lands(data: Data) -> Finding:
    """Within 2 per cent ten steps on, where 12 to 38 per cent were between them before."""
    apart = {label: float(found.apart[AFTER.index(10)]) for label, found in _found(data).items()}
    before = {label: found.mean / found.central - 1 for label, found in _found(data).items()}
    holds = all(abs(apart[label]) < min(0.02, before[label] / 4) for label in apart)
    after = ", ".join(f"{100 * value:+.1f} %" for value in apart.values())
    return Finding(f"Over the flow's loss before: {_listed(before)}; ten steps after: {after}.", holds)


def _stays(data: Data) -> Finding:
    apart = {label: float(found.apart[-1]) for label, found in _found(data).items()}
    return Finding(f"Forty steps after: {_listed(apart)}.", max(map(abs, apart.values())) < 0.02)


def _average(data: Data) -> Finding:
    """Near: a quarter of the oscillation's share of the loss at most. The average lags ten steps behind."""
    found = _found(data)
    apart = {label: one.average / one.central - 1 for label, one in found.items()}
    holds = all(abs(apart[label]) < (one.mean / one.central - 1) / 4 for label, one in found.items())
    return Finding(f"The loss at the iterates' average (of ten steps) is {_listed(apart)} from the flow's.", holds)


def _predicted(data: Data) -> Finding:
    apart = {label: one.predicted / one.mean - 1 for label, one in _found(data).items()}
    return Finding(f"Predicted against measured over 40 steps: {_listed(apart)}.", max(map(abs, apart.values())) < 0.05)


def _slowly(data: Data) -> Finding:
    """η falls slowly enough for the oscillation to die before the end, so that there is no such moment."""
    run = data["RMSProp, cosine"]
    rank = run.series("central", "rank")
    dead = int(run.steps[np.flatnonzero(rank > 0)[-1]]) + 1
    apart = float(run.series("discrete", "loss")[-1] / run.series("central", "loss")[-1] - 1)
    return Finding(
        f"Under a cosine no mode oscillates from step {dead} on, and the losses end {per_cent(abs(apart))} apart.", abs(apart) < 0.02
    )


def _panel(run: Run, title: str, start: float, stop: float) -> Panel:
    drawn = [
        Curve(run.steps, run.series("discrete", "loss"), OPTIMIZER, "Optimizer"),
        Curve(run.steps, run.series("discrete", "loss_average"), STROKES["average"], "At the iterates' average"),
        Curve(run.steps, hide_settling(run, run.series("central", "predicted_loss")), STROKES["central_predicted"], "Predicted average"),
        Curve(run.steps, run.series("central", "loss"), STROKES["central"], "Central flow"),
    ]
    return Panel(title, tuple(drawn), "loss", log="y").zoomed(start, stop)


def _panels(data: Data) -> Sequence[Panel]:
    drawn = [
        _panel(data[label], f"{label}: η to a tenth", FALLS[label] - 60, FALLS[label] + 40) for label in ("RMSProp", "Scalar RMSProp", "GD")
    ]
    cosine = data["RMSProp, cosine"]
    return [*drawn, _panel(cosine, "RMSProp: η by a cosine", cosine.config.warm_start, cosine.steps[-1])]


ANNEALING = Figure(
    name="cf-annealing",
    source="[CF] Section 3.2",
    title="Annealing: the loss falls onto the central flow",
    caption="Much of the optimizer's loss is its oscillation across the valley. When η falls to a tenth, the oscillation is gone "
    "within ten steps, and the loss is that of the central flow, which had it all along.",
    theirs="[CF] says this in words: the central flow's loss is similar to that at an average of the weights, or after annealing.",
    ours="Here: the digits MLP with three optimizers; η falls to a tenth at one step, and once along a cosine.",
    preset="annealing",
    runs={
        "RMSProp": Stored("annealing", PRESETS["annealing"].config),
        "GD": Stored("annealing-gd", PRESETS["annealing-gd"].config),
        "Scalar RMSProp": Stored(
            "annealing-scalar",
            PRESETS["fig-16"].config.replace(schedule="step(400, 0.1)", steps=460, flows=["discrete", "central"], observe=["average"]),
        ),
        "RMSProp, cosine": Stored(
            "annealing-cosine",
            PRESETS["annealing"].config.replace(lr=0.01, schedule="cosine(360, 0.02)", steps=260),
        ),
    },
    panels=_panels,
    claims=(
        Claim("After annealing, the optimizer's loss is the central flow's.", _lands),
        Claim("It stays on it.", _stays),
        Claim("The loss at an average of the weights is near the central flow's too.", _average),
        Claim("The loss before is what the central flow predicts with its oscillation.", _predicted),
        Claim("Annealed slowly, both come together.", _slowly),
    ),
)
