"""The trajectory that most of [CF]'s figures on gradient descent share, and what is drawn and measured of it more than once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from cflows_core import panels
from cflows_core.gallery.figure import Figure, Stored
from cflows_core.gallery.measures import over_edge, smooth, stretch
from cflows_core.measure import share_of_path
from cflows_core.palette import FLOW_LABELS, STROKES
from cflows_core.panels import OPTIMIZER, Curve, Panel, faded, nth
from cflows_core.presets import get
from cflows_core.store import Run

VIT = {"vit": Stored("gd-vit", get("fig-5").config)}
VIT_THEIRS = "[CF]: a Vision Transformer on a subset of CIFAR-10, squared error, η = 0.01. Size, subset and seed are not in the text."
VIT_OURS = "Here: a ViT of one block and 8 numbers a token (1,018 weights), 100 of scikit-learn's digits, squared error, η = 0.07."

# The text names network, data, loss and η; the rest is ours: a small ViT for 32 × 32 pixels, long enough to pass [CF]'s step 4,000.
PAPER_VIT = {
    "vit": Stored(
        "paper-gd-vit",
        VIT["vit"].config.replace(
            dataset="cifar10", n_train=1000, width=64, depth=3, lr=0.01, warm_start=0, steps=4500, n_eigs=8, record_every=2, threads=0
        ),
    )
}

_CNN = get("fig-23").config
PAIR = _CNN.replace(flows=["discrete", "central"])
SPIKY = Stored("gd-cnn-0.4", get("fig-39").config)
CNN = {lr: Stored(f"gd-cnn-{lr:g}", PAIR.replace(lr=lr)) for lr in (0.15, 0.3)} | {0.2: Stored("gd-cnn", _CNN)}  # by learning rate
CNN_OURS = "Here: a CNN of two blocks with 4 channels (358 weights), GeLU, 100 of scikit-learn's digits, squared error"

of_vit = partial(Figure, theirs=VIT_THEIRS, ours=VIT_OURS, preset="fig-5", runs=VIT, paper=PAPER_VIT)


def shares(run: Run) -> dict[str, float]:
    """Last distance to the optimizer as a share of the path that it travelled, by flow."""
    path = run.series("discrete", "path_length")
    return {flow: float(share_of_path(run.series(flow, "distance"), path)[-1]) for flow in panels.flows(run)}


def first_visit(run: Run) -> tuple[slice, slice]:
    """Rows of gradient descent's first time above the edge, and of the time below it that follows."""
    above = over_edge(run) >= 1
    start = int(np.argmax(above))
    down = start + int(np.argmin(above[start:]))
    up = down + int(np.argmax(above[down:]))
    return slice(start, down), slice(down, up)


def grown(run: Run) -> np.ndarray:
    """The rows with modes at the edge from the end of the first visit on, [rows]: until then an oscillation grows from next to nothing."""
    rows = run.series("central", "rank") > 0
    rows[: first_visit(run)[0].stop] = False
    return rows


def with_rank(run: Run, rank: int) -> np.ndarray:
    """The longest stretch of rows at which the central flow's Σ has a rank, as a mask [rows]."""
    return stretch(run.series("central", "rank") == rank)


def in_weights(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted variance of each mode in weights², [rows, k]: for gradient descent η times those in the P-metric."""
    return run.config.lr * run.series("central", "measured_variance"), run.series("central", "covariance_eigs_weights")


def span(run: Run, rows: np.ndarray) -> str:
    """ "steps 130 to 330": the first and the last of the rows."""
    return f"steps {run.steps[rows][0]} to {run.steps[rows][-1]}"


def sharpness(run: Run, flows: Iterable[str], modes: int = 1, title: str = "Sharpness") -> Panel:
    """The largest Hessian eigenvalues of the flows, with 2/η; a flow that leaves is cut off at twice that."""
    unit = panels.threshold(run.config) / run.config.lr
    curves = [Curve(run.steps, np.full(run.rows, unit), STROKES["edge"], "2/η")]
    for flow in flows:
        stroke, values = (OPTIMIZER if flow == "discrete" else STROKES[flow]), [over_edge(run, flow, mode) for mode in range(modes)]
        curves += [
            Curve(
                run.steps,
                unit * np.where((value > 2) & (flow != "discrete"), np.nan, value),
                faded(stroke, mode),
                FLOW_LABELS[flow] if mode == 0 else "",
            )
            for mode, value in enumerate(values)
        ]
    return Panel(title, tuple(curves), "Hessian eigenvalue")


def distances(run: Run) -> Panel:
    """`panels.distance`, on a linear axis as in the paper."""
    return replace(panels.distance(run), log="")


def oscillation(run: Run, mode: int, rows: np.ndarray) -> Panel:
    """Squared displacement from the central flow along an eigenvector of Σ, raw and smoothed, and the eigenvalue that predicts it."""
    measured, predicted = (nth(values, mode)[rows] for values in in_weights(run))
    curves = (
        Curve(run.steps[rows], measured, STROKES["raw"], "Squared displacement"),
        Curve(run.steps[rows], smooth(run, measured), STROKES["discrete"], "Smoothed"),
        Curve(run.steps[rows], predicted, STROKES["central"], "Eigenvalue of Σ"),
    )
    return Panel(f"Oscillation, mode {mode + 1}", curves, "variance [weights²]")
