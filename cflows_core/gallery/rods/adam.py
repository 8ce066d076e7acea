"""[RF] Figures 3 and 5 and Section 7.2: Adam's rod on three networks, with its centre corrected, and for larger β₁."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cflows_core import panels
from cflows_core.gallery.figure import Claim, Data, Figure, Finding
from cflows_core.gallery.measures import per_cent
from cflows_core.gallery.rods import draw, marks
from cflows_core.gallery.rods.optimizers import EDGE, LEVELS, LOST
from cflows_core.gallery.rods.runs import cnn, mlp, paper, preset_of, vit
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel
from cflows_core.store import Run

Measure = Callable[[Data], Finding]

SEVERAL_ORDERS = 100.0  # times: two orders at least
INDISTINGUISHABLE = 0.1  # share of the rod's own distance: a tenth of what there is to explain
BETAS = (0.7, 0.9, 0.95, 0.98)


# -- Figure 3 -------------------------------------------------------------------------------------------------------------------------
def _networks(data: Data) -> Sequence[Panel]:
    return [plot(run, label) for label, run in data.runs.items() for plot in (draw.distance, draw.edge, draw.loss)]


def _orders(data: Data) -> Finding:
    """Mean later distance of the stable flow over the rod's."""

    def one(run: Run) -> tuple[str, bool]:
        ratio = marks.mean_distance(run, "stable") / marks.mean_distance(run, "rod")
        return marks.times(ratio), ratio > SEVERAL_ORDERS

    return marks.compared(data, one, "The rod is nearer by: ")


# -- Figure 5 -------------------------------------------------------------------------------------------------------------------------
CORRECTED = ("Adam", "NAdam")  # on the MLP, NAdam's for comparison (ours): there the rod keeps to the optimizer


def _two_rods(data: Data) -> Sequence[Panel]:
    shown = (
        ("distance", "distance to the optimizer", "distance"),
        ("loss", "loss at the centre", "loss"),
        ("extent", "half-length", "weights"),
    )
    return [_side_by_side(*_pair(data, name), series, f"{name}: {title}", y) for name in CORRECTED for series, title, y in shown]


def _pair(data: Data, name: str) -> tuple[Run, Run]:
    """The run with the uncorrected rod, and that with the corrected one."""
    return data[name], data[f"{name}, corrected"]


def _apart(name: str) -> Measure:
    def measure(data: Data) -> Finding:
        """Mean difference of the two rods' distances to the optimizer, over the mean distance."""
        plain, corrected = (run.series("rod", "distance") for run in _pair(data, name))
        share = float(np.nanmean(np.abs(plain - corrected)) / np.nanmean(plain))
        return Finding(f"Their distances to the optimizer differ by {per_cent(share)} of themselves.", share < INDISTINGUISHABLE)

    return measure


def _no_nearer(name: str) -> Measure:
    def measure(data: Data) -> Finding:
        """Mean later distances of the two rods; nearer: by a tenth."""
        plain, corrected = (marks.mean_distance(run, "rod") for run in _pair(data, name))
        return Finding(f"Corrected, it is {corrected:.2g} away; uncorrected, {plain:.2g}.", corrected > (1 - INDISTINGUISHABLE) * plain)

    return measure


# -- Section 7.2 ----------------------------------------------------------------------------------------------------------------------
def _betas(data: Data) -> Sequence[Panel]:
    return [plot(run, label) for plot in (draw.distance, draw.edge) for label, run in data.runs.items()]


def _farther(data: Data) -> Finding:
    """Mean later distance of the rod as a share of the stable flow's: what it leaves unexplained."""
    shares = [marks.mean_distance(run, "rod") / marks.mean_distance(run, "stable") for run in data.runs.values()]
    words = ", ".join(f"{per_cent(share)} ({label})" for label, share in zip(data.runs, shares, strict=True))
    return Finding(f"Of the stable flow's distance the rod has {words}.", all(np.diff(shares) > 0))


def _doubling(data: Data) -> Finding:
    """Shares of steps in a 2-cycle and in a 4-cycle, whether the 4-cycles become more."""
    shares = [marks.periods(run) for run in data.runs.values()]
    words = "; ".join(f"{label}: {per_cent(two)} and {per_cent(four)}" for label, (two, four) in zip(data.runs, shares, strict=True))
    fours = [four for _, four in shares]
    return Finding(f"Steps in 2- and 4-cycles: {words}.", fours[-1] > max(fours[0], 0.05))


