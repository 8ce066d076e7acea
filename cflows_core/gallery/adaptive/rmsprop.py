"""[CF] Figures 17 to 19, 35 and 37: RMSProp at its edge, its squared gradients and their average, and its central flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.gallery.adaptive.agreement import EACH, ONE, four, two_each
from cflows_core.gallery.adaptive.parts import from_start, started
from cflows_core.gallery.adaptive.settings import RESNET, config
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent, smooth
from cflows_core.palette import STROKES, Stroke
from cflows_core.panels import Curve, Panel
from cflows_core.store import Run

SHOWN = (1, 4, 7)  # of the ten weights
G2, NU = "grad_sq_coordinates", "nu_coordinates"
STRETCH = 100  # steps that are drawn of the squared gradient
# The text gives network, data, η, β₂ and loss; the width, the number of images and of steps are ours.
PAPER = Stored(
    "paper-fig-17",
    RunConfig(
        dataset="cifar10", architecture="resnet", width=16, depth=3, activation="gelu", n_train=1000, optimizer="rmsprop", lr=2e-5,
        beta2=0.99, steps=4000, flows=["discrete", "stable", "central"], observe=["coordinates"],
    ),
)  # fmt: skip
OF_BETA2 = {
    "β₂ = 0.95": Stored("fig-35-95", config("fig-17", beta2=0.95, observe=[])),
    "β₂ = 0.99": RESNET,
    "β₂ = 0.999": Stored("fig-35-999", config("fig-17", beta2=0.999, observe=[])),
}
OF_EPS = {
    "ε = 1e-8": RESNET,
    "ε = 0.001": Stored("fig-37-3", config("fig-17", eps=1e-3, observe=[])),
    "ε = 0.003": Stored("fig-37-2", config("fig-17", eps=3e-3, observe=[])),
}


def _middle(run: Run) -> tuple[float, float]:
    """A stretch of the run in the middle of its flows' steps."""
    at = run.config.warm_start + run.config.steps / 2 - STRETCH / 2
    return at, at + STRETCH


# -- Figure 17 --------------------------------------------------------------------------------------------------------------------
def _panels_17(data: Data) -> Sequence[Panel]:
    run = data["run"]
    squares, nu = (run.series("discrete", name) for name in (G2, NU))
    return [
        Panel(
            f"Weight {at + 1} of ten",
            (
                Curve(run.steps, squares[:, at], STROKES["raw"], "gradient²"),
                Curve(run.steps, nu[:, at], Stroke("discrete", 2.0), "ν, its average"),
            ),
            "gradient²",
        ).zoomed(*_middle(run))
        for at in SHOWN
    ]


def _unrest(run: Run, name: str) -> float:
    """Standard deviation of a series over its smoothed self, as a share of that, the median over ten weights."""
    values = run.series("discrete", name)[started(run)]
    return float(np.median((values / smooth(run, values)).std(0)))


def _fluctuate(data: Data) -> Finding:
    squares, nu = (_unrest(data["run"], name) for name in (G2, NU))
    words = f"About their smoothed values the squares scatter by {per_cent(squares)}, ν by {per_cent(nu)} (medians over ten weights)."
    return Finding(words, squares > nu > 0.01)


def oscillating(run: Run) -> np.ndarray:
    """Share of the predicted squared gradient norm that comes from oscillation, [rows]."""
    return 1 - run.series("central", "grad_norm_sq") / run.series("central", "predicted_grad_norm_sq")


def _by_oscillation(data: Data) -> Finding:
    """Due to oscillations: most of the smoothed |∇L|² is missing at the centre of the oscillation."""
    run = data["run"]
    measured = 1 - run.series("central", "grad_norm_sq") / smooth(run, run.series("discrete", "grad_norm_sq"))
    part = float(np.nanmedian(measured))
    return Finding(f"{per_cent(part)} of the optimizer's smoothed |∇L|² is not there at the central flow, in the median.", part > 0.5)


# -- Figure 19 --------------------------------------------------------------------------------------------------------------------
def _panels_19(data: Data) -> Sequence[Panel]:
    run = data["run"]
    drawn = []
    for name, title in ((G2, "Gradient²"), (NU, "ν")):
        actual, predicted, stable = (run.series(flow, name) for flow in ("discrete", "central", "stable"))
        for at in SHOWN:
            curves = [Curve(run.steps, actual[:, at], STROKES["raw"], "Optimizer")]
            if name == G2:
                curves.append(Curve(run.steps, smooth(run, actual)[:, at], STROKES["discrete"], "Optimizer, smoothed"))
            curves.append(Curve(run.steps, stable[:, at], STROKES["stable"], "Stable flow"))
            curves.append(Curve(run.steps, predicted[:, at], STROKES["central"], "Central flow, predicted"))
            drawn.append(from_start(run, Panel(f"{title} of weight {at + 1}", tuple(curves), "gradient²")))
    return drawn


