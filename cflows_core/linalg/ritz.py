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
    tol: float,
    cold: bool,
    seed: int,
    max_calls: int,
    max_basis: int,
    grow: Callable[[Array, int], int] | None = None,
) -> Ritz:
    """The `wanted` largest eigenpairs, from the span of `block [b, n]` on.

    The block's rows may be dependent, zero, and of any length. One product of the whole block, then of the residuals
    of unconverged pairs and of the first guard until all residuals are within `tol` relative to max|λ| (in float32
    never below 30 eps). `cold` waits for the first guard as well. `grow(values, wanted)` may raise `wanted` as values
    become known. Failure is data: `converged`, `finite`.
    """
    n = operator.n
    tol = max(tol, 30 * torch.finfo(operator.dtype).eps)
    if n <= EXACT:
        block = torch.eye(n, dtype=operator.dtype, device=operator.device)
    calls_before = operator.n_calls
    S, W = block, operator.product(block.T).T.detach()
    while True:
        reduced = _rayleigh_ritz(S, W)
        if reduced is None:
            return Ritz(block, np.full(wanted, np.nan), block, np.full(wanted, np.nan), np.nan, wanted, False, finite=False)
        values, S, W, C = reduced
        if grow is not None:
            wanted = grow(values, wanted)
        q = min(wanted + guard, len(values))
        # Only what is looked at is formed: most warm solves end here.
        X, AX, theta = C[:q] @ S, C[:q] @ W, to_device(values[:q], S)
        R = torch.addcmul(AX, X, theta[:, None], value=-1.0)
        norms = host(torch.linalg.vector_norm(R, dim=1))
        scale = float(np.abs(values).max(initial=0.0))
        errors = norms / scale if scale > 0 else norms
        unconverged = [i for i in range(min(wanted, q)) if not errors[i] <= tol]
        guard_open = cold and q > wanted and not errors[wanted] <= max(tol, GUARD_TOL)
        enough = len(values) >= wanted
        done = enough and not unconverged and not guard_open
        if done or len(values) >= n or operator.n_calls - calls_before >= max_calls:
            return Ritz(X, values[:q], R, errors, scale, wanted, enough and not unconverged)
        if len(values) + len(unconverged) + 1 > max_basis:  # thick restart: some Ritz vectors beyond the guards keep most of the speed
            C = C[: wanted + guard + max(0, max_basis - wanted - guard) // 3]
        S, W = C @ S, C @ W
        D = _orthonormal_complement(R[[*unconverged, wanted] if q > wanted else unconverged], S)
        if len(D) == 0 or not enough:  # an invariant subspace that is too small: look elsewhere
            fresh = random_block(n, max(1, wanted + guard - len(values)), S.dtype, S.device, seed + operator.n_calls)
            D = _orthonormal_complement(torch.cat([D, fresh]), S)
        if len(D) == 0:  # nowhere else to look: what is left is rounding
            return Ritz(X, values[:q], R, errors, scale, wanted, enough and not unconverged)
        S, W = torch.cat([S, D]), torch.cat([W, operator.product(D.T).T.detach()])


def _rayleigh_ritz(S: Tensor, W: Tensor) -> tuple[Array, Tensor, Tensor, Tensor] | None:
    """`(values [m] descending, S, W, C [m, b])` for rows `W = S A`: Ritz vectors `C S`, their products `C W`. None: not
    finite.

    The rows of S may have any length; dependent ones (to about 1e-6 in float64) are dropped, which may replace S and
    W by combinations.
    """
    eps = torch.finfo(S.dtype).eps
    for second in (False, True):
        b = len(S)
        both = host(torch.cat([S @ S.T, S @ W.T], dim=1))  # one transfer
        if not np.isfinite(both).all():
            return None
        overlap, projection = both[:, :b], both[:, b:]
        squares = np.diagonal(overlap)
        # LAPACK itself: numpy's wrappers would be a tenth of a warm solve.
        L, failed = lapack.dpotrf(overlap, lower=1)
        if not failed and (np.diagonal(L) ** 2 > 0.01 * squares).all():  # rows well apart: the common case
            T = lapack.dtrtri(L, lower=1)[0].T  # Tᵀ(SSᵀ)T = I
            break
        unit = np.divide(1.0, np.sqrt(squares), out=np.zeros(b), where=squares > 0)
        sizes, Q = np.linalg.eigh(unit[:, None] * overlap * unit)
        keep = sizes > 1e4 * eps
        T = unit[:, None] * Q[:, keep] / np.sqrt(sizes[keep])
        if not keep.any():  # nothing but zeros
            return np.zeros(0), S, W, S.new_zeros(0, b)
        if second:
            break
        # Nearly dependent rows: orthogonality has lost digits in proportion; a second round on what the first gave
        # restores them.
        T = to_device(T.T, S)
        S, W = T @ S, T @ W
    values, Y, failed = lapack.dsyevd(T.T @ (0.5 * (projection + projection.T)) @ T)
    if failed:
        return None
    return values[::-1], S, W, to_device((T @ Y[:, ::-1]).T, S)


def _orthonormal_complement(D: Tensor, S: Tensor) -> Tensor:
    """An orthonormal basis, in rows, of the part of D's rows orthogonal to the orthonormal S; rows without one are dropped."""
    info = torch.finfo(D.dtype)
    D = D / torch.linalg.vector_norm(D, dim=1, keepdim=True).clamp(min=info.tiny)
    for _ in range(2):  # twice is enough (Kahan, Parlett)
        D = D - (D @ S.T) @ S
        sizes, Q = np.linalg.eigh(host(D @ D.T))
        keep = sizes > 1e3 * info.eps
        D = to_device((Q[:, keep] / np.sqrt(sizes[keep])).T, D) @ D
    return D
