"""[CF] Figures 20 and 42 to 44: RMSProp's ν comes to the value at which it would rest, given the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.gallery.adaptive.parts import COLORS, edge, hued, row
from cflows_core.gallery.adaptive.settings import CROSS_ENTROPY, FAST, MIDDLE, OF_RATES, SQUARED
from cflows_core.gallery.figure import Claim, Data, Figure, Finding
from cflows_core.gallery.measures import per_cent
from cflows_core.observe import STATIONARY_EVERY
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel
from cflows_core.store import Run

NEAR = 0.9  # a cosine from which ν counts as having come near ν̄
CLOSE = 1.5  # a factor within which a coordinate coincides
AT_LAST = 0.95  # "high values (near 1)"
MOVES = "nu_stationary_cosine"


def compared(run: Run, since: float = 0.0) -> np.ndarray:
    """The rows at which ν̄ was found anew, from a step on."""
    return np.flatnonzero((run.steps >= since) & (run.steps % STATIONARY_EVERY == 0) & np.isfinite(run.series("central", MOVES)))


def arrival(run: Run, level: float = NEAR) -> int | None:
    """The first step from which on the cosine of ν and ν̄ stays above a level, None if it is below at last."""
    rows = compared(run)
    low = np.flatnonzero(run.series("central", MOVES)[rows] <= level)
    if not len(low):
        return int(run.steps[rows[0]])
    return int(run.steps[rows[low[-1] + 1]]) if low[-1] + 1 < len(rows) else None


def ratios(run: Run, at: int = -1) -> np.ndarray:
    """ν/ν̄ of ten weights, [10], at a row."""
    return run.series("central", "nu_coordinates")[at] / run.series("central", "nu_stationary_coordinates")[at]


def coinciding(run: Run) -> int:
    """How many of the ten weights have ν within a factor CLOSE of ν̄ when ν̄ was last found."""
    return int(np.sum(np.abs(np.log(ratios(run, int(compared(run)[-1])))) < np.log(CLOSE)))


def last_cosine(run: Run) -> float:
    """The cosine where ν̄ was last found: on some networks the solver fails to converge at some points."""
    return float(run.series("central", MOVES)[compared(run)[-1]])


def cosine(runs: dict[str, Run], title: str) -> Panel:
    """From where the central flow is at the edge on, counted from there if there are several runs."""
    drawn = []
    for (label, run), color in zip(runs.items(), COLORS, strict=False):
        seen = compared(run, edge(run))
        origin = edge(run) if len(runs) > 1 else 0
        drawn.append(Curve(run.steps[seen] - origin, run.series("central", MOVES)[seen], hued(color), label if len(runs) > 1 else ""))
    return Panel(title, tuple(drawn), "cosine", x="steps since the edge" if len(runs) > 1 else "step")


def coordinates(run: Run, title: str) -> Panel:
    """ν of ten weights, and ν̄ dashed."""
    seen = compared(run, edge(run))
    actual, resting = (run.series("central", f"{name}_coordinates")[seen] for name in ("nu", "nu_stationary"))
    drawn = []
    for at in range(actual.shape[1]):
        color = COLORS[at % len(COLORS)]
        drawn.append(Curve(run.steps[seen], actual[:, at], hued(color, width=1.3, alpha=0.75), "ν" if at == 0 else ""))
        drawn.append(Curve(run.steps[seen], resting[:, at], hued(color, dash=(3, 3), width=1.3), "stationary ν" if at == 0 else ""))
    return Panel(title, tuple(drawn), "gradient²", log="y")


def ratio_panel(run: Run, title: str) -> Panel:
    seen = compared(run, edge(run))
    values = np.array([ratios(run, int(at)) for at in seen])
    drawn = [Curve(run.steps[seen], values[:, at], hued(COLORS[at % len(COLORS)], width=1.2, alpha=0.8)) for at in range(values.shape[1])]
    level = Curve(run.steps[seen][[0, -1]], np.ones(2), STROKES["edge"])
    return Panel(title, (*drawn, level), "ν / stationary ν", log="y")


# -- what is claimed --------------------------------------------------------------------------------------------------------------
def _reaches(data: Data) -> Finding:
    run = data["η = 0.001"]
    series, at = run.series("central", MOVES)[compared(run, edge(run))], arrival(run)
    start, last = float(series[0]), float(series[-1])
    when = "never for good" if at is None else f"from step {at}, {at - edge(run)} steps after the edge"
    return Finding(
        f"{start:.2f} at the edge (step {edge(run)}); above {NEAR} {when}; {last:.3f} at last.", at is not None and last > AT_LAST
    )


def _coincide(data: Data) -> Finding:
    run = data["η = 0.001"]
    first, last = ratios(run, row(run, edge(run))), ratios(run)
    words = f"{coinciding(run)} of ten end within a factor {CLOSE}: ν/ν̄ is {last.min():.2f} to {last.max():.2f}"
    return Finding(f"{words}, after {first.min():.2g} to {first.max():,.0f} at the edge.", coinciding(run) == 10)


def _continues(data: Data) -> Finding:
    """Over the last third of the steps; it moves: the flow's speed under it changes by a fifth at least."""
    run = data["η = 0.001"]
    at = row(run, 2 * run.steps[-1] / 3)
    series, speed = run.series("central", MOVES)[at:], run.series("central", "speed_stationary")
    kept, moved = float(series.min()), float(speed[-1] / speed[at])
    words = f"From step {run.steps[at]} on the cosine is at least {kept:.3f}, while |∇L|² in P̄⁻¹ falls to {per_cent(moved)}."
    return Finding(words, kept > AT_LAST and moved < 0.8)


