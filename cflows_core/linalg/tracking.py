"""Following the largest eigenpairs of a slowly changing operator: state in, state out (math.md 8).

A solve is for the modes near the threshold alone, and while their residuals stay within the tolerance their product is the whole solve:
one column a mode. It starts from the last Ritz vectors, moved on along their motion where that is steady, and by `(A v − λ v)/λ`, which
removes what they have of eigenvectors with small eigenvalues (a step of the power method, for which the product is known already).

Every eighth solve looks further: at the modes below, whose values follow a line in between, and at guards beyond the wanted ones. The last
guard climbs from look to look, by its residual, its last change (as in the locally optimal conjugate gradients of LOBPCG) and a fresh
random vector, which overlaps every direction. So a mode that rises from anywhere is known long before it reaches the threshold. Ours.
"""

# pyright: reportAttributeAccessIssue=false
# (scipy.linalg.lapack is generated, without type information.)

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.operator import SymmetricOperator
from cflows_core.linalg.ritz import EXACT, Eigenpairs, Ritz, random_block, solve
from cflows_core.linalg.transfer import Array, host, to_device

GROW = 0.75  # of the threshold: another mode is tracked while the smallest is above
SHRINK = 0.5  # of the threshold: the last mode is dropped when the last but one is below
NEAR = 0.85  # of the threshold: modes above it are solved for at every solve, the others when it looks further
LOOSE = 4  # times the tolerance that the others have to fulfil when it does
LOOK = 8  # solves, of which one looks beyond the near modes
FASTEST = 0.05  # of the threshold a step: a rise that is reckoned with whatever the past; and what a line may add to a value
FORESEEN = 0.01  # of the threshold: as well as that the last values must have foretold the present one for solves to be left out
UNKNOWN, CANDIDATES = 1e-2, 2  # residual of a guard that is to become an eigenvector yet; looked for among so many more than are kept
STEADY = 0.5  # the motion is steady when it changed by less than this share of itself


@dataclass(frozen=True)
class EigenState:
    """What a solve hands to the next: tensors and plain numbers only, so that its fields can be stored and restored.

    Rows in orthonormal coordinates `v = P^{1/2} u`: `vectors [wanted, n]` and `guards [guard, n]` Ritz vectors; `residuals [near, n]`
    `A v − λ v` of the first, `motion [near, n]` their change out of their old span, averaged; `steady`: whether the last change agreed with
    it. `search [d, n]`: residuals of the others and the last guard's change, where the next look goes besides. `values [wanted]`
    descending, NaN before the first solve. `wanted`, its lower limit `floor`, the number of `guard` vectors. `seed` and `counter` (solves
    so far) determine the random vectors.

    `clock` counts steps, with a solve or without (`waited`); `wait` is how many may still pass without one, by `next_solve` from `course`:
    (clock, largest value) of the last four solves. `looked`: (clock, values) of the last two that looked at all wanted modes.
    """

    vectors: Tensor
    guards: Tensor
    residuals: Tensor
    search: Tensor
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
    course: tuple[tuple[int, float], ...] = ()
    looked: tuple[tuple[int, tuple[float, ...]], ...] = ()

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
        block = random_block(n, min(wanted + guard, n), dtype, device, seed)
        vectors, guards, empty = block[:wanted], block[wanted:], block[:0]
        values = torch.full((wanted,), torch.nan, dtype=dtype, device=device)
        return cls(vectors, guards, empty, empty, empty, values, wanted, wanted, guard, seed)

    @property
    def cold(self) -> bool:
        """Whether nothing is known yet."""
        return bool(self.values.isnan().all())

    @property
    def looks(self) -> bool:
        """Whether the next solve looks beyond the near modes in any case."""
        waited = not self.course or self.clock > self.course[-1][0]
        return waited or not self.looked or self.counter % LOOK == 0

    def waited(self) -> EigenState:
        """The state a step later, without a solve."""
        return replace(self, clock=self.clock + 1, wait=self.wait - 1)

    def due(self) -> EigenState:
        """The state where what is known of the values' course holds no more: the next step solves."""
        return replace(self, wait=0, course=(), looked=())

    def expected(self) -> Tensor:
        """The wanted values [k] at the present step, descending: along the line through the last two looks."""
        return to_device(_on_the_line(self.looked, self.clock), self.vectors)


