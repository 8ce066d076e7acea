"""The feedback that keeps an adaptive optimizer at its edge, at one moment of a run ([CF] 4.1 and 5.1): its parts, and what drives what.

Curvature and step sizes make the effective Hessian; above the edge it lets the oscillation grow; the oscillation flattens the curvature
and raises the squared gradient, hence ν, hence lowers the step sizes. Everything said here is measured on the run, nothing assumed: an
arrow is lit while both of its ends move as it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cflows_app.smoothing import gaussian_average
from cflows_app.streaming import Reading
from cflows_core.config import RunConfig
from cflows_core.history import History
from cflows_core.optimizers import KINDS

PAST = 100  # rows that are drawn
WIDTH = 2.0  # rows, of the average over them
LOOK = 4  # rows in which a part is seen to rise or to fall
STEADY = 0.004  # a smaller change, relative to the value, is none
STILL = 0.006  # nor is a smaller one relative to the range drawn
LEVEL = 0.005  # shares of the edge by which one is above or below it
SHOWS = 0.2  # an oscillation shorter than this share of a half-step is none
STRONG = 0.5  # shares of its largest value drawn, from which on an oscillation flattens


@dataclass(frozen=True)
class Part:
    """A node. read: its values in the rows of a reading; NaN where there are none."""

    key: str
    name: str
    symbol: str
    quantity: str
    read: Callable[[Reading], np.ndarray]


@dataclass(frozen=True)
class Arrow:
    """Source drives target: "+" in its own direction, "−" against it. label: what stands beside it."""

    source: str
    target: str
    sign: str
    label: str = ""


def _series(name: str) -> Callable[[Reading], np.ndarray]:
    return lambda reading: reading.series("discrete", name)


def _curvature(reading: Reading) -> np.ndarray:
    """The top eigenvalue of H; where P differs between weights, the highest curvature along the tracked modes of P⁻¹H."""
    values = reading.history.series("discrete", "hessian_eigs")[reading.part]
    return values if values.ndim == 1 else np.fmax.reduce(values, axis=1)


def _effective(reading: Reading) -> np.ndarray:
    return reading.series("discrete", "effective_eigs") / reading.threshold


def _oscillation(reading: Reading) -> np.ndarray:
    """Half a step's length without the drift v of the centre in it: E|w_t − w_{t+1}|²/4 = E|δ|² + |v|²/4, as δ changes its sign."""
    half = reading.series("discrete", "half_difference")
    drift = np.diff(reading.series("discrete", "path_length"), append=np.nan) / 2
    drift[drift < 0] = np.nan  # the path is measured anew from where the flows start
    for row in np.flatnonzero(~np.isfinite(drift)):
        drift[row] = drift[row - 1] if row else np.nan
    squared = _average(half**2 - drift**2)
    with np.errstate(invalid="ignore"):
        return np.where(squared > (SHOWS * half) ** 2, np.sqrt(np.maximum(squared, 0)), np.where(np.isfinite(squared), 0.0, np.nan))


PARTS = (
    Part("hessian", "Hessian", "H", "top eigenvalue", _curvature),
    Part("effective", "Effective Hessian", "P⁻¹H", "λ₁ / c", _effective),
    Part("oscillation", "Oscillation", "δ", "half a swing", _oscillation),
    Part("gradient", "Squared gradient", "‖∇L‖²", "", _series("grad_norm_sq")),
    Part("nu", "Its average", "ν", "", _series("nu_norm")),
    Part("step_sizes", "Step sizes", "P⁻¹", "", _series("effective_step_size")),
)
SHARPENING = "sharpening"  # drives from outside
ARROWS = (
    Arrow(SHARPENING, "hessian", "+", "progressive sharpening"),
    Arrow("hessian", "effective", "+"),
    Arrow("step_sizes", "effective", "+"),
    Arrow("effective", "oscillation", "+", "above the edge: grows"),
    Arrow("oscillation", "hessian", "−", "flattens"),
    Arrow("oscillation", "gradient", "+"),
    Arrow("gradient", "nu", "+"),
    Arrow("nu", "step_sizes", "−"),
)
# Part -> how it is called within a sentence.
_CALLED = {
    "hessian": "the Hessian",
    "effective": "the effective Hessian",
    "oscillation": "the oscillation",
    "gradient": "the squared gradient",
    "nu": "ν",
    "step_sizes": "the step sizes",
}


