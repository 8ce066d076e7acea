"""[CF] Figures 7, 8, 10 and 11: the path that gradient descent takes, and the covariance of its oscillations, by its central flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cflows_core.gallery.descent.averages import averaged
from cflows_core.gallery.descent.settings import (
    CNN,
    PAPER_VIT,
    VIT,
    VIT_OURS,
    distances,
    grown,
    in_weights,
    of_vit,
    oscillation,
    shares,
    sharpness,
    span,
    with_rank,
)
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import over_edge, per_cent, smooth
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel, faded, nth
from cflows_core.presets import get
from cflows_core.store import Run

TOLERANCE = 0.25  # of a variance, which is an eighth of an amplitude


# -- Figure 7 ---------------------------------------------------------------------------------------------------------------------
def _paths(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    return [sharpness(run, ("discrete", "stable", "central")), averaged(run, "loss", "Train loss", "loss"), distances(run)]


def _crossing(run: Run) -> int:
    """The row at which the optimizer's sharpness is first at 2/η."""
    return int(np.argmax(over_edge(run) >= 1))


def _before(data: Data) -> Finding:
    run = data["vit"]
    at = _crossing(run)
    share = float(run.series("stable", "distance")[at] / run.series("discrete", "path_length")[at])
    number = f"At step {run.steps[at]}, where λ₁ reaches 2/η, gradient flow is {per_cent(share)} of the path away."
    return Finding(number, share < 0.05)  # what steps of finite length alone make: some per cent


def _leaves(data: Data) -> Finding:
    run = data["vit"]
    share, ratio = shares(run)["stable"], over_edge(run, "stable")
    last = float(ratio[np.isfinite(ratio)][-1])
    number = f"At the end gradient flow is {per_cent(share)} of the path away, at a sharpness of {last:.1f} · 2/η."
    return Finding(number, share > 0.1 and last > 1.5)  # a tenth of the path is a path of its own


def _stays(data: Data) -> Finding:
    found = shares(data["vit"])
    times = found["stable"] / found["central"]
    number = f"At the end the central flow is {per_cent(found['central'])} of the path away, {times:.1f} times nearer than gradient flow."
    return Finding(number, found["central"] < 0.05 and times > 3)  # as near as gradient flow was while training was stable


