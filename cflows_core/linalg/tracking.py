"""Following the largest eigenpairs of a slowly changing operator: state in, state out (math.md 8).

A solve starts from the last Ritz vectors, extrapolated along their motion where that motion is steady; while their
residuals stay within the tolerance their product is the whole solve, k columns for k modes. Every sixth solve looks further: guards
(tracked beyond the wanted ones), the last residuals (where a mode that is not tracked shows first) and a fresh random vector, which
overlaps every direction, let a mode that rises from anywhere enter the block long before it reaches the threshold. Ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.operator import SymmetricOperator
from cflows_core.linalg.ritz import Eigenpairs, Ritz, random_block, solve
from cflows_core.linalg.transfer import Array, host, to_device

GROW = 0.75  # of the threshold: another mode is tracked while the smallest is above
SHRINK = 0.5  # of the threshold: the last mode is dropped when the last but one is below
LOOK = 6  # solves, of which one looks beyond the wanted modes
FORESEEN = 0.01  # of the threshold: as well as that the last values must have foretold the present one for solves to be left out
STEADY = 0.5  # the motion is steady when it changed by less than this share of itself


@dataclass(frozen=True)
class EigenState:
    """What a solve hands to the next: tensors and plain numbers only, so that its fields can be stored and restored.

    Rows in orthonormal coordinates `v = P^{1/2} u`: `vectors [wanted + guards, n]` Ritz vectors, the wanted ones first;
    `directions [d, n]` where the next look goes besides (normalised residuals); `motion [wanted, n]` the last change
    of the wanted vectors out of their old span. `steady`: whether the last two motions agreed. `values [wanted +
    guards]` descending, NaN before the first solve. `wanted`, its lower limit `floor`, the number of `guard` vectors.
    `seed` and `counter` (solves so far) determine the random vectors.

    `clock` counts steps, with a solve or without (`waited`); `wait` is how many may still pass without one, by
    `next_solve` from `history`, the last four (clock, values).
    """

    vectors: Tensor
    directions: Tensor
    motion: Tensor
    values: Tensor
    wanted: int
    floor: int
    guard: int
    seed: int
    counter: int = 0
    steady: bool = False
    clock: int = 0
    wait: int = 0
    history: tuple[tuple[int, tuple[float, ...]], ...] = ()

    @classmethod
    def init(
        cls,
        n: int,
        *,
        wanted: int = 2,
        guard: int = 2,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> EigenState:
        """A state that knows nothing: a random block, for `wanted` pairs (also the least ever tracked).

        Raises CflowsError for n, wanted or guard below 1.
        """
        if n < 1 or wanted < 1 or guard < 1:
            raise CflowsError(
                f"Tracking needs n, wanted and guard of at least 1, got {n}, {wanted} and {guard}; wanted=2 and guard=2 are usual."
            )
        wanted = min(wanted, n)
        device = torch.device(device)
        vectors = random_block(n, min(wanted + guard, n), dtype, device, seed)
        empty = vectors[:0]
        values = torch.full((len(vectors),), torch.nan, dtype=dtype, device=device)
        return cls(vectors, empty, empty, values, wanted, wanted, guard, seed)

    @property
    def cold(self) -> bool:
        """Whether nothing is known yet."""
        return bool(self.values.isnan().all())

    @property
    def looks(self) -> bool:
        """Whether the next solve looks beyond the wanted modes in any case."""
        waited = not self.history or self.clock > self.history[-1][0]
        return waited or self.cold or self.counter % LOOK == 0

    def waited(self) -> EigenState:
        """The state a step later, without a solve."""
        return replace(self, clock=self.clock + 1, wait=self.wait - 1)

    def due(self) -> EigenState:
        """The state where what is known of the values' course holds no more: the next step solves."""
        return replace(self, wait=0, history=())

    def expected(self) -> Tensor:
        """The wanted values [k] at the present step, descending: along the line through the last two solves."""
        return to_device(_on_the_line(self.history, self.clock), self.vectors)