def state(history: History, config: RunConfig, row: int) -> dict[str, Any]:
    """What the diagram shows of a run's row: "step", "nodes", "arrows", and "sentence", which says the same to who cannot see it.

    A node: key, name, symbol, quantity, value and words (text), trend ("rises", "falls", "steady" or ""), path (its recent past up to the
    row, `PAST` places from 0 to 1, None where there is no value) and mark (where in that range the edge is, or None). An arrow: source,
    target, sign, label, lit, and push, the direction in which it moves its target now ("up", "down" or ""). Parts of which the run has no
    series are left out.
    """
    row = min(max(row, 0), len(history) - 1)
    if row < 0:
        return {"step": None, "nodes": [], "arrows": [], "sentence": "Nothing has run yet."}
    # One row before those drawn: each is averaged with the one before it.
    reading = Reading(history, config, {}).of(max(0, row - PAST), row + 1)
    pasts = {part.key: _average(part.read(reading)) for part in PARTS}
    known = {key: past for key, past in pasts.items() if np.isfinite(past).any()}
    trends = {key: _trend(past) for key, past in known.items()}
    nodes = [_node(part, known[part.key], trends[part.key], config) for part in PARTS if part.key in known]
    pushes = _pushes(known, trends)
    arrows = [
        {
            "source": arrow.source,
            "target": arrow.target,
            "sign": arrow.sign,
            "label": _label(arrow, pushes[arrow.source, arrow.target]),
            "lit": pushes[arrow.source, arrow.target] != 0,
            "push": _DIRECTIONS[pushes[arrow.source, arrow.target]],
        }
        for arrow in ARROWS
        if (arrow.source, arrow.target) in pushes
    ]
    step = int(history.steps[row])
    return {"step": step, "nodes": nodes, "arrows": arrows, "sentence": _sentence(step, nodes, pushes)}


_DIRECTIONS = {1: "up", -1: "down", 0: ""}
_TRENDS = {1: "rises", -1: "falls", 0: "steady"}


def _average(values: np.ndarray) -> np.ndarray:
    """Each value with the one before it, which an oscillation of period 2 does not outlive, and then over some rows."""
    pairs = values.copy()
    pairs[1:] = (values[1:] + values[:-1]) / 2
    pairs[1:] = np.where(np.isfinite(pairs[1:]), pairs[1:], values[1:])
    return gaussian_average(pairs, WIDTH)


def _trend(past: np.ndarray) -> int:
    """Whether the last rows rise, 1, or fall, −1."""
    recent = past[-LOOK - 1 :]
    if not np.isfinite(recent[[0, -1]]).all() or len(recent) <= LOOK:
        return 0
    change = recent[-1] - recent[0]
    if abs(change) <= max(STEADY * abs(recent[-1]), STILL * float(np.nanmax(past) - np.nanmin(past))):
        return 0
    return 1 if change > 0 else -1


def _pushes(pasts: dict[str, np.ndarray], trends: dict[str, int]) -> dict[tuple[str, str], int]:
    """Arrow -> the direction in which it moves its target now, 0 where it does not."""
    known = [arrow for arrow in ARROWS if arrow.target in pasts and arrow.source in (*pasts, SHARPENING)]
    return {(arrow.source, arrow.target): _push(arrow, pasts, trends) for arrow in known}


def _push(arrow: Arrow, pasts: dict[str, np.ndarray], trends: dict[str, int]) -> int:
    target = trends[arrow.target]
    if arrow.source == SHARPENING:
        return max(target, 0)
    if arrow.source == "effective":  # not whether it moves, but on which side of the edge it is
        share = pasts["effective"][-1]
        return int(share > 1 + LEVEL and target >= 0) - int(share < 1 - LEVEL and target < 0)
    if arrow.target == "hessian":  # in the oscillation's square: while it is large, whether it grows or not
        swing = pasts["oscillation"]
        return min(target, 0) if swing[-1] > STRONG * np.nanmax(swing) else 0
    if arrow.source == "gradient":  # ν is the gradient's average: it rises while the gradient is above it
        return target
    moved = trends[arrow.source] * (1 if arrow.sign == "+" else -1)
    return target if moved == target else 0


