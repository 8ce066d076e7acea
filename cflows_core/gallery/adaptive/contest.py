"""A central flow against itself without curvature regularisation, in runs of any setting: Figures 22, 40 and 41 of [CF]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core.gallery.adaptive.parts import ABLATED, LOSS, Race, of_flows
from cflows_core.gallery.figure import Claim, Data, Finding
from cflows_core.gallery.measures import per_cent
from cflows_core.panels import Panel
from cflows_core.store import Run

HARMONIC = "effective_step_size_harmonic"


def ahead(run: Run) -> float:
    """By how much the central flow's last loss is below that of the ablated flow, as a share."""
    return float(1 - run.series("central", "loss")[-1] / run.series(ABLATED, "loss")[-1])


def wider(run: Run) -> float:
    """How many times the ablated flow's step sizes the central flow's are at last, in harmonic mean."""
    return float(run.series("central", HARMONIC)[-1] / run.series(ABLATED, HARMONIC)[-1])


def earlier(run: Run) -> int:
    """How many steps before its end the central flow reaches the ablated flow's last loss; 0 if it does not."""
    there = np.flatnonzero(run.series("central", "loss") <= run.series(ABLATED, "loss")[-1])
    return int(run.steps[-1] - run.steps[there[0]]) if len(there) else 0


def race(run: Run) -> Race:
    """The central flow's loss against the ablated flow's."""
    return Race.of(run.steps, run.series("central", "loss"), run.series(ABLATED, "loss"))


def panels(data: Data) -> Sequence[Panel]:
    """Loss and step sizes of every run."""
    return [
        panel
        for label, run in data.runs.items()
        for panel in (
            of_flows(run, LOSS, f"Train loss, {label}", "loss", log="y"),
            of_flows(run, HARMONIC, f"Step sizes, {label}", "harmonic mean"),
        )
    ]


def slower_first(data: Data) -> Finding:
    """By a hundredth of a per cent at least: less is no lead."""
    races = {label: race(run) for label, run in data.runs.items()}
    words = "; ".join(
        f"{label} {'never' if one.until is None else f'to step {one.until} ({per_cent(one.excess)})'}" for label, one in races.items()
    )
    return Finding(f"Above the ablated loss: {words}.", all(one.excess > 1e-4 for one in races.values()))


def faster(data: Data) -> Finding:
    words = "; ".join(f"{label} {per_cent(ahead(run))}, {earlier(run)} steps earlier" for label, run in data.runs.items())
    return Finding(f"Its last loss is lower by: {words}.", all(ahead(run) > 0 for run in data.runs.values()))


def larger(data: Data) -> Finding:
    words = ", ".join(f"{wider(run):.2f} ({label})" for label, run in data.runs.items())
    return Finding(
        f"At last so many times the ablated flow's, in harmonic mean: {words}.", all(wider(run) > 1 for run in data.runs.values())
    )


CLAIMS = (
    Claim("With regularisation the flow optimizes faster in other settings too.", faster),
    Claim("It takes larger steps.", larger),
    Claim("It is slower at first.", slower_first),
)
