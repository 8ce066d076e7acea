"""[CF] Figures 21 and 45: how fast the loss would fall under three preconditioners, along RMSProp's central flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cflows_core.gallery.adaptive.settings import CROSS_ENTROPY, OF_RATES, SQUARED
from cflows_core.gallery.figure import Claim, Data, Figure, Finding
from cflows_core.gallery.measures import per_cent
from cflows_core.observe import STATIONARY_EVERY
from cflows_core.palette import Stroke
from cflows_core.panels import Curve, Panel
from cflows_core.store import Run

DRAWN = {  # series -> label, stroke
    "speed_minimal_trace": ("Least trace, P̂", Stroke("rod", 1.7)),
    "speed_stationary": ("Stationary, P̄", Stroke("central", 1.7)),
    "speed_vanilla": ("Gradient descent, (S/2)I", Stroke("stable", 1.7, (2, 3))),
}


@dataclass(frozen=True)
class Speeds:
    """‖∇L‖² in the metric of P⁻¹ at the steps at which P̂ and P̄ were found, [points] each: at the edge, or below it."""

    minimal: np.ndarray
    stationary: np.ndarray
    vanilla: np.ndarray

    @classmethod
    def of(cls, run: Run, at_edge: bool = True) -> Speeds:
        found = [run.series("central", name) for name in DRAWN]
        oscillates = run.series("central", "rank") > 0
        rows = (run.steps % STATIONARY_EVERY == 0) & np.isfinite(found).all(0) & (oscillates if at_edge else ~oscillates)
        return cls(*(values[rows] for values in found))

    def __len__(self) -> int:
        return len(self.minimal)

    @property
    def share(self) -> float:
        """Median of P̄'s speed over P̂'s."""
        return float(np.median(self.stationary / self.minimal))

    @property
    def gain(self) -> tuple[float, float]:
        """Medians of the speeds of P̄ and of P̂ over gradient descent's."""
        return float(np.median(self.stationary / self.vanilla)), float(np.median(self.minimal / self.vanilla))


def at_edge(runs: Mapping[str, Run]) -> dict[str, Speeds]:
    return {label: Speeds.of(run) for label, run in runs.items()}


def panel(run: Run, title: str) -> Panel:
    """Where the preconditioners were found, from the edge on, or from the first step."""
    rows = run.steps % STATIONARY_EVERY == 0
    drawn = [Curve(run.steps[rows], run.series("central", name)[rows], stroke, label) for name, (label, stroke) in DRAWN.items()]
    return Panel(title, tuple(drawn), "|∇L|² in P⁻¹", log="y")


def _panels(data: Data) -> Sequence[Panel]:
    return [panel(run, label) for label, run in data.runs.items()]


def _least_trace_first(data: Data) -> Finding:
    """Everywhere: at every point but for the solvers' tolerance, below the edge too."""
    points = [speeds for run in data.runs.values() for speeds in (Speeds.of(run), Speeds.of(run, at_edge=False)) if len(speeds)]
    best = sum(int(np.sum((one.minimal > one.vanilla) & (one.minimal > one.stationary * (1 - 1e-3)))) for one in points)
    total = sum(map(len, points))
    gains = [speeds.gain[1] for speeds in at_edge(data.runs).values()]
    return Finding(
        f"In {best} of {total} points; {min(gains):.1f} to {max(gains):.1f} times gradient descent in the median.", best == total
    )


def _usually(data: Data) -> Finding:
    """Usually: at nine points of ten at the edge; not always: not at every point, those below the edge included."""
    found = at_edge(data.runs)
    wins, total = sum(int(np.sum(one.stationary > one.vanilla)) for one in found.values()), sum(map(len, found.values()))
    below = [Speeds.of(run, at_edge=False) for run in data.runs.values()]
    lower, others = sum(int(np.sum(one.stationary > one.vanilla)) for one in below), sum(map(len, below))
    return Finding(
        f"In {wins} of {total} points at the edge, and in {lower} of {others} below it.",
        0.9 * total <= wins and wins + lower < total + others,
    )


def _nearer(data: Data) -> Finding:
    shares = [speeds.share for speeds in at_edge(data.runs).values()]
    words = ", ".join(f"{share:.2f}" for share in shares)
    return Finding(
        f"The stationary speed is {words} of the least-trace one in the median, at {', '.join(data.runs)}.",
        bool(np.all(np.diff(shares) > 0)),
    )


def _least_often_small(data: Data) -> Finding:
    gains = [speeds.gain[0] for speeds in at_edge(data.runs).values()]
    losses = [int(np.sum(speeds.stationary <= speeds.vanilla)) for speeds in at_edge(data.runs).values()]
    words = ", ".join(f"{gain:.1f}" for gain in gains)
    return Finding(
        f"It is {words} times gradient descent in the median, and slower at {', '.join(map(str, losses))} points.",
        bool(np.argmin(gains) == 0 and np.argmax(losses) == 0),
    )


def _everywhere(data: Data) -> Finding:
    found = at_edge(data.runs)
    holds = all(bool((one.minimal > one.stationary * (1 - 1e-3)).all() and (one.minimal > one.vanilla).all()) for one in found.values())
    words = ", ".join(f"{one.gain[1]:.1f} ({label})" for label, one in found.items())
    first = "all" if holds else "not all"
    return Finding(f"It leads at {first} of {sum(map(len, found.values()))} points, over gradient descent by {words} times.", holds)


def _usually_everywhere(data: Data) -> Finding:
    found = at_edge(data.runs)
    words = "; ".join(f"{label} at {per_cent(float(np.mean(one.stationary > one.vanilla)))} of {len(one)}" for label, one in found.items())
    return Finding(
        f"Faster than gradient descent: {words} points.", all(np.mean(one.stationary > one.vanilla) >= 0.5 for one in found.values())
    )


CF21 = Figure(
    name="cf-21",
    source="[CF] Figure 21",
    title="Speeds of three preconditioners",
    caption="How fast the loss would fall at each point of RMSProp's central flow under three preconditioners that are stable there. "
    "That of least trace leads; RMSProp's own holds itself back, the more the smaller η is.",
    theirs="[CF]: a ResNet on CIFAR-10, β₂ = 0.99, MSE, several learning rates.",
    ours="Here: the digits MLP at four learning rates from the initial weights; both preconditioners are found every ten steps. "
    "Nothing in (36) keeps P̂ from 0 where the gradient is not: one weight can make up a tenth of its speed.",
    preset="fig-21-small",
    runs=OF_RATES,
    panels=_panels,
    claims=(
        Claim(
            "The preconditioner of least trace is much better than gradient descent's, and better than the stationary one.",
            _least_trace_first,
        ),
        Claim("The stationary one is usually better than gradient descent's, but not always.", _usually),
        Claim("Not always especially when η is small.", _least_often_small),
        Claim("With larger η the stationary one comes nearer to that of least trace.", _nearer),
    ),
)

CF45 = Figure(
    name="cf-45",
    source="[CF] Figure 45",
    title="Speeds of three preconditioners: other networks",
    caption="Figure 21 on three more networks: two with squared error, two with cross-entropy.",
    theirs="[CF]: more architectures with MSE (a) and cross-entropy (b); its text gives no settings.",
    ours="Here: a CNN and an LSTM with MSE, a CNN and an MLP with cross-entropy, from a warm start at the edge.",
    preset="fig-42",
    runs=SQUARED | CROSS_ENTROPY,
    panels=_panels,
    claims=(
        Claim("The preconditioner of least trace is the best of the three in other settings too.", _everywhere),
        Claim("The stationary one is usually better than gradient descent's.", _usually_everywhere),
    ),
)
