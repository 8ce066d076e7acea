"""The numbers that sum up a run: how close each flow stayed to the optimizer, and how well it predicted the optimizer's averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.frames import STATUSES
from cflows_core.measure import gaussian_smooth, mean_relative_error, share_of_path

if TYPE_CHECKING:
    from cflows_core.store.run import Run

SIGMA = 50.0  # steps: the papers' smoothing
REACHED = 0.98  # share of the threshold from which a flow counts as being at the edge, in a run without a central flow
_RUNNING = STATUSES.index("running")


def summarize(run: Run, sigma: float = SIGMA) -> dict[str, Any]:
    """Summary of a run; every number is a float (NaN where it cannot be told) or an int.

    Of the run: `steps` (recorded), `first_step`, `last_step`, `wall_time` [s], `steps_per_second`, `gradients`, `threshold` (c),
    `path_length` (of the discrete centre since the flows started) and `flows`: name -> dict with
    `status`, `loss` (last), `distance` (last), `share_of_path` (last distance over the path length), `gradients`,
    `edge_steps` and `top_eigenvalue` (mean of λ₁/c) over the steps at the edge, where the central flow has oscillating modes (rank > 0),
    `loss_error` (mean relative error of `predicted_loss` against the discrete loss smoothed with a Gaussian of `sigma` steps), and
    `variance`: for each mode of the central flow a dict of `steps`, `predicted` (mean eigenvalue of X), `measured` (mean of the smoothed
    measured variance along that mode, over the same steps) and `ratio` of the two.
    """
    from cflows_core.optimizers import Optimizer

    threshold = Optimizer.of(run.config).threshold
    every = float(np.median(np.diff(run.steps))) if run.rows > 1 else 1.0
    going = run.status("discrete") != STATUSES.index("stopped")
    smooth_loss = gaussian_smooth(np.where(going, run.series("discrete", "loss"), np.nan), sigma / every)
    path = run.series("discrete", "path_length")
    summary: dict[str, Any] = {
        "steps": run.rows,
        "first_step": int(run.steps[0]) if run.rows else 0,
        "last_step": int(run.steps[-1]) if run.rows else 0,
        "wall_time": _last(run.wall_time),
        "steps_per_second": _rate(run),
        "gradients": _last(run.gradients),
        "threshold": float(threshold),
        "path_length": _last(path),
        "flows": {},
    }
    for flow in run.flows:
        running = run.status(flow) == _RUNNING
        edge, top = _at_edge(run, flow, running, threshold)
        predicted = np.where(running, run.series(flow, "predicted_loss"), np.nan)
        far = run.series(flow, "distance")
        entry: dict[str, Any] = {
            "status": STATUSES[run.status(flow)[-1]] if run.rows else STATUSES[0],
            "loss": _last(run.series(flow, "loss")),
            "distance": _last(far),
            "share_of_path": _last(share_of_path(far, path)),
            "gradients": _last(run.series(flow, "gradients")),
            "edge_steps": edge,
            "top_eigenvalue": top,
            "loss_error": mean_relative_error(predicted, smooth_loss),
            "variance": _variance(run, flow, running, sigma / every),
        }
        summary["flows"][flow] = entry
    return summary


def _last(y: np.ndarray) -> float:
    known = y[np.isfinite(y)]
    return float(known[-1]) if len(known) else float("nan")


def _rate(run: Run) -> float:
    seconds = run.wall_time[-1] - run.wall_time[0] if run.rows > 1 else 0.0
    return float((run.steps[-1] - run.steps[0]) / seconds) if seconds > 0 else float("nan")


def _at_edge(run: Run, flow: str, running: np.ndarray, threshold: float) -> tuple[int, float]:
    eigs, rank = run.series(flow, "effective_eigs"), run.series("central", "rank")
    if eigs.ndim == 1:
        return 0, float("nan")
    top = np.where(running, eigs[:, 0], np.nan) / threshold
    at_edge = np.isfinite(top) & (rank > 0 if np.isfinite(rank).any() else top >= REACHED)
    return int(at_edge.sum()), float(np.mean(top[at_edge])) if at_edge.any() else float("nan")


def _variance(run: Run, flow: str, running: np.ndarray, sigma: float) -> list[dict[str, Any]]:
    predicted, measured = run.series(flow, "covariance_eigs"), run.series(flow, "measured_variance")
    if predicted.ndim == 1 or measured.ndim == 1:
        return []
    table = []
    for mode in range(predicted.shape[1]):
        present = running & (predicted[:, mode] > 0) & np.isfinite(measured[:, mode])
        if not present.any():
            break
        mean = float(np.mean(predicted[present, mode]))
        smooth = float(np.mean(gaussian_smooth(np.where(present, measured[:, mode], np.nan), sigma)[present]))
        ratio = mean / smooth if smooth else float("nan")
        table.append({"steps": int(present.sum()), "predicted": mean, "measured": smooth, "ratio": ratio})
    return table