# -- Figure 8 ---------------------------------------------------------------------------------------------------------------------
def _one_mode(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    rows = with_rank(run, 1)
    start, stop = run.steps[rows if rows.any() else ~rows][[0, -1]]
    begin = max(run.steps[0], start - (stop - start) // 4)
    drawn = [sharpness(run, ("discrete", "central")), oscillation(run, 0, rows), distances(run)]
    late = oscillation(run, 0, rows & grown(run)).titled("Oscillation, after the first spike")
    return [*(panel.zoomed(begin, stop) for panel in drawn), late]


def _capped(data: Data) -> Finding:
    run = data["vit"]
    rows = with_rank(run, 1)
    ratio, cap = over_edge(run)[rows], float(over_edge(run, "central")[rows].max())
    crossings = int(np.count_nonzero(np.diff(ratio >= 1)))
    number = f"In {span(run, rows)} λ₁ crosses 2/η {crossings} times under gradient descent; the central flow's is {cap:.4f} · 2/η at most."
    return Finding(number, crossings >= 3 and cap < 1.005)  # up, down and up again; the flow is held to half a per cent


def _mean_ratio(run: Run, mode: int, rows: np.ndarray) -> float:
    measured, predicted = (np.nanmean(values[rows, mode]) for values in in_weights(run))
    return float(predicted / measured)


def _variance(data: Data) -> Finding:
    run = data["vit"]
    rows = with_rank(run, 1)
    whole, later = _mean_ratio(run, 0, rows), _mean_ratio(run, 0, rows & grown(run))
    number = f"Mean σ² over mean measured variance: {whole:.2f} in {span(run, rows)}, {later:.2f} after the first spike."
    return Finding(number, max(abs(whole - 1), abs(later - 1)) < TOLERANCE)


def _nearer(data: Data) -> Finding:
    run = data["vit"]
    last = np.flatnonzero(with_rank(run, 1))[-1]
    central, stable = (float(run.series(flow, "distance")[last]) for flow in ("central", "stable"))
    number = f"When the second mode joins, at step {run.steps[last]}: {central:.3f} for the central flow, {stable:.3f} for gradient flow."
    return Finding(number, stable > 3 * central)  # seen at once in the plot


def _late(data: Data) -> Finding:
    """[CF] footnote 19."""
    run = data["vit"]
    central, stable = (run.series(flow, "distance") for flow in ("central", "stable"))
    rows = with_rank(run, 1) & (central > stable)
    at = np.flatnonzero(rows)
    if not len(at):
        return Finding("It is so at 0 steps.", False)
    worst = at[np.argmax(central[at] / stable[at])]
    number = f"It is so in {span(run, rows)}, most at step {run.steps[worst]}: {central[worst]:.3f} against {stable[worst]:.4f}."
    return Finding(number, True)


# -- Figure 10 --------------------------------------------------------------------------------------------------------------------
def _general(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    variances = run.series("central", "covariance_eigs_weights")
    curves = [Curve(run.steps, nth(variances, mode), faded(STROKES["central"], mode), f"Eigenvalue {mode + 1}") for mode in range(3)]
    return [
        sharpness(run, ("discrete", "central"), 3, "Top three eigenvalues"),
        Panel("Eigenvalues of Σ", tuple(curves), "variance [weights²]"),
        distances(run),
    ]


def _held(data: Data) -> Finding:
    run = data["vit"]
    ratio = np.stack([over_edge(run, "central", mode) for mode in range(3)])
    ranks = run.series("central", "rank")
    first = ", ".join(str(run.steps[np.argmax(ranks >= rank)]) for rank in range(1, int(np.nanmax(ranks)) + 1))
    number = f"None is above {np.nanmax(ratio):.4f} · 2/η; they are held there from steps {first} on."
    return Finding(number, bool(np.nanmax(ratio) < 1.005))  # half a per cent: the discretisation's


def _rank(data: Data) -> Finding:
    run = data["vit"]
    ratio = np.stack([over_edge(run, "central", mode) for mode in range(run.config.n_eigs)])
    held, rank = (ratio > 0.999).sum(0), run.series("central", "rank")
    agree = float(np.mean((held == rank)[np.isfinite(rank)]))
    number = f"It is at {per_cent(agree)} of the steps, with ranks up to {int(np.nanmax(rank))}."
    return Finding(number, agree > 0.95 and np.nanmax(rank) >= 2)  # a mode that joins or leaves may miss by a step


# -- Figure 11 --------------------------------------------------------------------------------------------------------------------
THREE = {
    "blocks": Stored(
        "gd-vit-two-blocks",
        VIT["vit"].config.replace(depth=2, lr=0.05, warm_start=380, steps=240, n_eigs=5, flows=["discrete", "central"]),
    ),
    "cnn": CNN[0.3],
    "mlp": Stored(
        "gd-mlp-three",
        get("digits-mlp-many").config.replace(steps=400, flows=["discrete", "stable", "central"], observe=[], threads=1),
    ),
}


def _covariance(data: Data) -> Sequence[Panel]:
    shown = {"ViT, two blocks": (data["blocks"], 3), "ViT": (data["vit"], 2), "CNN": (data["cnn"], 3)}
    return [
        oscillation(run, mode, with_rank(run, rank)).titled(f"{name}, mode {mode + 1}")
        for name, (run, rank) in shown.items()
        for mode in range(rank)
    ]


def _modes(label: str, rank: int) -> Callable[[Data], Finding]:
    """Per mode the ratio of the means, and how far the curves are apart: the mean of |predicted − smoothed| over that of smoothed."""

    def measure(data: Data) -> Finding:
        run = data[label]
        rows = with_rank(run, rank)
        if not rows.any():
            return Finding(f"There never are {rank} modes.", False)
        measured, predicted = (values[rows, :rank] for values in in_weights(run))
        ratios = predicted.mean(0) / measured.mean(0)
        apart = np.abs(predicted - smooth(run, measured)).mean(0) / measured.mean(0)
        words = ", ".join(f"{ratio:.2f} ({per_cent(off)})" for ratio, off in zip(ratios, apart, strict=True))
        number = f"In {span(run, rows)} predicted over measured, and how far the curves are apart: {words}."
        # Of a curve twice as much as of its mean: it is smoothed over few swings.
        return Finding(number, bool((np.abs(ratios - 1) < TOLERANCE).all() and (apart < 2 * TOLERANCE).all()))

    return measure


_PREDICTS = "Each eigenvalue of Σ predicts the variance of the oscillations along its eigenvector."

CENTRAL: tuple[Figure, ...] = (
    of_vit(
        name="cf-7",
        source="[CF] Figure 7",
        title="The path that gradient descent takes",
        caption="Gradient descent, gradient flow and the central flow from one point, a little below the edge of stability. Up to 2/η "
        "they are one path. Then gradient flow goes on into ever sharper regions, and the central flow goes where gradient descent goes.",
        panels=_paths,
        claims=(
            Claim("While the sharpness is below 2/η, gradient flow approximates gradient descent well.", _before),
            Claim("Once at the edge of stability, gradient descent takes another path than gradient flow.", _leaves),
            Claim("The central flow approximates gradient descent even at the edge of stability.", _stays),
        ),
    ),
    of_vit(
        name="cf-8",
        source="[CF] Figure 8",
        title="The central flow with one mode at the edge",
        caption="While one eigenvalue is at 2/η, gradient descent's sharpness goes up and down around it; the central flow stays on it. "
        "Its σ², which the condition dS/dt = 0 alone determines, is the variance with which gradient descent oscillates.",
        panels=_one_mode,
        claims=(
            Claim("The sharpness cycles around 2/η under gradient descent and stays capped there under the central flow.", _capped),
            Claim("The central flow's σ² predicts the variance of the oscillations.", _variance),
            Claim("The distance to the central flow stays small, that to gradient flow grows large.", _nearer),
            Claim("At first, at the edge, the central flow is the further one: it regularises before gradient descent does.", _late),
        ),
    ),
    of_vit(
        name="cf-10",
        source="[CF] Figure 10",
        title="The central flow with several modes at the edge",
        caption="Whenever another eigenvalue comes up to 2/η, the central flow stops it there, and Σ gets one more eigenvalue that is not "
        "zero. The distance to gradient descent does not show when that happens.",
        panels=_general,
        claims=(
            Claim("An eigenvalue that rises to 2/η is kept from rising further.", _held),
            Claim("Σ's rank is the number of eigenvalues at the edge of stability.", _rank),
            Claim("The central flow stays close to gradient descent throughout, gradient flow does not.", _stays),
        ),
    ),
    of_vit(
        name="cf-11",
        source="[CF] Figure 11",
        title="Σ predicts the covariance of the oscillations",
        caption="Along each eigenvector of Σ: the squared displacement of gradient descent from the central "
        "flow, its time average, and Σ's eigenvalue. The grey curves look like noise; their average is foretold.",
        panels=_covariance,
        claims=(
            Claim(f"{_PREDICTS} Three modes, ViT of two blocks.", _modes("blocks", 3)),
            Claim(f"{_PREDICTS} Two modes, ViT of Figure 5.", _modes("vit", 2)),
            Claim(f"{_PREDICTS} Three modes, CNN.", _modes("cnn", 3)),
            Claim(f"{_PREDICTS} Three modes, MLP (not drawn).", _modes("mlp", 3)),
        ),
        ours=f"{VIT_OURS} Three modes: a ViT of two blocks (1,890 weights, η = 0.05), the CNN of Figure 23 at η = 0.3, "
        "an MLP (64-16-16-10, tanh, η = 0.24).",
        runs=THREE | VIT,
        paper=THREE | PAPER_VIT,
    ),
)
