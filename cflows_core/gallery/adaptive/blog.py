"""The figures of the blog on RMSProp [B3], drawn from the runs of [CF] 17 to 22; which of those the others are, `theirs` says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.gallery.adaptive import rmsprop, speeds, stationarity
from cflows_core.gallery.adaptive.contest import ahead
from cflows_core.gallery.adaptive.lower_curvature import CF22
from cflows_core.gallery.adaptive.parts import LOSS, covariance, eigenvalues, from_start, of_flows, started
from cflows_core.gallery.adaptive.settings import OF_RATES, RESNET
from cflows_core.gallery.figure import Claim, Data, Figure, Finding
from cflows_core.gallery.measures import per_cent
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel, nth
from cflows_core.store import Run


def _share(run: Run) -> Panel:
    drawn = (Curve(run.steps, 100 * rmsprop.oscillating(run), STROKES["central"]),)
    return Panel("|∇L|² that comes from oscillation", drawn, "per cent")


def _beneath(data: Data) -> Sequence[Panel]:
    run = data["run"]
    return [
        Panel("Train loss", (Curve(run.steps, run.series("discrete", "loss"), STROKES["discrete"]),), "loss"),
        *rmsprop.CF17.panels(data)[:2],
        eigenvalues(run),
        from_start(run, covariance(run)),
        *rmsprop.CF19.panels(data)[:1],
        from_start(run, _share(run)),
        rmsprop.CF19.panels(data)[3],
    ]


def _well_behaved(data: Data) -> Finding:
    """Well-behaved beside the squared gradient: it moves a tenth as much from step to step."""
    run = data["run"]
    loss, squares = (run.series("discrete", name)[started(run)] for name in ("loss", rmsprop.G2))
    jumps = [float(np.median(np.abs(np.diff(np.log(np.maximum(values, 1e-300)), axis=0)))) for values in (loss, squares)]
    words = f"A step changes it by {per_cent(jumps[0])}, the squared gradient of a weight by a factor {np.exp(jumps[1]):.1f}."
    return Finding(f"{words[:-1]} (medians).", jumps[0] < jumps[1] / 10)


def _locked(data: Data) -> Finding:
    """At 2: within a per cent, at the steps at which so many modes oscillate."""
    run = data["run"]
    rank, eigs = run.series("central", "rank"), run.series("central", "effective_eigs")
    modes = int(np.nanmax(rank))
    held = [nth(eigs, mode)[rank > mode] for mode in range(modes)]
    low, high = min(map(np.nanmin, held)), max(map(np.nanmax, held))
    return Finding(
        f"{modes} modes come to the edge; while they oscillate they are at {low:.3f} to {high:.3f}.", bool(low > 1.98 and high < 2.02)
    )


def _mostly(data: Data) -> Finding:
    part = rmsprop.oscillating(data["run"])
    return Finding(
        f"{per_cent(float(np.nanmedian(part)))} in the median, by the central flow's own account.", bool(np.nanmedian(part) > 0.5)
    )


B31 = Figure(
    name="b3-1",
    source="[B3] RMSProp's dynamics",
    title="A loss that looks well-behaved, and what is beneath it",
    caption="The loss curve is smooth sailing. Beneath it squared gradients jump at every step, because the optimizer swings between "
    "the walls of a valley; their averages are smooth again.",
    theirs="[B3]: loss, squared gradients, effective eigenvalues and Σ are [CF] 17 and 18, the predictions 19; the quadratic is [CF] 3.",
    ours="Here: the ResNet of Figure 17.",
    preset="fig-17",
    runs={"run": RESNET},
    paper=rmsprop.CF17.paper,
    panels=_beneath,
    claims=(
        Claim("The loss curve looks well-behaved, the squared gradient does not.", _well_behaved),
        Claim("Under the central flow each eigenvalue rises to 2 and stays locked there.", _locked),
        Claim("Most of the squared gradient comes from the oscillations: from the valley's walls, not its floor.", _mostly),
        *rmsprop.CF19.claims,
    ),
)


def _implicit(data: Data) -> Sequence[Panel]:
    run = data["η = 0.001"]
    return [
        speeds.panel(data["η = 0.0003"], "Speeds, η = 0.0003"),
        speeds.panel(data["η = 0.01"], "Speeds, η = 0.01"),
        stationarity.cosine({"": run}, "Cosine of ν and stationary ν"),
        stationarity.coordinates(run, "ν of ten weights, and stationary"),
        of_flows(data["ablated"], LOSS, "Train loss without regularisation", "loss", log="y"),
    ]


def _beats(data: Data) -> Finding:
    found = [speeds.Speeds.of(data[label]) for label in OF_RATES]
    holds = all(bool((one.minimal > one.vanilla).all()) for one in found)
    words = ", ".join(f"{one.gain[1]:.1f}" for one in found)
    return Finding(
        f"{words} times as fast as gradient descent in the median at the four η, and {'always' if holds else 'not always'} faster.", holds
    )


def _harmful(data: Data) -> Finding:
    found = [speeds.Speeds.of(data[label]) for label in OF_RATES]
    below = [speeds.Speeds.of(data[label], at_edge=False) for label in OF_RATES]
    worse = sum(int(np.sum(one.stationary < one.vanilla)) for one in (*found, *below))
    share = max(float(np.max(one.stationary / one.minimal)) for one in found)
    points = sum(map(len, (*found, *below)))
    words = f"At most {share:.3f} of the speed of least trace, and slower than gradient descent at {worse} of {points} points."
    return Finding(words, share <= 1 + 1e-3 and worse > 0)


def _penalty(data: Data) -> Finding:
    share = ahead(data["ablated"])
    return Finding(f"With it the last loss is {per_cent(share)} lower than without.", share > 0)


B32 = Figure(
    name="b3-2",
    source="[B3] RMSProp's preconditioner",
    title="The preconditioner that RMSProp finds by oscillating",
    caption="Least trace under the bound of stability beats gradient descent. RMSProp's own preconditioner has a second term that "
    "slows it down, and a curvature penalty that pays later.",
    theirs="[B3]: the cosine and the coordinates are [CF] 20, the two figures of speeds [CF] 21, the flow without penalty [CF] 22.",
    ours="Here: the digits MLP of Figures 20 to 22.",
    preset="fig-20",
    runs={**OF_RATES, "ablated": CF22.runs["η = 0.01"]},
    panels=_implicit,
    claims=(
        Claim("The preconditioner of least trace beats gradient descent at its largest stable step.", _beats),
        Claim("The stationary one is always worse than it, and sometimes worse than gradient descent.", _harmful),
        Claim("The curvature penalty is beneficial: without it the loss goes down slower.", _penalty),
        *stationarity.CF20.claims[:2],
    ),
)
