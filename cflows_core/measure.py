"""Measurements on recorded series and iterates (math.md 9): smoothing, oscillation, distances, errors, periods. Pure functions of NumPy
arrays; the ones that only add and multiply take torch tensors too.

A NaN is a step at which a series has no value (a flow that had not started or was settling): it is left out, and stays NaN.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def midpoint(previous: Any, current: Any, following: Any) -> Any:
    """Second-order midpoint `w* = (2 w_t + w_{t+1} + w_{t-1}) / 4`, the centre of the discrete optimizer ([CF]; math.md 8)."""
    return (2 * current + following + previous) / 4


def oscillation(previous: Any, current: Any, following: Any) -> Any:
    """Measured oscillation `δ_t = w_t - w*_t = (2 w_t - w_{t+1} - w_{t-1}) / 4`, free of drift, unlike a half-difference (math.md 9)."""
    return (2 * current - following - previous) / 4


def gaussian_smooth(y: ArrayLike, sigma: float = 50.0) -> np.ndarray:
    """Gaussian average of a series over its steps, the papers' smoothing (default `sigma` 50 steps).

    y: [n] or [n, ...], smoothed along the first axis; sigma: in rows. Returns the same shape. Beyond the first and the last value the
    nearest is repeated; NaN rows in between have no weight (normalised convolution) and stay NaN.
    """
    y = np.asarray(y, dtype=float)
    if y.ndim > 1:
        columns = [gaussian_smooth(column, sigma) for column in y.reshape(len(y), -1).T]
        return np.stack(columns, axis=-1).reshape(y.shape) if columns else y.copy()
    from scipy.ndimage import gaussian_filter1d

    smooth = np.full(y.shape, np.nan)
    known = np.isfinite(y)
    if not known.any():
        return smooth
    rows = np.flatnonzero(known)
    span = slice(rows[0], rows[-1] + 1)
    inside = known[span]
    total = gaussian_filter1d(np.where(inside, y[span], 0.0), sigma, mode="nearest")
    weight = gaussian_filter1d(inside.astype(float), sigma, mode="nearest")
    smooth[span] = np.where(inside, total / np.where(inside, weight, 1.0), np.nan)
    return smooth


def ema(y: ArrayLike, half_life: float) -> np.ndarray:
    """Causal exponential average for live plots: the weight of a value halves every `half_life` rows.

    `s_t = Σ_{i≤t} a^{t-i} y_i / Σ_{i≤t} a^{t-i}`, `a = 2^{-1/half_life}`, over the finite values: the first one starts it without bias.
    y: [n] or [n, ...], averaged along the first axis.
    """
    from scipy.signal import lfilter

    y = np.asarray(y, dtype=float)
    if not len(y):
        return y.copy()
    keep = 0.5 ** (1.0 / half_life)
    known = np.isfinite(y)
    total = lfilter([1.0], [1.0, -keep], np.where(known, y, 0.0), axis=0)
    weight = lfilter([1.0], [1.0, -keep], known.astype(float), axis=0)
    return np.where(known, total / np.where(known, weight, 1.0), np.nan)


def distance(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Euclidean distance along the last axis: [..., p], [..., p] -> [...]."""
    return np.linalg.norm(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), axis=-1)


def path_length(points: ArrayLike) -> np.ndarray:
    """Length of the path up to each point, `Σ |x_{t+1} - x_t|`: [n, p] -> [n], starting at 0."""
    points = np.asarray(points, dtype=float)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    return np.concatenate([np.zeros(min(1, len(points))), np.cumsum(lengths)])


def share_of_path(distance: ArrayLike, travelled: ArrayLike) -> np.ndarray:
    """Distance to the optimizer as a share of the path that it travelled since the flows started; NaN before it has moved."""
    distance, travelled = np.asarray(distance, dtype=float), np.asarray(travelled, dtype=float)
    return np.divide(distance, travelled, out=np.full(np.broadcast_shapes(distance.shape, travelled.shape), np.nan), where=travelled > 0)