def _error(run: Run, flow: str, name: str, averaged: bool) -> float:
    """Mean of |predicted − measured| over the mean of the measured, of ten weights the median."""
    measured, guess = run.series("discrete", name), run.series(flow, name)
    if averaged:
        measured, guess = smooth(run, measured), smooth(run, guess)
    known = np.isfinite(guess).all(1) & started(run)
    return float(np.median(np.abs(guess - measured)[known].mean(0) / measured[known].mean(0)))


def _squares(data: Data) -> Finding:
    central, stable = (_error(data["run"], flow, G2, averaged=True) for flow in ("central", "stable"))
    words = f"Smoothed, it is {per_cent(central)} off in the median of ten weights, the stable flow {per_cent(stable)}."
    return Finding(words, central < 0.25 and central < stable / 2)


def _nu(data: Data) -> Finding:
    central, stable = (_error(data["run"], flow, NU, averaged=False) for flow in ("central", "stable"))
    words = f"ν(t) is {per_cent(central)} off in the median of ten weights, the stable flow's {per_cent(stable)}."
    return Finding(words, central < 0.1 and central < stable / 2)


# ---------------------------------------------------------------------------------------------------------------------------------
_THEIRS = "[CF]: a ResNet on a subset of CIFAR-10, η = 2e-5, β₂ = 0.99, MSE; width, images and steps are not in the text."
_OURS = "Here: a ResNet of 410 weights on 100 digits, η = 0.001, β₂ = 0.99, MSE, from a warm start at the edge."
_RUN: dict = {"preset": "fig-17", "runs": {"run": RESNET}, "paper": {"run": PAPER}, "theirs": _THEIRS, "ours": _OURS}

CF17 = Figure(
    name="cf-17",
    source="[CF] Figure 17",
    title="RMSProp's ν is determined by oscillations",
    caption="The squared gradient of single weights, which jumps with every step, and its average ν, which sets the step sizes and "
    "jitters with it.",
    panels=_panels_17,
    claims=(
        Claim("The entries of the squared gradient fluctuate rapidly, and so, less, does ν.", _fluctuate),
        Claim("They fluctuate because RMSProp oscillates at the edge.", _by_oscillation),
    ),
    **_RUN,
)

CF18 = Figure(
    name="cf-18",
    source="[CF] Figure 18",
    title="Central flow for RMSProp",
    caption="The same run with its flows: the central flow is held at the edge as the optimizer is, while the stable flow leaves for "
    "sharper regions.",
    panels=lambda data: four(data["run"]),
    claims=ONE,
    **_RUN,
)

CF19 = Figure(
    name="cf-19",
    source="[CF] Figure 19",
    title="The central flow predicts squared gradients and ν",
    caption="What jumps from step to step has an average that a smooth flow knows: the squared gradients of three weights, and their ν.",
    panels=_panels_19,
    claims=(
        Claim("The central flow predicts the time average of each weight's squared gradient.", _squares),
        Claim("Its ν(t) tracks the actual average.", _nu),
    ),
    **_RUN,
)

CF35 = Figure(
    name="cf-35",
    source="[CF] Figure 35",
    title="Central flow for RMSProp: three β₂",
    caption="The ResNet with a shorter and a longer memory of its squared gradients. The central flow follows each.",
    theirs="[CF]: several values of β₂, not given in its text.",
    ours="Here: the ResNet of Figure 17 with β₂ = 0.95, 0.99 and 0.999.",
    preset="fig-17",
    runs=OF_BETA2,
    panels=two_each,
    claims=EACH,
)

CF37 = Figure(
    name="cf-37",
    source="[CF] Figure 37",
    title="Central flow for RMSProp: three ε",
    caption="A large ε bounds the step sizes of weights with small gradients, and RMSProp becomes more like gradient descent. The "
    "central flow follows each.",
    theirs="[CF]: several values of ε, not given in its text; its ε stands inside the root, √(ν + ε) (footnote 44).",
    ours="Here: the ResNet of Figure 17 with ε = 1e-8, 0.001 and 0.003 outside the root, √ν + ε, as PyTorch has it.",
    preset="fig-17",
    runs=OF_EPS,
    panels=two_each,
    claims=EACH,
)

RMSPROP = (CF17, CF18, CF19, CF35, CF37)
