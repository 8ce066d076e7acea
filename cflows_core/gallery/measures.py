"""Numbers that several figures' claims are made of, from stored runs."""

from __future__ import annotations

import numpy as np

from cflows_core.measure import gaussian_smooth, mean_relative_error
from cflows_core.panels import hide_settling, nth, threshold
from cflows_core.store import Run

SMOOTHING = 20.0  # steps: the papers' 50, at runs a quarter as long


def over_edge(run: Run, flow: str = "discrete", mode: int = 0) -> np.ndarray:
    """λ/c of a mode, [rows]."""
    return nth(run.series(flow, "effective_eigs"), mode) / threshold(run.config)


def reaches(run: Run, level: float = 1.0, flow: str = "discrete", mode: int = 0) -> int | None:
    """The first step at which λ/c of a mode is at `level`, None if it never is."""
    rows = np.flatnonzero(over_edge(run, flow, mode) >= level)
    return int(run.steps[rows[0]]) if len(rows) else None


def after(run: Run, step: int, values: np.ndarray) -> np.ndarray:
    """The rows of a series from a step on."""
    return values[run.steps >= step]


def smoothed_error(run: Run, flow: str, predicted: str, measured: str, sigma: float = SMOOTHING) -> float:
    """Mean relative error of what a flow predicts against the optimizer's smoothed series, over the steps at which it predicts."""
    guess = run.series(flow, predicted)
    if flow == "central":
        guess = hide_settling(run, guess)
    return mean_relative_error(guess, smooth(run, run.series("discrete", measured), sigma))


def per_cent(share: float) -> str:
    """0.0123 -> "1.2 %", 1.234 -> "123 %"."""
    return f"{100 * share:.2g} %" if share < 0.095 else f"{100 * share:.0f} %"


def smooth(run: Run, values: np.ndarray, sigma: float = SMOOTHING) -> np.ndarray:
    """Gaussian average over `sigma` steps of a series of the run, [rows] or [rows, k], however often it was recorded."""
    return gaussian_smooth(values, sigma / run.config.record_every)


def stretch(holds: np.ndarray) -> np.ndarray:
    """The longest uninterrupted run of rows at which something holds, as a mask [rows]."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(int)))
    starts, stops = ends[::2], ends[1::2]
    mask = np.zeros(len(holds), dtype=bool)
    if len(starts):
        longest = np.argmax(stops - starts)
        mask[starts[longest] : stops[longest]] = True
    return mask
