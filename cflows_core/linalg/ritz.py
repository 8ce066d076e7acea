"""The block eigensolver's core: Rayleigh–Ritz on a growing subspace with a thick restart (block Davidson).

All products stay in the subspace until it is restarted, so none is wasted. Blocks of vectors are rows, [b, n], each contiguous in
memory: on a million weights that halves the time around the products. They stay on their device; small matrices (at most `max_basis`
wide) go to the host, where LAPACK beats a kernel launch. See `eigen.py` for the public functions.
"""

# pyright: reportAttributeAccessIssue=false
# (scipy.linalg.lapack is generated, without type information.)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from cflows_core.linalg.operator import SymmetricOperator
from cflows_core.linalg.transfer import Array, host, to_device

EXACT = 32  # up to this many coordinates the whole space is one block, and the answer exact
GUARD_TOL = 1e-2  # residual of the first guard that a cold start waits for: it tells that the top of the complement is found


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest eigenpairs of `P^{-1} H`, or of a plain operator (`P = I`).

    `values [k]` descending; `vectors [p, k]` with `UᵀPU = I`; `residuals [k]` relative, `‖A v − λ v‖ / max|λ|` in
    orthonormal coordinates `v = P^{1/2} u`, the maximum over all Ritz values of the subspace; `converged`: all
    residuals within the tolerance. `n_products` counts vectors, `n_calls` blocks. `saturated` (tracking only): the
    smallest value is still above the level at which another mode would be added, but the limit is reached. When a
    product was not finite, values, vectors and residuals are NaN and `converged` is False.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: bool
    n_products: int
    n_calls: int
    saturated: bool = False


@dataclass(frozen=True)
class Ritz:
    """What `solve` found: the first q ≤ wanted + guards Ritz pairs; fewer only where the subspace ended.

    `vectors [q, n]` orthonormal, `values [q]` descending (host), `residuals [q, n]` = `A v − λ v`, `errors
    [q]` their norms relative to `scale` = max|λ| over the subspace (host). `wanted` is the number asked for, after
    growth.
    """

    vectors: Tensor
    values: Array
    residuals: Tensor
    errors: Array
    scale: float
    wanted: int
    converged: bool
    finite: bool = True