# -- inside ---------------------------------------------------------------------------------------------------------------------------
def _side_by_side(plain: Run, corrected: Run, name: str, title: str, y: str) -> Panel:
    """A series of the rods of two runs of one optimizer."""
    drawn = ((plain, STROKES["rod"], "Uncorrected"), (corrected, STROKES["central_no_curvature"], "Corrected"))
    lines = [Curve(run.steps, panels.positive(run.series("rod", name)), stroke, label) for run, stroke, label in drawn]
    return draw.since(plain, Panel("", tuple(lines), y, log="y"), title)


_VARIANTS: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("", (), {}),
    (", corrected", ("-corrected",), {"rod_correction": "backward_error"}),
)

ADAM: tuple[Figure, ...] = (
    Figure(
        name="rf-3",
        source="[RF] Figure 3",
        title="Adam's rod on several networks",
        caption="The rod stays nearer to the optimizer than the stable flow, which sharpens and leaves. But its waves come at other "
        "times than the optimizer's: with β₁ = 0.9 these networks have no steady 2-cycle for it to lie on.",
        theirs=f"Adam on an MLP, a CNN and a ViT, 4,000 iterations, the flows from 2,000 on. {LOST}",
        ours="Digits, MSE: an MLP of 166 weights (seed 2) and a CNN of 70 (η = 0.02), a ViT of 322 (η = 0.002). The central flow is ours.",
        preset=preset_of("adam"),
        runs={"MLP": mlp("adam"), "CNN": cnn("adam"), "ViT": vit()},
        paper={"MLP": paper("adam"), "CNN": paper("adam", "cnn"), "ViT": paper("adam", "vit")},
        panels=_networks,
        claims=(
            Claim("The rod follows the optimizer several orders of magnitude more closely than the stable flow.", _orders),
            EDGE,
            LEVELS,
        ),
    ),
    Figure(
        name="rf-5",
        source="[RF] Figure 5",
        title="Backward error correction of Adam's rod",
        caption="The rod's centre moves by a difference equation that is read as a differential one. Where the rod keeps to the "
        "optimizer, as NAdam's does, correcting for that changes little. Adam's two rods lose the swing and find it at different times.",
        theirs=f"Adam, with and without the second-order correction of the rod's centre ([RF] Appendix F). {LOST}",
        ours="The MLP of rf-3 with Adam, and with NAdam for comparison.",
        preset=preset_of("adam"),
        runs={name + ending: mlp(name.lower(), *suffix, **fields) for name in CORRECTED for ending, suffix, fields in _VARIANTS},
        paper={name + ending: paper(name.lower(), **fields) for name in CORRECTED for ending, _, fields in _VARIANTS},
        panels=_two_rods,
        claims=(
            Claim("Adam's corrected rod and the uncorrected one are essentially indistinguishable.", _apart("Adam")),
            Claim("The correction does not bring Adam's rod nearer to the optimizer.", _no_nearer("Adam")),
            Claim("NAdam's two rods, which keep to the optimizer, are indistinguishable (ours).", _apart("NAdam")),
            Claim("The correction does not bring NAdam's rod nearer (ours).", _no_nearer("NAdam")),
        ),
    ),
    Figure(
        name="rf-beta1",
        source="[RF] Section 7.2",
        title="Adam's rod with more momentum",
        caption="Several β₁ from the same initial weights, the flows from the same step on. Each time the rod goes with the stable flow "
        "past the threshold and falls back in a spike; no β₁ gives the optimizer a steady 2-cycle here, nor a 4-cycle.",
        theirs="[RF] says in words that rods have difficulty with larger β₁, perhaps because periods double.",
        ours="The MLP of rf-3 with β₁ = 0.7, 0.9, 0.95 and 0.98, from step 1,150 on.",
        preset=preset_of("adam"),
        runs={f"β₁ = {beta:g}": mlp("adam") if beta == 0.9 else mlp("adam", f"-{beta:g}", beta1=beta) for beta in BETAS},
        paper={f"β₁ = {beta:g}": paper("adam", beta1=beta) for beta in BETAS},
        panels=_betas,
        claims=(
            Claim("The rod follows the optimizer less well for larger β₁.", _farther),
            Claim("Periods double: the optimizer goes in 4-cycles instead of 2-cycles.", _doubling),
        ),
    ),
)