def squared_displacement(iterate: ArrayLike, centre: ArrayLike, modes: ArrayLike, preconditioner: ArrayLike = 1.0) -> np.ndarray:
    """`(v_iᵀ P (w - w(t)))²`: what the eigenvalues of X predict in the average (math.md 4).

    iterate, centre: [p]; modes: [p, k], P-orthonormal columns; preconditioner: a number or [p]. Returns [k].
    """
    offset = np.asarray(preconditioner, dtype=float) * (np.asarray(iterate, dtype=float) - np.asarray(centre, dtype=float))
    return (np.asarray(modes, dtype=float).T @ offset) ** 2


def empirical_variance(displacements: ArrayLike, sigma: float = 50.0) -> np.ndarray:
    """Variance of an oscillation about its centre over time, `E[δ²]` by Gaussian smoothing: [n] or [n, k] -> the same shape."""
    return gaussian_smooth(np.asarray(displacements, dtype=float) ** 2, sigma)


def relative_error(predicted: ArrayLike, measured: ArrayLike) -> np.ndarray:
    """`|predicted - measured| / |measured|`, elementwise; NaN where one is missing or the measured value is zero."""
    predicted, measured = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    error = np.full(np.broadcast_shapes(predicted.shape, measured.shape), np.nan)
    return np.divide(np.abs(predicted - measured), np.abs(measured), out=error, where=np.abs(measured) > 0)


def mean_relative_error(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Mean of `relative_error` over the steps that have one; NaN if none has."""
    error = relative_error(predicted, measured)
    return float(np.mean(error[np.isfinite(error)])) if np.isfinite(error).any() else float("nan")


def period(x: ArrayLike, tolerance: float = 0.1, floor: float = 0.0, fading: bool = True) -> int:
    """Period of a coordinate of the optimizer over a window: 1 (at rest), 2, 4, or 0 (another one, chaos, or too short a window) (ours).

    x: [n], n ≥ 12, a coordinate such as `displacement`. A period q fits if the typical `|x_t - x_{t-q}|` is below `tolerance` times the
    typical `|x_t - x_{t-1}|`, medians over the window, so that single spikes and an amplitude that changes by a few per cent a step do no
    harm. At rest: the steps are below `tolerance²` of the typical |x|, or `floor` (the amplitude that counts as none). An oscillation that
    dies out within the window, to a quarter from its first to its last third, is on its way to rest: 1; not so with `fading=False`, as
    where two modes beat.
    """
    values = np.asarray(x, dtype=float).tolist()  # plain numbers: for so few of them NumPy's median costs ten times as much
    if len(values) < 12 or not all(map(math.isfinite, values)):
        return 0

    def changes(lag: int) -> list[float]:
        return [abs(later - earlier) for earlier, later in zip(values, values[lag:], strict=False)]

    steps = changes(1)
    typical = median(steps)
    if typical <= max(floor, tolerance**2 * median(map(abs, values))):
        return 1
    third = len(steps) // 3
    if fading and median(steps[-third:]) <= 0.25 * median(steps[:third]):
        return 1
    for lag in (2, 4):
        if median(changes(lag)) <= tolerance * typical:
            return lag
    return 0


def periods(x: ArrayLike, tolerance: float = 0.1, floor: float = 0.0, fading: bool = True) -> np.ndarray:
    """`period` of every row of x [n, k], as integers [n], for thousands of rows at once."""
    x = np.asarray(x, dtype=float)
    result = np.zeros(len(x), dtype=int)
    if x.shape[1] < 12:
        return result
    going = np.flatnonzero(np.isfinite(x).all(1))
    x = x[going]

    def changes(lag: int) -> np.ndarray:
        return np.abs(x[:, lag:] - x[:, :-lag])

    steps = changes(1)
    typical = np.median(steps, axis=1)
    third = steps.shape[1] // 3
    rests = typical <= np.maximum(floor, tolerance**2 * np.median(np.abs(x), axis=1))
    if fading:
        rests |= np.median(steps[:, -third:], axis=1) <= 0.25 * np.median(steps[:, :third], axis=1)
    found = np.zeros(len(x), dtype=int)
    for lag in (4, 2):
        found[np.median(changes(lag), axis=1) <= tolerance * typical] = lag
    result[going] = np.where(rests, 1, found)
    return result
