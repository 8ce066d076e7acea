"""A panel in small, as paths of a drawing, for an overview of many figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from cflows_core.panels import Panel

WIDTH, HEIGHT, MARGIN = 320, 180, 8  # of the drawing, in its own units
POINTS = 80  # columns of which each keeps its lowest and highest value


def sketch(panel: Panel) -> list[dict[str, Any]]:
    """The panel's curves in a frame of WIDTH by HEIGHT: path, colour of the palette, width, dashes, opacity of each."""
    across = [_scaled(curve.xs, "x" in panel.log) for curve in panel.curves]
    up = [_scaled(curve.ys, "y" in panel.log) for curve in panel.curves]
    drawn = []
    for curve, xs, ys in zip(panel.curves, across, up, strict=True):
        path = _path(_placed(xs, _range(across), MARGIN, WIDTH - MARGIN), _placed(ys, _range(up), HEIGHT - MARGIN, MARGIN))
        if path:
            stroke = curve.stroke
            drawn.append({"d": path, "color": stroke.color, "width": stroke.width, "dash": list(stroke.dash), "alpha": stroke.alpha})
    return drawn


def _scaled(values: np.ndarray, log: bool) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if log:
        values = np.log10(values, where=values > 0, out=np.full(values.shape, np.nan))
    return np.where(np.isfinite(values), values, np.nan)


def _range(columns: list[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate(columns) if columns else np.empty(0)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _placed(values: np.ndarray, limits: tuple[float, float], start: float, stop: float) -> np.ndarray:
    low, high = limits
    return start + (stop - start) * ((values - low) / (high - low) if high > low else 0.5 + 0 * values)


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """An SVG path that keeps spikes; a NaN interrupts it."""
    keep = np.arange(len(xs))
    if len(xs) > 2 * POINTS:
        parts = np.array_split(keep, POINTS)
        finite = [part[np.isfinite(ys[part])] for part in parts]
        keep = np.unique(np.concatenate([[part[0], part[-1], *_extremes(known, ys)] for part, known in zip(parts, finite, strict=True)]))
    words, down = [], False
    for x, y in zip(xs[keep.astype(int)], ys[keep.astype(int)], strict=True):
        known = bool(np.isfinite(x) and np.isfinite(y))
        if known:
            words.append(f"{'L' if down else 'M'}{x:.0f} {y:.0f}")
        down = known
    return "".join(words)


def _extremes(places: np.ndarray, ys: np.ndarray) -> list[int]:
    return [int(places[np.argmin(ys[places])]), int(places[np.argmax(ys[places])])] if len(places) else []
