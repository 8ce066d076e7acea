"""[CF] Figures 14, 15 and 36: Scalar RMSProp at its edge, and its central flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.gallery.adaptive.agreement import EACH, ONE, four, two_each
from cflows_core.gallery.adaptive.parts import averaged_loss, started
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import smooth
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel, faded, nth
from cflows_core.presets import PRESETS
from cflows_core.store import Run

MAMBA = PRESETS["fig-14"].config
RUN = Stored("fig-14", MAMBA)
OF_BETA2 = {
    "β₂ = 0.9": Stored("fig-36-90", MAMBA.replace(beta2=0.9)),
    "β₂ = 0.95": Stored("fig-36-95", MAMBA.replace(beta2=0.95)),
    "β₂ = 0.99": RUN,
}
# The text gives task, η and β₂; the width, the number of sequences and of steps are ours.
PAPER = Stored(
    "paper-fig-14",
    RunConfig(
        dataset="sorting", architecture="mamba", width=32, depth=2, activation="silu", n_train=1000, optimizer="scalar_rmsprop", lr=2 / 400,
        beta2=0.99, steps=4000, flows=["discrete", "stable", "central"], observe=[],
    ),
)  # fmt: skip


def _raw(run: Run) -> Panel:
    values = run.series("discrete", "hessian_eigs")
    drawn = [Curve(run.steps, nth(values, mode), faded(STROKES["discrete"], mode)) for mode in range(run.config.n_eigs)]
    return Panel("The Hessian's own eigenvalues", tuple(drawn), "λ(H)")


def _effective(run: Run) -> Panel:
    values = run.series("discrete", "effective_eigs")
    drawn = [Curve(run.steps, np.full(run.rows, 2.0), STROKES["edge"], "Edge of stability")]
    drawn += [Curve(run.steps, nth(values, mode), faded(STROKES["discrete"], mode)) for mode in range(run.config.n_eigs)]
    return Panel("Effective Hessian's eigenvalues", tuple(drawn), "η λ(H)/√ν")


def _panels_14(data: Data) -> Sequence[Panel]:
    run = data["run"]
    return [_effective(run), _raw(run), averaged_loss(run)]


def _range(values: np.ndarray) -> float:
    """How many times its least a series' largest value is."""
    return float(np.nanmax(values) / np.nanmin(values))


def _equilibrates(data: Data) -> Finding:
    """At 2: the mean within 5 per cent since the flows started, the standard deviation within 15."""
    run = data["run"]
    values = nth(run.series("discrete", "effective_eigs"), 0)[started(run)] / 2
    mean, spread = float(np.nanmean(values)), float(np.nanstd(values))
    return Finding(f"Its mean is {2 * mean:.2f}, with a standard deviation of {2 * spread:.2f}.", abs(mean - 1) < 0.05 and spread < 0.15)


def _freely(data: Data) -> Finding:
    """Freely: over the whole run, warm start included, the raw one covers a factor 1.5, where the effective one comes to stand at 2."""
    run = data["run"]
    raw = smooth(run, nth(run.series("discrete", "hessian_eigs"), 0))
    since = _range(raw[started(run)])
    words = f"Smoothed, the largest covers a factor {_range(raw):.1f} over the run, {since:.2f} since the flows started."
    return Finding(words, _range(raw) > 1.5)


_THEIRS = "[CF]: a Mamba on a sequence task, η = 2/400, β₂ = 0.99; width, examples and steps are not in the text."
_OURS = "Here: a Mamba of 308 weights on sequences to be sorted, η = 0.08; the flows start after the one large overshoot."

CF14 = Figure(
    name="cf-14",
    source="[CF] Figure 14",
    title="A typical Scalar RMSProp trajectory",
    caption="The Hessian's own eigenvalues go where they like. Divided by the step size's bound, they stand still: the effective "
    "Hessian's largest is at 2.",
    theirs=_THEIRS,
    ours=_OURS,
    preset="fig-14",
    runs={"run": RUN},
    paper={"run": PAPER},
    panels=_panels_14,
    claims=(
        Claim("The effective Hessian's top eigenvalue equilibrates at 2.", _equilibrates),
        Claim("The Hessian's own eigenvalues evolve freely.", _freely),
    ),
)

CF15 = Figure(
    name="cf-15",
    source="[CF] Figure 15",
    title="Central flow for Scalar RMSProp",
    caption="The run of Figure 14 with its flows. The stable flow sharpens past the edge and goes elsewhere; the central flow runs "
    "through the middle of the optimizer's path and knows how widely it swings.",
    theirs=_THEIRS,
    ours=_OURS,
    preset="fig-14",
    runs={"run": RUN},
    paper={"run": PAPER},
    panels=lambda data: four(data["run"]),
    claims=ONE,
)

CF36 = Figure(
    name="cf-36",
    source="[CF] Figure 36",
    title="Central flow for Scalar RMSProp: three β₂",
    caption="The same problem with a shorter and a longer memory of the gradients. The central flow follows each.",
    theirs="[CF]: several values of β₂, not given in its text.",
    ours="Here: the Mamba of Figure 14 with β₂ = 0.9, 0.95 and 0.99.",
    preset="fig-14",
    runs=OF_BETA2,
    panels=two_each,
    claims=EACH,
)

SCALAR = (CF14, CF15, CF36)