def track(
    operator: SymmetricOperator,
    state: EigenState,
    *,
    threshold: float,
    n_max: int,
    tol: float = 1e-3,
    max_calls: int = 40,
    near: float = NEAR,
    rotation: Tensor | None = None,
) -> tuple[Eigenpairs, EigenState]:
    """The largest eigenpairs of `operator`, warm-started from `state`; and the state for the next solve.

    As many pairs as have the smallest above 0.75 threshold, one more, at most `n_max`, at least `state.floor`. Relative
    residuals are within `tol` (the eigenvalues' error is about `tol²·max|λ|²/gap`); at most `max_calls` block products,
    else `converged` is False. Pairs below `near`·threshold are solved for every eighth time, to `LOOSE·tol`; in between their values are on
    a line and their vectors the last, orthogonal to those of the others. Columns of successive answers have the sign that makes the overlap
    with the closest previous column positive. `rotation [j, j]`: the first product begins with the j first vectors that it starts from
    times this, for a product that has more to do along these. After a product that is not finite the answer is NaN and the state keeps its
    vectors, so that the next solve can recover.
    """
    before = operator.n_products, operator.n_calls
    few = _near(state, near * threshold, n_max)

    def solved(few: int, rotation: Tensor | None) -> Ritz:
        return _solve(operator, state, few, threshold, n_max, tol, max_calls, near, rotation)

    ritz = solved(few, rotation)
    if few and ritz.finite and _look_further(ritz.values, _below(state, few, threshold), threshold, n_max):
        state, few = _next_state(ritz, state, few, few), 0
        ritz = solved(few, None)
    spent = operator.n_products - before[0], operator.n_calls - before[1]
    # After a solve that failed the next one looks further.
    counter = state.counter + 1 if ritz.converged else -(-(state.counter + 1) // LOOK) * LOOK
    below = _below(state, few, threshold)
    state = replace(state, counter=counter, clock=state.clock + 1, wait=0)
    k = ritz.wanted + len(below)
    if not ritz.finite:
        nan = torch.full((k,), torch.nan, dtype=operator.dtype, device=operator.device)
        return Eigenpairs(nan, nan.expand(operator.n, k).clone(), nan.clone(), False, *spent), state
    values, top = np.concatenate([ritz.values[: ritz.wanted], below]), float(ritz.values[0])
    state = _next_state(ritz, state, few, few or int((values > near * threshold).sum()))
    looked = state.looked if few else (*state.looked[-1:], (state.clock, tuple(values.tolist())))
    course = (*state.course[-3:], (state.clock, top))
    foretold = not few and ritz.converged and _foretold(course, FORESEEN * threshold)
    wait = next_solve(course, threshold) - 1 if foretold else 0
    state = replace(state, values=to_device(values, state.vectors), course=course, looked=looked, wait=wait)
    vectors = state.vectors.T
    if k > state.floor and values[k - 2] < SHRINK * threshold:
        state = _without_the_last(state)
    errors = np.concatenate([ritz.errors[: ritz.wanted], np.full(len(below), np.nan)])
    pairs = Eigenpairs(
        values=to_device(values, vectors),
        vectors=operator.to_weights(vectors),
        residuals=to_device(errors, vectors),
        converged=ritz.converged,
        n_products=spent[0],
        n_calls=spent[1],
        saturated=bool(k == n_max and k < operator.n and values[k - 1] > GROW * threshold),
    )
    return pairs, state


def _near(state: EigenState, level: float, n_max: int) -> int:
    """How many modes this solve is for: those above the level; 0 where it looks at all and beyond."""
    if state.looks or state.wanted > n_max or state.vectors.shape[1] <= EXACT:
        return 0
    values = host(state.values)
    return int((values > level).sum()) if np.isfinite(values).all() else 0


def _below(state: EigenState, few: int, threshold: float) -> Array:
    """The next values of the wanted modes that are not among the first few: on a line, as far as they can be foreseen."""
    if not few:
        return np.zeros(0)
    last, most = np.array(state.looked[-1][1]), FASTEST * threshold
    return np.clip(_on_the_line(state.looked, state.clock + 1), last - most, last + most)[few : state.wanted]


def _look_further(values: Array, below: Array, threshold: float, n_max: int) -> bool:
    """Whether the near modes' values tell that more are to be tracked, or that another is among them by now."""
    wanted = len(values) + len(below)
    return _grows(np.concatenate([values, below]), wanted, threshold, n_max) or bool(len(below) and values[-1] < below[0])


def _on_the_line(looked: Sequence[tuple[int, tuple[float, ...]]], clock: int) -> Array:
    """The values at `clock` on the line through the last two looks, descending; of the last one where the number changed."""
    (t1, now), *former = reversed(looked)
    values = np.array(now)
    if former and len(former[0][1]) == len(now):
        values = values + (values - former[0][1]) / (t1 - former[0][0]) * (clock - t1)
    return np.sort(values)[::-1].copy()


def _foretold(course: Sequence[tuple[int, float]], error: float) -> bool:
    """Whether the last value is within the error of what the two before it told; or, with only one, of that."""
    if len(course) < 2:
        return False
    line = [(clock, (value,)) for clock, value in course[-3:-1]]
    clock, value = course[-1]
    return bool(abs(_on_the_line(line, clock)[0] - value) < error)


def _grows(values: Array, wanted: int, threshold: float, n_max: int) -> bool:
    """Whether another mode is to be tracked."""
    return wanted < n_max and values[wanted - 1] > GROW * threshold


def _solve(
    operator: SymmetricOperator,
    state: EigenState,
    few: int,
    threshold: float,
    n_max: int,
    tol: float,
    max_calls: int,
    near: float,
    rotation: Tensor | None,
) -> Ritz:
    """For the first `few` modes; with 0 for all, and looking beyond."""
    cold = state.cold

    def grow(values: Array, wanted: int) -> int:
        while wanted < min(operator.n, len(values)) and _grows(values, wanted, threshold, n_max):
            wanted += 1
        return wanted

    def tolerances(values: Array) -> Array:
        # Cold: a loosely converged pair could still be the wrong one.
        return np.full(len(values), 0.1 * tol) if cold else np.where(values > near * threshold, tol, LOOSE * tol)

    block = _ahead(state, few) if few else _starting_block(operator, state)
    if rotation is not None and not cold and len(rotation) <= len(block):
        block = torch.cat([rotation.T @ block[: len(rotation)], block[len(rotation) :]])
    return solve(
        operator,
        block,
        few or min(state.wanted, max(n_max, 1)),
        guard=0 if few else state.guard + CANDIDATES,
        tol=tolerances,
        cold=cold,
        seed=state.seed,
        max_calls=max_calls,
        max_basis=4 * (max(state.wanted, n_max) + state.guard) + 16,
        grow=None if few else grow,
    )


def _moved(state: EigenState, few: int) -> Tensor:
    """`[few, n]`: the first wanted Ritz vectors, moved on where their motion is steady."""
    m = min(few, len(state.motion))
    if not state.steady or not m:
        return state.vectors[:few]
    moved = state.vectors[:m] + state.motion[:m]
    return moved if m == few else torch.cat([moved, state.vectors[m:few]])


def _ahead(state: EigenState, few: int) -> Tensor:
    """`[few, n]`: the first wanted Ritz vectors, moved on and corrected."""
    block, r = _moved(state, few), min(few, len(state.residuals))
    corrected = torch.addcdiv(block[:r], state.residuals[:r], state.values[:r, None])
    return corrected if r == few else torch.cat([corrected, block[r:]])


def _starting_block(operator: SymmetricOperator, state: EigenState) -> Tensor:
    """`[b, n]`: the wanted Ritz vectors, guards, where to look besides, a random vector."""
    if state.cold:  # nothing is known yet: random
        return torch.cat([state.vectors, state.guards])
    fresh = random_block(operator.n, 1, state.vectors.dtype, state.vectors.device, seed=state.seed + 7919 * state.counter)
    return torch.cat([_ahead(state, state.wanted), state.guards, state.search, fresh])


def _next_state(ritz: Ritz, old: EigenState, few: int, near: int) -> EigenState:
    """Signs, motion and residuals from the Ritz pairs of this solve; what it did not look at stays as it was. near: modes near the
    threshold by its values."""
    k = ritz.wanted
    vectors, guards, residuals, search = ritz.vectors[:k], old.guards, ritz.residuals[:near], old.search
    if not few:
        chosen = _guards(ritz, old.guard)
        guards, search = ritz.vectors[chosen], ritz.residuals[[*range(near, k), *chosen]]
        if not old.cold:  # where the last guard came from
            kept, former = ritz.vectors[[*range(k), *chosen]], old.guards[-1:]
            search = torch.cat([search, torch.addmm(former, former @ kept.T, kept, alpha=-1.0)])
    state = replace(old, vectors=vectors, guards=guards, residuals=residuals, search=search, motion=vectors[:0], wanted=k, steady=False)
    if old.cold:
        return state
    overlap = vectors @ old.vectors.T  # [new, old]
    on_host = host(overlap)
    closest = on_host[np.arange(len(vectors)), np.abs(on_host).argmax(axis=1)]
    if (closest < 0).any():
        sign = to_device(np.where(closest < 0, -1.0, 1.0), vectors)[:, None]
        vectors, overlap, residuals = vectors * sign, overlap * sign, residuals * sign[:near]
    motion = torch.addmm(vectors[:near], overlap[:near], old.vectors, alpha=-1.0)
    both = min(near, len(old.motion))
    steady = _agree(motion[:both], old.motion[:both])
    if steady:
        motion[:both].lerp_(old.motion[:both], 0.5)
    if few and few < old.wanted:
        vectors = torch.cat([vectors, _beside(vectors, old.vectors[few:], overlap[:, few:])])
    return replace(state, vectors=vectors, residuals=residuals, motion=motion, wanted=len(vectors), steady=steady)


def _beside(vectors: Tensor, rest: Tensor, overlap: Tensor) -> Tensor:
    """The orthonormal rows `rest` made orthogonal to the orthonormal `vectors`, and orthonormal again; overlap: vectors restᵀ."""
    on_host = host(overlap)
    L, failed = lapack.dpotrf(np.eye(len(rest)) - on_host.T @ on_host, lower=1)
    if failed or np.diagonal(L).min() < 0.1:  # they have turned into one another: any complement does until the next look
        return torch.linalg.qr(torch.cat([vectors, rest]).T).Q.T[len(vectors) :]
    T = lapack.dtrtri(L, lower=1)[0]
    return torch.addmm(to_device(T, rest) @ rest, to_device(T @ on_host.T, rest), vectors, alpha=-1.0)


def _guards(ritz: Ritz, guard: int) -> list[int]:
    """Which Ritz vectors beyond the wanted to keep: the first ones, and as the last one the first that is not an eigenvector yet.

    It climbs until it is one: were all of them eigenvectors of a spectrum at rest, a mode that nothing couples to would never be found.
    """
    k, m = ritz.wanted, len(ritz.values)
    first = list(range(k, min(k + guard, m)))
    climbing = [i for i in range(k + guard - 1, m) if ritz.errors[i] > UNKNOWN]
    return [*first[:-1], climbing[0]] if climbing else first


def _agree(motion: Tensor, former: Tensor) -> bool:
    """Whether two motions differ by less than a share of the first."""
    if not len(motion):
        return False
    difference, size = host(torch.stack([torch.linalg.vector_norm(motion - former), torch.linalg.vector_norm(motion)]))
    return bool(difference < STEADY * size)


def _without_the_last(state: EigenState) -> EigenState:
    """The state with one mode less, whose vector is a guard from now on."""
    k = state.wanted - 1
    vectors, guards = state.vectors[:k], torch.cat([state.vectors[k:], state.guards])[: state.guard]
    looked = tuple((clock, values[:k]) for clock, values in state.looked)
    return replace(state, vectors=vectors, guards=guards, values=state.values[:k], motion=state.motion[:k], looked=looked, wanted=k)


def next_solve(
    history: Sequence[tuple[float, float]],
    threshold: float,
    *,
    reach: float = 0.9,
    safety: float = 2.0,
    fastest: float = FASTEST,
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
