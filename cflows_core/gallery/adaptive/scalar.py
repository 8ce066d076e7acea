"""[CF] Figures 14, 15 and 36: Scalar RMSProp at its edge, and its central flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.gallery.adaptive.agreement import EACH, ONE, four, two_each
from cflows_core.gallery.adaptive.parts import averaged_loss, from_start, started
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import per_cent
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
    return [from_start(run, panel) for panel in (_effective(run), _raw(run), averaged_loss(run))]


def _drift(values: np.ndarray) -> float:
    """How much the mean of a series' last third differs from that of its first, as a share."""
    parts = np.array_split(values, 3)
    return float(abs(np.nanmean(parts[-1]) / np.nanmean(parts[0]) - 1))


def _equilibrates(data: Data) -> Finding:
    """At 2: the mean within 5 per cent, single steps within 15."""
    run = data["run"]
    values = nth(run.series("discrete", "effective_eigs"), 0)[started(run)] / 2
    mean, spread = float(np.nanmean(values)), float(np.nanstd(values))
    return Finding(f"Its mean is {2 * mean:.2f}, with a standard deviation of {2 * spread:.2f}.", abs(mean - 1) < 0.05 and spread < 0.15)


def _freely(data: Data) -> Finding:
    """Freely: from the first third of the steps to the last the raw one moves three times as far as the effective one."""
    run = data["run"]
    raw, effective = (_drift(nth(run.series("discrete", f"{name}_eigs"), 0)[started(run)]) for name in ("hessian", "effective"))
    words = (
        f"From the first third of the steps to the last, the largest moves by {per_cent(raw)}, the effective one by {per_cent(effective)}."
    )
    return Finding(words, raw > 3 * effective)


_THEIRS = "[CF]: a Mamba on a sequence task, η = 2/400, β₂ = 0.99; width, examples and steps are not in the text."
_OURS = "Here: a Mamba of 308 weights on sequences to be sorted, flows from a warm start at the edge."

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