def _other_rates(data: Data) -> Finding:
    found = {label: (arrival(run), float(run.series("central", MOVES)[-1])) for label, run in data.runs.items() if label != "η = 0.001"}
    words = "; ".join(f"{label}: {'never' if at is None else f'from step {at}'}, {last:.3f} at last" for label, (at, last) in found.items())
    return Finding(f"Above {NEAR}: {words}.", all(at is not None and last > AT_LAST for at, last in found.values()))


def _panels_20(data: Data) -> Sequence[Panel]:
    run = data["η = 0.001"]
    return [
        cosine({"": run}, "Cosine of ν and stationary ν"),
        coordinates(run, "ν of ten weights, and stationary"),
        ratio_panel(run, "Their ratio"),
        cosine(dict(data.runs), "Cosine, by learning rate"),
    ]


def _panels_settings(data: Data) -> Sequence[Panel]:
    drawn = []
    for label, run in data.runs.items():
        drawn += [cosine({"": run}, f"Cosine, {label}"), coordinates(run, f"ν of ten weights, {label}")]
    return drawn


def _reaches_everywhere(data: Data) -> Finding:
    found = {label: (arrival(run), edge(run), last_cosine(run)) for label, run in data.runs.items()}
    words = [
        f"{label} {last:.3f} at last" + (f", above {NEAR} from {max(at - start, 0)} steps past the edge" if at is not None else "")
        for label, (at, start, last) in found.items()
    ]
    return Finding(f"{'; '.join(words)}.", all(last > AT_LAST for *_, last in found.values()))


def _coincide_everywhere(data: Data) -> Finding:
    found = {label: coinciding(run) for label, run in data.runs.items()}
    words = ", ".join(f"{count} of ten ({label})" for label, count in found.items())
    return Finding(f"Within a factor {CLOSE} at last: {words}.", all(count == 10 for count in found.values()))


def _sooner(data: Data) -> Finding:
    fast, slow = data["β₂ = 0.9"], data["β₂ = 0.99"]
    waits = []
    for run in (fast, slow):
        at = arrival(run, AT_LAST)
        waits.append(None if at is None else at - edge(run))
    words = f"The cosine is above {AT_LAST} {waits[0]} steps after the edge with β₂ = 0.9, {waits[1]} steps after it with 0.99."
    return Finding(words, waits[0] is not None and (waits[1] is None or waits[0] < waits[1]))