def _node(part: Part, past: np.ndarray, trend: int, config: RunConfig) -> dict[str, Any]:
    now, drawn = float(past[-1]), np.append(np.full(PAST, np.nan), past)[-PAST:]
    low, high = float(np.nanmin(drawn)), float(np.nanmax(drawn))
    if part.key == "effective":
        low, high = min(low, 1.0), max(high, 1.0)
    elif part.key == "oscillation":
        low = 0.0
    room = max(high - low, 0.05 * abs(high)) or 1.0  # what hardly changes is drawn as hardly changing
    middle = (low + high) / 2
    place = np.round((drawn - middle) / room + 0.5, 4)
    adaptive = KINDS[config.optimizer][1]
    quantity = part.quantity
    if part.key == "hessian" and adaptive == "diagonal":
        quantity = "largest along the modes"
    if part.key in ("nu", "step_sizes") and adaptive == "diagonal":
        quantity = "norm" if part.key == "nu" else "mean"
    return {
        "key": part.key,
        "name": part.name,
        "symbol": part.symbol,
        "quantity": quantity,
        "value": "none" if part.key == "oscillation" and now == 0 else _written(now),
        "words": _side(now) if part.key == "effective" else "",
        "trend": _TRENDS[trend] if np.isfinite(now) else "",
        "path": [float(y) if np.isfinite(y) else None for y in place],
        "mark": round((1.0 - middle) / room + 0.5, 4) if part.key == "effective" else None,
    }


def _side(share: float) -> str:
    """On which side of the edge."""
    if not np.isfinite(share):
        return ""
    percent = round(100 * abs(share - 1))
    return "at the edge" if percent < 1 else f"{percent} % {'above' if share > 1 else 'below'} the edge"


def _written(value: float) -> str:
    """Three digits."""
    if not np.isfinite(value):
        return "–"
    plain = f"{value:.3g}"
    if "e" not in plain:
        return plain
    mantissa, power = plain.split("e")
    return f"{mantissa}·10{str(int(power)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _label(arrow: Arrow, push: int) -> str:
    return "below the edge: dies out" if arrow.source == "effective" and push < 0 else arrow.label


def _sentence(step: int, nodes: list[dict[str, Any]], pushes: dict[tuple[str, str], int]) -> str:
    """What drives what, and where each part is."""
    acts = [_act(source, target, push) for (source, target), push in pushes.items() if push]
    drives = "; ".join(acts) if acts else "nothing drives anything"
    stands = [_stands(node) for node in nodes]
    told = "; ".join(stands)
    return f"Step {step:,}: {drives}. {told[:1].upper()}{told[1:]}."


def _stands(node: dict[str, Any]) -> str:
    key, words = node["key"], f", {node['words']}" if node["words"] else ""
    moves = f", and {_verb(key, node['trend'])}" if node["trend"] in ("rises", "falls") else ""
    return f"{_CALLED[key]} {'are' if key == 'step_sizes' else 'is'} {node['value']}{words}{moves}"


def _act(source: str, target: str, push: int) -> str:
    effect = f"{_CALLED[target]} {_verb(target, _TRENDS[push])}"
    if source == SHARPENING:
        return f"progressive sharpening raises {_CALLED[target]}"
    if (source, target) == ("effective", "oscillation"):
        return "above the edge the oscillation grows" if push > 0 else "below the edge the oscillation dies out"
    if (source, target) == ("oscillation", "hessian"):
        return "the oscillation flattens the Hessian"
    if source == "gradient":
        return f"the squared gradient is {'above' if push > 0 else 'below'} its average, so {effect}"
    moved = -push if (source, target) == ("nu", "step_sizes") else push
    return f"{_CALLED[source]} {_verb(source, _TRENDS[moved])}, so {effect}"


def _verb(key: str, trend: str) -> str:
    return trend.removesuffix("s") if key == "step_sizes" else trend
