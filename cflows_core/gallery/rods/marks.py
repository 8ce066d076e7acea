"""What [RF] says of a rod and its optimizer, measured on runs of several networks: a claim holds if it holds on each of them.

A measurement is over all steps since the start of the flows, or over the later ones, the second half of those at which both flows run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cflows_core.gallery.figure import Data, Finding
from cflows_core.gallery.measures import SMOOTHING, over_edge, per_cent
from cflows_core.measure import gaussian_smooth, mean_relative_error
from cflows_core.store import Run

APART = 10**0.5  # half an order of magnitude: the least that [RF]'s logarithmic axes show as "significantly"
CLOSE = 0.05  # a relative error that a plotted curve hardly shows; twice that for what fluctuates
NEAR_EDGE = 0.1  # |λ/c − 1|: "hovers at the threshold"
LEVEL = 1.25  # last third over middle third: a distance that grows in proportion to time has 1.67


def later(run: Run) -> np.ndarray:
    """The second half of the steps at which both flows run, bool [rows]: the stable flow ends at ten times the threshold."""
    both = np.isfinite(run.series("stable", "distance")) & np.isfinite(run.series("rod", "distance"))
    rows = np.flatnonzero(both)
    return both & (np.arange(run.rows) >= rows[len(rows) // 2]) if len(rows) else both


def compared(data: Data, one: Callable[[Run], tuple[str, bool]], opening: str = "") -> Finding:
    """The same measurement on every run: "MLP: …; CNN: …."; holds if it does on each."""
    found = {label: one(run) for label, run in data.runs.items()}
    words = "; ".join(f"{label}: {number}" if len(found) > 1 else number for label, (number, _) in found.items())
    return Finding(f"{opening}{words}.", all(holds for _, holds in found.values()))


def mean_distance(run: Run, flow: str, rows: np.ndarray | None = None) -> float:
    """Mean distance of a flow to the optimizer's centre over `rows`, the later ones unless given."""
    values = run.series(flow, "distance")[later(run) if rows is None else rows]
    return float(np.mean(values)) if len(values) else float("nan")


def nearer(data: Data) -> Finding:
    """Mean later distances of rod and stable flow."""

    def one(run: Run) -> tuple[str, bool]:
        rod, stable = mean_distance(run, "rod"), mean_distance(run, "stable")
        return f"{rod:.2g} against {stable:.2g}, {times(stable / rod)}", stable > APART * rod

    return compared(data, one)


def loss_follows(data: Data) -> Finding:
    """How far the loss at the centres has fallen since the flows' start, a mean over the later steps, over the optimizer's fall."""

    def one(run: Run) -> tuple[str, bool]:
        rod, stable = (_fall(run, flow, "loss") / _fall(run, "discrete", "loss_midpoint") for flow in ("rod", "stable"))
        return f"rod {rod:.2f}, stable flow {stable:.2f}", abs(rod - 1) < 2 * CLOSE and stable > max(rod, 1)

    return compared(data, one, "Of the optimizer's fall since the start: ")


def at_the_edge(data: Data) -> Finding:
    """Mean later λ₁/c of the rod, and the stable flow's last."""

    def one(run: Run) -> tuple[str, bool]:
        rod, stable = (over_edge(run, flow)[later(run)] for flow in ("rod", "stable"))
        mean, last = float(np.nanmean(rod)), float(stable[np.isfinite(stable)][-1])
        return f"{mean:.2f} in the mean, stable flow {last:.2f}", abs(mean - 1) < NEAR_EDGE and last > 1 + NEAR_EDGE

    return compared(data, one)


def levels_off(data: Data) -> Finding:
    """The rod's mean distance in the last third of its steps over that in the middle third."""

    def one(run: Run) -> tuple[str, bool]:
        since = (run.steps - run.config.warm_start) / run.config.steps
        middle, last = (mean_distance(run, "rod", rows) for rows in ((since >= 1 / 3) & (since < 2 / 3), since >= 2 / 3))
        return f"{middle:.2g}, then {last:.2g}", last < LEVEL * middle

    return compared(data, one)


def magnitudes(data: Data) -> Finding:
    """Mean relative error of the rod's half-lengths against the optimizer's half-differences, both smoothed: magnitudes come in waves."""

    def one(run: Run) -> tuple[str, bool]:
        position, momentum = (_smooth_error(run, *names) for names in HALVES)
        words = per_cent(position) + ("" if np.isnan(momentum) else f" and {per_cent(momentum)}")
        return words, max(position, 0 if np.isnan(momentum) else momentum) < 2 * CLOSE

    return compared(data, one, "Off by ")


HALVES = (("extent", "half_difference"), ("momentum_extent", "momentum_half_difference"))  # position, momentum: rod, optimizer


def nu_agrees(data: Data) -> Finding:
    """Mean relative error of |ν|, and the stable flow's."""

    def one(run: Run) -> tuple[str, bool]:
        rod, stable = (mean_relative_error(run.series(flow, "nu_norm"), run.series("discrete", "nu_norm")) for flow in ("rod", "stable"))
        return f"{per_cent(rod)}, stable flow {per_cent(stable)}", rod < CLOSE

    return compared(data, one, "Off by ")


def alignment_fluctuates(data: Data) -> Finding:
    """Median and lowest tenth of the cosine; fluctuating: the lowest tenth is below 0.9, further than 25° apart."""

    def one(run: Run) -> tuple[str, bool]:
        cosine = run.series("rod", "alignment")
        low, median = np.quantile(cosine[np.isfinite(cosine)], (0.1, 0.5))
        return f"median {median:.2f}, lowest tenth {low:.2f}", low < 0.9

    return compared(data, one)


def periods(run: Run) -> tuple[float, float]:
    """Shares of the steps since the start of the flows at which the optimizer's oscillation has period 2, and period 4.

    Where the period is not told (below the edge, or the first 40 steps at it), it counts as neither.
    """
    found = run.series("discrete", "period")[run.steps >= run.config.warm_start]
    return float(np.mean(found == 2)), float(np.mean(found == 4))


def times(ratio: float) -> str:
    """12.34 -> "12 times", 1.234 -> "1.2 times"."""
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.2g} times"


def _fall(run: Run, flow: str, name: str) -> float:
    loss = run.series(flow, name)
    start = loss[(run.steps >= run.config.warm_start) & np.isfinite(loss)][0]
    return float(start - np.nanmean(loss[later(run)]))


def _smooth_error(run: Run, rod: str, optimizer: str) -> float:
    half_length, half_difference = run.series("rod", rod), run.series("discrete", optimizer)
    half_difference = np.where(np.isfinite(half_length), half_difference, np.nan)
    return mean_relative_error(gaussian_smooth(half_length, SMOOTHING), gaussian_smooth(half_difference, SMOOTHING))
