"""Orbit diagrams: where an optimizer's iterates end up as a parameter changes, all of its values in one batch (math.md 7)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cflows_core.errors import ConfigError
from cflows_core.measure import periods
from cflows_core.optimizers import Optimizer
from cflows_core.problems.toy import Loss
from cflows_core.toylab.batch import DIVERGED, Batch, check_has, gradient, start_weights

ALIKE = 0.01  # of `measure.periods`: after the transient nothing is left but the orbit itself, and a 4-cycle begins as nearly a 2-cycle
CHUNK = 4096  # optimizers at a time: their numbers stay in the processor's cache


@dataclass(frozen=True)
class Orbits:
    """An orbit diagram.

    vary: the parameter's name; values [n]. points [n, keep]: the iterates' first coordinate at the last `keep` steps, NaN where they have
    diverged. period [n]: 1 (at rest), 2, 4, 0 (another one, or chaos) or −1 (diverged).
    """

    vary: str
    values: np.ndarray
    points: np.ndarray
    period: np.ndarray


def orbits(loss: Loss, optimizer: Optimizer, vary: str, values: Any, w0: Any, transient: int = 800, keep: int = 400) -> Orbits:
    """The last `keep` iterates for each of the `values` [n] of the parameter `vary` ("lr", "beta1" or "beta2"), after `transient` steps.

    All start at w0 [d]. Raises `ConfigError`.
    """
    values = np.asarray(values, dtype=float).reshape(-1)
    points = _last(loss, Batch(optimizer, **{vary: values}), start_weights(w0, loss), transient, keep)
    return Orbits(vary, values, points, _periods(points))


def plane(
    loss: Loss, optimizer: Optimizer, vary: tuple[str, str], values: tuple[Any, Any], w0: Any, transient: int = 300, keep: int = 48
) -> np.ndarray:
    """The period of every pair of two parameters' values [n] and [m], as `Orbits.period` has it, [n, m].

    So many optimizers at once that the window is short: a slower oscillation than period 4 reads 0, as chaos does.
    """
    first, second = (np.asarray(given, dtype=float).reshape(-1) for given in values)
    if vary[0] == vary[1]:
        raise ConfigError(f"A map needs two parameters, got `{vary[0]}` twice: choose another one.")
    w0 = start_weights(w0, loss)
    for name in vary:
        check_has(optimizer, name)
    batch = Batch(optimizer, **{vary[0]: np.repeat(first, len(second)), vary[1]: np.tile(second, len(first))})
    found = [_periods(_last(loss, batch.slice(slice(i, i + CHUNK)), w0, transient, keep)) for i in range(0, batch.n, CHUNK)]
    return np.concatenate(found).reshape(len(first), len(second))


def _last(loss: Loss, batch: Batch, w0: Tensor, transient: int, keep: int) -> np.ndarray:
    """First coordinates of the last `keep` iterates, [n, keep]; NaN throughout where they have diverged."""
    w = w0.expand(batch.n, len(w0)).clone()
    points = w.new_empty(keep, batch.n)
    with torch.no_grad(), _flushed():
        state = batch.start(w, gradient(loss, w))
        for step in range(transient + keep):
            state = batch.step(state, gradient(loss, batch.gradient_point(state)))
            if step >= transient:
                points[step - transient] = state.w[:, 0]
        bound = DIVERGED * (1 + float(w0.norm()))
        lost = ~(points.abs().amax(0) < bound) | ~(state.w.norm(dim=1) < bound)
    points[:, lost] = math.nan
    return points.T.contiguous().numpy()


def _periods(points: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(points[:, 0]), -1, periods(points, tolerance=ALIKE))


@contextmanager
def _flushed() -> Iterator[None]:
    """Numbers below 1e-308 are 0 in here: iterates that shrink for ever would cost a hundred times as much."""
    tiny = torch.finfo(torch.float64).tiny
    before = float(torch.tensor(tiny, dtype=torch.float64) / 2) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