def random_block(n: int, k: int, dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """`[k, n]` random rows of length about 1, a function of the arguments alone (per device type)."""
    generator = torch.Generator(device=device).manual_seed(seed)
    # Uniform: any law without atoms overlaps every direction, and this one costs half of a normal.
    bound = (3 / n) ** 0.5
    return torch.empty(k, n, dtype=dtype, device=device).uniform_(-bound, bound, generator=generator)


def solve(
    operator: SymmetricOperator,
    block: Tensor,
    wanted: int,
    *,
    guard: int,
    tol: float | Callable[[Array], Array],
    cold: bool,
    seed: int,
    max_calls: int,
    max_basis: int,
    grow: Callable[[Array, int], int] | None = None,
) -> Ritz:
    """The `wanted` largest eigenpairs, from the span of `block [b, n]` on.

    The block's rows may be dependent, zero, and of any length. One product of the whole block, then of the residuals
    of unconverged pairs and of the first guard until all residuals are within `tol` (or `tol(values)`, one for each) relative to max|λ|
    (in float32 never below 30 eps). `cold` waits for the first guard as well. `grow(values, wanted)` may raise `wanted` as values
    become known. Failure is data: `converged`, `finite`.
    """
    n = operator.n
    least = 30 * torch.finfo(operator.dtype).eps
    if n <= EXACT:
        block = torch.eye(n, dtype=operator.dtype, device=operator.device)
    calls_before = operator.n_calls
    basis = _Basis(block, operator.product(block.T).T.detach())
    while True:
        values, C, failed = basis.ritz()
        if failed:
            return Ritz(block, np.full(wanted, np.nan), block, np.full(wanted, np.nan), np.nan, wanted, False, finite=False)
        if grow is not None:
            wanted = grow(values, wanted)
        q = min(wanted + guard, len(values))
        # Only what is looked at is formed: most warm solves end here.
        X, AX = basis.combined(C[:q])
        R = torch.addcmul(AX, X, to_device(values[:q], X)[:, None], value=-1.0)
        norms = host(torch.linalg.vector_norm(R, dim=1))
        scale = float(np.abs(values).max(initial=0.0))
        errors = norms / scale if scale > 0 else norms
        allowed = np.maximum(tol(values[:q]) if callable(tol) else np.full(q, tol), least)
        unconverged = [i for i in range(min(wanted, q)) if not errors[i] <= allowed[i]]
        guard_open = cold and q > wanted and not errors[wanted] <= max(allowed[wanted], GUARD_TOL)
        enough = len(values) >= wanted
        done = enough and not unconverged and not guard_open
        if done or len(values) >= n or operator.n_calls - calls_before >= max_calls:
            return Ritz(X, values[:q], R, errors, scale, wanted, enough and not unconverged)
        if len(values) + len(unconverged) + 1 > max_basis:  # thick restart: some Ritz vectors beyond the guards keep most of the speed
            basis.restart(values, C, wanted + guard + max(0, max_basis - wanted - guard) // 3)
        D = basis.complement(R[[*unconverged, wanted] if q > wanted else unconverged])
        if len(D) == 0 or not enough:  # an invariant subspace that is too small: look elsewhere
            fresh = random_block(n, max(1, wanted + guard - len(values)), R.dtype, R.device, seed + operator.n_calls)
            D = basis.complement(torch.cat([D, fresh]))
        if len(D) == 0:  # nowhere else to look: what is left is rounding
            return Ritz(X, values[:q], R, errors, scale, wanted, enough and not unconverged)
        basis.extend(D, operator.product(D.T).T.detach())


class _Basis:
    """An orthonormal basis T S, its products T W = T S A and its projection T S A Sᵀ Tᵀ, with S and W in blocks as they came; T [m, b] and
    the projection on the host.

    A rotation of all blocks, or one copy of them, would cost as much as a product on a million weights.
    """

    def __init__(self, S: Tensor, W: Tensor) -> None:
        self._blocks: list[tuple[Tensor, Tensor, Array]] = []
        self._projection = np.zeros((0, 0))
        self._add(*_orthonormalising(S, W))

    def ritz(self) -> tuple[Array, Array, bool]:
        """(values [m] descending, C [m, m] with Ritz vectors C T S, whether it failed)."""
        if not np.isfinite(self._projection).all():
            return np.zeros(0), np.zeros((0, 0)), True
        # LAPACK itself: numpy's wrappers would be a tenth of a warm solve.
        values, Y, failed = lapack.dsyevd(self._projection)
        return values[::-1], Y.T[::-1], bool(failed)

    def combined(self, C: Array) -> tuple[Tensor, Tensor]:
        """(C T S, C T W) for C [q, m]."""
        X = AX = None
        start = 0
        for S, W, T in self._blocks:
            part = to_device(C[:, start : start + len(T)] @ T, S)
            X, AX = (part @ S, part @ W) if X is None or AX is None else (X.addmm_(part, S), AX.addmm_(part, W))
            start += len(T)
        assert X is not None
        assert AX is not None
        return X, AX

    def extend(self, D: Tensor, W: Tensor) -> None:
        """Further orthonormal rows, with their products."""
        self._add(D, W, np.eye(len(D)))

    def restart(self, values: Array, C: Array, keep: int) -> None:
        """The span of the first Ritz vectors alone."""
        S, W = self.combined(C[:keep])
        self._blocks, self._projection = [(S, W, np.eye(len(S)))], np.diag(values[:keep])

    def complement(self, D: Tensor) -> Tensor:
        """An orthonormal basis, in rows, of the part of D's rows outside; rows without one are dropped."""
        info = torch.finfo(D.dtype)
        D = D / torch.linalg.vector_norm(D, dim=1, keepdim=True).clamp(min=info.tiny)
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            for S, _, T in self._blocks:
                D = torch.addmm(D, (D @ S.T) @ to_device(T.T @ T, S), S, alpha=-1.0)
            sizes, Q = np.linalg.eigh(host(D @ D.T))
            keep = sizes > 1e3 * info.eps
            D = to_device((Q[:, keep] / np.sqrt(sizes[keep])).T, D) @ D
        return D

    def _add(self, S: Tensor, W: Tensor, T: Array) -> None:
        before = len(self._projection)
        grown = np.zeros((before + len(T), before + len(T)))
        grown[:before, :before] = self._projection
        start = 0
        for other, _, U in self._blocks:
            grown[start : start + len(U), before:] = U @ host(other @ W.T) @ T.T
            start += len(U)
        grown[before:, :before] = grown[:before, before:].T
        own = T @ host(S @ W.T) @ T.T
        grown[before:, before:] = 0.5 * (own + own.T)
        self._blocks.append((S, W, T))
        self._projection = grown


def _orthonormalising(S: Tensor, W: Tensor, again: bool = False) -> tuple[Tensor, Tensor, Array]:
    """(S, W, T [m, b]) with T S orthonormal, for rows `W = S A`; T is NaN where they are not finite.

    The rows of S may have any length; dependent ones (to about 1e-6 in float64) are dropped, which may replace S and W by combinations.
    """
    b, overlap = len(S), host(S @ S.T)
    if not np.isfinite(overlap).all():
        return S, W, np.full((b, b), np.nan)
    squares = np.diagonal(overlap)
    L, failed = lapack.dpotrf(overlap, lower=1)
    if not failed and (np.diagonal(L) ** 2 > 0.01 * squares).all():  # rows well apart: the common case
        return S, W, lapack.dtrtri(L, lower=1)[0]  # T(SSᵀ)Tᵀ = I
    unit = np.divide(1.0, np.sqrt(squares), out=np.zeros(b), where=squares > 0)
    sizes, Q = np.linalg.eigh(unit[:, None] * overlap * unit)
    keep = sizes > 1e4 * torch.finfo(S.dtype).eps
    T = (unit[:, None] * Q[:, keep] / np.sqrt(sizes[keep])).T
    if again or not keep.any():  # or nothing but zeros
        return S, W, T
    # Nearly dependent rows: orthogonality has lost digits in proportion; a second round on what the first gave restores them.
    first = to_device(T, S)
    return _orthonormalising(first @ S, first @ W, again=True)
