"""How closely a central flow keeps to its optimizer: what Figures 15, 18, 35, 36 and 37 of [CF] claim, for one run and for several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_core import panels
from cflows_core.gallery.adaptive.parts import averaged_loss, covariance, eigenvalues, from_start
from cflows_core.gallery.figure import Claim, Data, Finding
from cflows_core.gallery.measures import per_cent, smooth
from cflows_core.measure import mean_relative_error
from cflows_core.panels import Panel
from cflows_core.store import Run

NEAR = 0.1  # share of the path: a flow this near has followed it
FACTOR = 3.0  # times as far as the central flow: the stable flow is elsewhere


def share(run: Run, flow: str) -> float:
    """A flow's last distance to the optimizer, as a share of the path that it travelled."""
    return run.summary()["flows"][flow]["share_of_path"]


def loss_error(run: Run) -> float:
    """Mean relative error of the average loss that the central flow predicts, against the optimizer's smoothed loss."""
    predicted = panels.hide_settling(run, run.series("central", "predicted_loss"))  # NaN during the warm start
    return mean_relative_error(predicted, smooth(run, run.series("discrete", "loss")))


def variance_ratios(run: Run, least: int = 50) -> list[float]:
    """Predicted over measured variance of each mode, means over the steps at which it oscillates, of modes with `least` of them."""
    return [entry["ratio"] for entry in run.summary()["flows"]["central"]["variance"] if entry["steps"] >= least]


def total_variance(run: Run) -> float:
    """Predicted over measured variance of all modes together, means over the steps at which any oscillates."""
    predicted, measured = (panels.hide_settling(run, run.series("central", name)) for name in ("covariance_eigs", "measured_variance"))
    moves = np.nan_to_num(predicted[:, 0]) > 0
    return float(np.nansum(predicted[moves]) / np.nansum(np.where(predicted > 0, measured, np.nan)[moves]))


def four(run: Run) -> Sequence[Panel]:
    """Loss, eigenvalues, covariance and distance, since the flows started."""
    return [eigenvalues(run), *(from_start(run, panel) for panel in (averaged_loss(run), covariance(run), panels.distance(run)))]


def two_each(data: Data) -> Sequence[Panel]:
    """Loss and distance of every run, since the flows started."""
    return [
        from_start(run, panel)
        for label, run in data.runs.items()
        for panel in (averaged_loss(run, f"Train loss, {label}"), panels.distance(run).titled(f"Distance, {label}"))
    ]


def _only(data: Data) -> Run:
    return next(iter(data.runs.values()))


def _follows(data: Data) -> Finding:
    central, stable = (share(_only(data), flow) for flow in ("central", "stable"))
    words = f"At last the central flow is {per_cent(central)} of the path away, the stable flow {per_cent(stable)}."
    return Finding(words, central < NEAR and stable > FACTOR * central)


def _loss(data: Data) -> Finding:
    error = loss_error(_only(data))
    return Finding(f"Its predicted average is {per_cent(error)} off the smoothed loss in the mean.", error < 0.05)


def _variance(data: Data) -> Finding:
    """Within 15 per cent for each mode with fifty steps or more: the measured means scatter as much between halves of a run."""
    found = variance_ratios(_only(data))
    words = ", ".join(f"{ratio:.2f}" for ratio in found)
    return Finding(
        f"Predicted over measured variance, mode by mode: {words}.", bool(found) and max(abs(ratio - 1) for ratio in found) < 0.15
    )


def _follows_each(data: Data) -> Finding:
    found = {label: (share(run, "central"), share(run, "stable")) for label, run in data.runs.items()}
    words = "; ".join(f"{label} {per_cent(central)} against {per_cent(stable)}" for label, (central, stable) in found.items())
    return Finding(f"Distance over path, central against stable: {words}.", all(c < NEAR and s > FACTOR * c for c, s in found.values()))


def _loss_each(data: Data) -> Finding:
    found = {label: loss_error(run) for label, run in data.runs.items()}
    words = ", ".join(f"{per_cent(error)} ({label})" for label, error in found.items())
    return Finding(f"Predicted against smoothed loss: {words} off.", max(found.values()) < 0.05)


def _total_each(data: Data) -> Finding:
    """All modes together: the text of these figures speaks of the trajectory, and single modes oscillate for too few steps."""
    found = {label: total_variance(run) for label, run in data.runs.items()}
    words = ", ".join(f"{ratio:.2f} ({label})" for label, ratio in found.items())
    return Finding(f"Predicted over measured variance, modes together: {words}.", max(abs(ratio - 1) for ratio in found.values()) < 0.15)


ONE = (
    Claim("The central flow follows the optimizer's average, the stable flow another path.", _follows),
    Claim("It predicts the time-averaged loss.", _loss),
    Claim("It predicts the covariance of the oscillation.", _variance),
)
EACH = (
    Claim("In each case the central flow follows the optimizer, the stable flow another path.", _follows_each),
    Claim("It predicts the time-averaged loss.", _loss_each),
    Claim("It predicts how widely the optimizer swings.", _total_each),
)