def track(
    operator: SymmetricOperator,
    state: EigenState,
    *,
    threshold: float,
    n_max: int,
    tol: float = 1e-3,
    max_calls: int = 40,
) -> tuple[Eigenpairs, EigenState]:
    """The largest eigenpairs of `operator`, warm-started from `state`; and the state for the next solve.

    As many pairs as have the smallest above 0.75 threshold, one more, at most `n_max`, at least `state.floor`. Relative
    residuals are within `tol` (the eigenvalues' error is about `tol²·max|λ|²/gap`); at most `max_calls` block products,
    else `converged` is False. Columns of successive answers have the sign that makes the overlap with the closest
    previous column positive. After a product that is not finite the answer is NaN and the state keeps its vectors, so
    that the next solve can recover.
    """
    before = operator.n_products, operator.n_calls
    narrow = _may_be_narrow(state, threshold, n_max)
    ritz = _solve(operator, state, threshold, n_max, tol, max_calls, narrow)
    if narrow and ritz.finite and _grows(ritz.values, ritz.wanted, threshold, n_max):
        state = _next_state(ritz, state)
        ritz = _solve(operator, state, threshold, n_max, tol, max_calls, narrow=False)
    spent = operator.n_products - before[0], operator.n_calls - before[1]
    # After a solve that failed the next one looks further.
    counter = state.counter + 1 if ritz.converged else -(-(state.counter + 1) // LOOK) * LOOK
    state = replace(state, counter=counter, clock=state.clock + 1, wait=0)
    k = ritz.wanted
    if not ritz.finite:
        nan = torch.full((k,), torch.nan, dtype=operator.dtype, device=operator.device)
        return Eigenpairs(nan, nan.expand(operator.n, k).clone(), nan.clone(), False, *spent), state
    state = _next_state(ritz, state)
    vectors = state.vectors[:k].T
    history = (*state.history[-3:], (state.clock, tuple(float(value) for value in ritz.values[:k])))
    foreseen = bool(state.history) and abs(_on_the_line(state.history, state.clock)[0] - ritz.values[0]) < FORESEEN * threshold
    wait = next_solve([(step, values[0]) for step, values in history], threshold) - 1 if ritz.converged and foreseen else 0
    state = replace(state, history=history, wait=wait)
    if k > state.floor and ritz.values[k - 2] < SHRINK * threshold:
        state = replace(state, wanted=k - 1, motion=state.motion[: k - 1])
    pairs = Eigenpairs(
        values=to_device(ritz.values[:k], vectors),
        vectors=operator.to_weights(vectors),
        residuals=to_device(ritz.errors[:k], vectors),
        converged=ritz.converged,
        n_products=spent[0],
        n_calls=spent[1],
        saturated=bool(k == n_max and k < operator.n and ritz.values[k - 1] > GROW * threshold),
    )
    return pairs, state


def _on_the_line(history: Sequence[tuple[int, tuple[float, ...]]], clock: int) -> Array:
    """The values at `clock` on the line through the last two solves, descending; of the last one where the number changed."""
    (t1, now), *former = reversed(history)
    values = np.array(now)
    if former and len(former[0][1]) == len(now):
        values = values + (values - former[0][1]) / (t1 - former[0][0]) * (clock - t1)
    return np.sort(values)[::-1].copy()


def _grows(values: Array, wanted: int, threshold: float, n_max: int) -> bool:
    """Whether another mode is to be tracked."""
    return wanted < n_max and values[wanted - 1] > GROW * threshold


def _may_be_narrow(state: EigenState, threshold: float, n_max: int) -> bool:
    """Whether this solve need not look beyond the wanted modes."""
    if state.looks or state.wanted > n_max:
        return False
    known = host(state.values)
    return bool(np.isfinite(known[: state.wanted]).all()) and not _grows(known, state.wanted, threshold, n_max)


def _solve(operator: SymmetricOperator, state: EigenState, threshold: float, n_max: int, tol: float, max_calls: int, narrow: bool) -> Ritz:
    cold = state.cold

    def grow(values: Array, wanted: int) -> int:
        while wanted < min(operator.n, len(values)) and _grows(values, wanted, threshold, n_max):
            wanted += 1
        return wanted

    guard = 0 if narrow else state.guard
    return solve(
        operator,
        _narrow_block(state) if narrow else _starting_block(operator, state),
        min(state.wanted, max(n_max, 1)),
        guard=guard,
        tol=0.1 * tol if cold else tol,  # cold: a loosely converged pair could still be the wrong one
        cold=cold,
        seed=state.seed,
        max_calls=max_calls,
        max_basis=4 * (max(state.wanted, n_max) + state.guard) + 16,
        grow=None if narrow else grow,
    )


def _narrow_block(state: EigenState) -> Tensor:
    """`[wanted, n]`: the wanted Ritz vectors, moved on where the motion is steady."""
    vectors = state.vectors[: state.wanted]
    return vectors + state.motion if state.steady and state.motion.shape == vectors.shape else vectors


def _starting_block(operator: SymmetricOperator, state: EigenState) -> Tensor:
    """`[b, n]`: Ritz vectors (the wanted ones moved on where the motion is steady), residuals, a random vector."""
    if state.cold:
        return state.vectors  # nothing is known yet: random
    fresh = random_block(operator.n, 1, state.vectors.dtype, state.vectors.device, seed=state.seed + 7919 * state.counter)
    parts = [_narrow_block(state), state.vectors[state.wanted :], state.directions, fresh]
    return torch.cat(parts)


def _next_state(ritz: Ritz, old: EigenState) -> EigenState:
    """Signs, motion and directions from the Ritz pairs of this solve; what it did not look at stays as it was."""
    k, kept = ritz.wanted, len(ritz.values)
    vectors, values = ritz.vectors, ritz.values
    norms = np.maximum(ritz.scale * ritz.errors[: k + 1], torch.finfo(vectors.dtype).tiny)
    directions = ritz.residuals[: k + 1] * to_device(1.0 / norms, vectors)[:, None]
    motion, steady = vectors[:0], False
    if not old.cold:
        overlap = vectors @ old.vectors.T  # [new, old]
        on_host = host(overlap)
        closest = on_host[np.arange(kept), np.abs(on_host).argmax(axis=1)]
        if (closest < 0).any():
            sign = to_device(np.where(closest < 0, -1.0, 1.0), vectors)[:, None]
            vectors, overlap = vectors * sign, overlap * sign
        motion = torch.addmm(vectors[:k], overlap[:k], old.vectors, alpha=-1.0)
        if old.motion.shape == motion.shape:
            change = torch.stack([torch.linalg.vector_norm(motion - old.motion), torch.linalg.vector_norm(motion)])
            difference, size = host(change)
            steady = bool(difference < STEADY * size)
        if kept == k and old.wanted == k and len(old.vectors) > k:  # narrow: the guards of before
            vectors = torch.cat([vectors, old.vectors[k:]])
            values = np.concatenate([values, host(old.values)[k:]])
            directions = torch.cat([directions, old.directions[k:]])
    return replace(
        old,
        vectors=vectors,
        directions=directions,
        motion=motion,
        values=to_device(values, vectors),
        wanted=k,
        steady=steady,
    )


def next_solve(
    history: Sequence[tuple[float, float]],
    threshold: float,
    *,
    reach: float = 0.9,
    safety: float = 2.0,
    fastest: float = 0.05,
    longest: int = 20,
) -> int:
    """How many steps may pass before the next eigenvalue solve, ≥ 1, so that no crossing of `threshold` is missed.

    `history`: recent `(step, λ_max)`, oldest first; NaN values are skipped. The time to the threshold is bounded three
    ways, and the least taken: `safety` times the steepest recent slope; the same for the recent exponential growth; and
    a rise of `fastest`·threshold a step whatever the past (so a rise slower than that is never met late). At most twice
    the last interval and `longest`; 1 with fewer than two values, or from `reach`·threshold on.
    """
    points = [(step, value) for step, value in history if value == value]
    if len(points) < 2:
        return 1
    step, value = points[-1]
    gap = reach * threshold - value
    if gap <= 0:
        return 1
    rate, growth = fastest * threshold, 0.0
    for (s0, v0), (s1, v1) in pairwise(points[-4:]):
        if s1 > s0:
            rate = max(rate, safety * (v1 - v0) / (s1 - s0))
            if v0 > 0 and v1 > 0:
                growth = max(growth, safety * (math.log(v1) - math.log(v0)) / (s1 - s0))
    bound = min(gap / rate, 2 * (step - points[-2][0]), longest)
    if growth > 0 and value > 0:
        bound = min(bound, (math.log(reach * threshold) - math.log(value)) / growth)
    return max(1, int(bound))