def _exactly(data: Data) -> Finding:
    found = [np.abs(ratios(data[label]) - 1).max() for label in ("β₂ = 0.9", "β₂ = 0.99")]
    last = float(data["β₂ = 0.9"].series("central", MOVES)[-1])
    words = f"At last ten weights are within {per_cent(found[0])} of it (cosine {last:.4f}), with β₂ = 0.99 within {per_cent(found[1])}."
    return Finding(words, bool(found[0] < found[1]))


_THEIRS = "[CF]: a ResNet on CIFAR-10, η = 2e-5, β₂ = 0.99, MSE; the edge is reached just before step 500."

CF20 = Figure(
    name="cf-20",
    source="[CF] Figure 20",
    title="RMSProp's ν becomes stationary",
    caption="For given weights there is one ν at which oscillations would hold it at rest. Some time after the edge the actual ν "
    "arrives at that value and moves with it: the step sizes then follow from the weights alone.",
    theirs=_THEIRS,
    ours="Here: the digits MLP, η = 0.001 (and three more), β₂ = 0.99, from the initial weights; ν̄ every ten steps.",
    preset="fig-20",
    runs=OF_RATES,
    panels=_panels_20,
    claims=(
        Claim("A while after the edge the cosine of ν and its stationary value is near 1.", _reaches),
        Claim("Single coordinates coincide with theirs.", _coincide),
        Claim("They go on coinciding while the stationary value moves.", _continues),
        Claim("So it is at other learning rates.", _other_rates),
    ),
)

_EVERYWHERE = (
    Claim("The cosine comes near 1 in other settings too.", _reaches_everywhere),
    Claim("Single coordinates coincide with theirs.", _coincide_everywhere),
)
_WARM = "from a warm start at the edge, β₂ ="

CF42 = Figure(
    name="cf-42",
    source="[CF] Figure 42",
    title="ν becomes stationary: other networks, squared error",
    caption="Figure 20 on two more networks: the cosine of ν and its stationary value, and ten weights.",
    theirs="[CF]: more architectures with MSE; its text gives no settings.",
    ours=f"Here: a CNN on digits and an LSTM on sequences to be sorted, {_WARM} 0.99. Where the solver does not converge "
    "there is no point.",
    preset="fig-42",
    runs=SQUARED,
    panels=_panels_settings,
    claims=_EVERYWHERE,
)

CF43 = Figure(
    name="cf-43",
    source="[CF] Figure 43",
    title="ν becomes stationary: other networks, cross-entropy",
    caption="Figure 20 on two networks with cross-entropy, under which curvature falls as the outputs grow sure.",
    theirs="[CF]: more architectures with cross-entropy; its text gives no settings.",
    ours=f"Here: a CNN and an MLP on digits, {_WARM} 0.95: they leave the edge before ν would arrive with 0.99.",
    preset="fig-43",
    runs=CROSS_ENTROPY,
    panels=_panels_settings,
    claims=_EVERYWHERE,
)

CF44 = Figure(
    name="cf-44",
    source="[CF] Figure 44",
    title="ν becomes stationary sooner for smaller β₂",
    caption="With β₂ = 0.9 the average forgets in ten steps instead of a hundred, and ν is at its stationary value almost as soon as "
    "the edge is reached.",
    theirs="[CF]: footnote 50 says that ν converges quicker when β₂ is smaller.",
    ours="Here: the setting of Figure 20 with β₂ = 0.9 and 0.99.",
    preset="fig-20-fast",
    runs={"β₂ = 0.9": FAST, "β₂ = 0.99": MIDDLE},
    panels=lambda data: [
        cosine(dict(data.runs), "Cosine, by β₂"),
        coordinates(data["β₂ = 0.9"], "ν of ten weights, β₂ = 0.9"),
        ratio_panel(data["β₂ = 0.9"], "Their ratio, β₂ = 0.9"),
    ],
    claims=(
        Claim("ν converges quicker when β₂ is smaller.", _sooner),
        Claim("It stays nearer to the stationary value, too.", _exactly),
    ),
)
