"""[CF] Figures 23, 38 and 39: what makes the central flow less accurate: large steps, kinks, large spikes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cflows_core.gallery.descent.averages import error
from cflows_core.gallery.descent.settings import CNN, CNN_OURS, PAIR, SPIKY, distances, sharpness
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent, smooth
from cflows_core.measure import share_of_path
from cflows_core.palette import Stroke
from cflows_core.panels import OPTIMIZER, Curve, Panel
from cflows_core.presets import get
from cflows_core.store import Run

COLORS = ("central", "rod", "stable", "ablation")  # of the palette, a run each

MIXES = {
    "GeLU": CNN[0.2],
    "Half ReLU": Stored("gd-cnn-half-relu", PAIR.replace(activation="gelu_relu", activation_mix=0.5)),
    "ReLU": Stored("gd-cnn-relu", get("fig-38").config),
}


def beside(runs: Mapping[str, Run], title: str, y: str, *drawn: tuple[Callable[[Run], np.ndarray], float, float]) -> Panel:
    """Series of several runs, each run in its colour. drawn: what gives a series of a run, its width and its opacity; the last is named."""
    curves = [
        Curve(run.steps, series(run), Stroke(color, width, alpha=alpha), label if series is drawn[-1][0] else "")
        for color, (label, run) in zip(COLORS, runs.items(), strict=False)
        for series, width, alpha in drawn
    ]
    return Panel(title, tuple(curves), y)


def _three(data: Data) -> Sequence[Panel]:
    """Left, middle and right of Figure 23: train loss, an output, the distance."""
    first = next(iter(data.runs.values()))
    chosen = int(np.argmax(np.ptp(first.series("central", "outputs"), axis=0)))  # the output that changes most
    return [
        beside(data.runs, "Train loss", "loss", (_loss, 1.0, 0.3), (lambda run: smooth(run, _loss(run)), 1.2, 0.7), (_predicted, 2.0, 1.0)),
        beside(
            data.runs,
            "An output on a test example",
            f"output {chosen}",
            (lambda run: run.series("discrete", "outputs")[:, chosen], 1.0, 0.35),
            (lambda run: run.series("central", "outputs")[:, chosen], 2.0, 1.0),
        ),
        beside(data.runs, "Distance to the central flow", "distance", (lambda run: run.series("central", "distance"), 2.0, 1.0)),
    ]


def _loss(run: Run) -> np.ndarray:
    return run.series("discrete", "loss")


def _predicted(run: Run) -> np.ndarray:
    return run.series("central", "predicted_loss")


def share(run: Run) -> float:
    """The central flow's last distance as a share of the optimizer's path."""
    return float(share_of_path(run.series("central", "distance"), run.series("discrete", "path_length"))[-1])


def apart(run: Run) -> float:
    """Root mean square difference of the optimizer's smoothed outputs on the test example and the central flow's, since its first visit."""
    rows = run.series("central", "rank") > 0
    start = int(np.argmax(rows)) if rows.any() else 0
    difference = smooth(run, run.series("discrete", "outputs")) - run.series("central", "outputs")
    return float(np.sqrt(np.nanmean(difference[start:] ** 2)))


def _grows(value: Callable[[Run], float], told: Callable[[float], str]) -> Callable[[Data], Finding]:
    """A number of each run, in their order; the claim holds if it grows from each to the next."""

    def measure(data: Data) -> Finding:
        numbers = {label: value(run) for label, run in data.runs.items()}
        words = ", ".join(f"{label}: {told(number)}" for label, number in numbers.items())
        return Finding(f"{words}.", bool(np.all(np.diff(list(numbers.values())) > 0)))

    return measure


def _worse(value: Callable[[Run], float], told: Callable[[float], str]) -> Callable[[Data], Finding]:
    """A number of the first and the last run; the claim holds if it is twice as large for the last."""

    def measure(data: Data) -> Finding:
        labels = list(data.runs)
        first, last = (value(data[label]) for label in (labels[0], labels[-1]))
        return Finding(f"{labels[0]}: {told(first)}, {labels[-1]}: {told(last)}.", last > 2 * first)

    return measure


def _of_path(part: float) -> str:
    return f"{per_cent(part)} of the path"


def _losses_captured(data: Data) -> Finding:
    errors = {label: error(run, "loss") for label, run in data.runs.items()}
    words = ", ".join(f"{label}: {per_cent(off)}" for label, off in errors.items())
    return Finding(f"Mean relative error against the smoothed loss: {words}.", max(errors.values()) < 0.05)  # as in averages.py


def _thrown_off(data: Data) -> Sequence[Panel]:
    run = data["spiky"]
    gradient = Curve(run.steps, run.series("discrete", "grad_norm_sq"), OPTIMIZER, "Optimizer")
    return [distances(run), Panel("Squared gradient", (gradient,), "|∇L|²", log="y"), sharpness(run, ("discrete", "central"))]


def _jump(data: Data) -> Finding:
    """At the largest squared gradient while something oscillates: the distance over 15 steps that end, and begin, five steps from it."""
    run = data["spiky"]
    far, gradient = (
        run.series("central", "distance"),
        np.where(run.series("central", "rank") > 0, run.series("discrete", "grad_norm_sq"), 0),
    )
    at = int(np.argmax(gradient))
    before, after = float(np.median(far[at - 20 : at - 5])), float(np.median(far[at + 5 : at + 20]))
    times = float(gradient[at] / np.median(gradient[gradient > 0]))
    number = f"At step {run.steps[at]} |∇L|² is {times:.0f} times its median; the distance is {before:.3f} before and {after:.3f} after."
    return Finding(number, after > 2 * before and times > 30)  # a jump, and a spike of more than an order of magnitude


def _stays_off(data: Data) -> Finding:
    part = share(data["spiky"])
    return Finding(f"At the end it is {per_cent(part)} of the path away.", part > 0.1)  # a tenth of the path is a path of its own


_CNN_THEIRS = "[CF]: a CNN trained on CIFAR-10 with squared error; size and learning rates are not in the text."

LIMITS: tuple[Figure, ...] = (
    Figure(
        name="cf-23",
        source="[CF] Figure 23",
        title="Larger learning rates, less accurate central flows",
        caption="One CNN, one start, three learning rates. Light: gradient descent; dark: its central flow. The larger the step, the "
        "sooner the edge is reached and the further apart the two end, and yet the loss curves agree.",
        theirs=_CNN_THEIRS,
        ours=f"{CNN_OURS}, η = 0.15, 0.2 and 0.3.",
        preset="fig-23",
        runs={f"η = {lr:g}": CNN[lr] for lr in sorted(CNN)},
        panels=_three,
        claims=(
            Claim(
                "The larger the learning rate, the faster the distance to the central flow grows: the larger it is at the end.",
                _grows(lambda run: float(run.series("central", "distance")[-1]), lambda distance: f"{distance:.3f}"),
            ),
            Claim(
                "At larger learning rates the network's outputs on a test example differ more from the central flow's.",
                _grows(apart, lambda difference: f"{difference:.3f}"),
            ),
            Claim("The central flow still captures the train loss curves.", _losses_captured),
        ),
    ),
    Figure(
        name="cf-38",
        source="[CF] Figure 38",
        title="From GeLU to ReLU",
        caption="One CNN with three activations: GeLU, the mean of GeLU and ReLU, and ReLU. Light: gradient descent; dark: its "
        "central flow, which knows the loss by derivatives at one point and so does not see the kinks beside it.",
        theirs="[CF]: a network whose activation is interpolated from GeLU to ReLU; which one is not in the text.",
        ours=f"{CNN_OURS}, η = 0.2; and the same with half GeLU and half ReLU, and with ReLU alone.",
        preset="fig-38",
        runs=MIXES,
        panels=_three,
        claims=(
            Claim("With ReLU the central flow is less accurate in weight space than with GeLU.", _worse(share, _of_path)),
            Claim("It is also less accurate in function space.", _worse(apart, lambda difference: f"{difference:.3f}")),
            Claim("From GeLU to ReLU the accuracy degrades steadily.", _grows(share, _of_path)),
        ),
    ),
    Figure(
        name="cf-39",
        source="[CF] Figure 39",
        title="A large spike throws the optimizer off",
        caption="The network of Figure 23 at η = 0.4. The sharpness is at 2.3 times 2/η before the oscillation shows. Then, for "
        "a few steps, the gradient is so large that gradient descent lands elsewhere, and has left its central flow for good.",
        theirs="[CF]: which network and learning rate are drawn is not in the text.",
        ours=f"{CNN_OURS}, η = 0.4.",
        preset="fig-39",
        runs={"spiky": SPIKY},
        panels=_thrown_off,
        claims=(
            Claim("An extremely large spike makes the real trajectory deviate from the central flow.", _jump),
            Claim("The deviation remains: the central flow does not come back.", _stays_off),
        ),
    ),
)
