"""The largest algebraic eigenvalues of the effective Hessian `P^{-1} H`, by a warm-started block method (math.md 8).

`top_eigenpairs` answers one question; `track` (in `tracking.py`) follows them along a flow. Both are the block Davidson
method of `ritz.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.operator import HasHvp, Preconditioner, SymmetricOperator, preconditioned_hessian
from cflows_core.linalg.ritz import Eigenpairs, random_block, solve
from cflows_core.linalg.tracking import NEAR, EigenState, next_solve, track
from cflows_core.linalg.transfer import to_device

__all__ = ["NEAR", "EigenState", "Eigenpairs", "next_solve", "top_eigenpairs", "top_eigenpairs_of", "track"]

GUARD = 2


def top_eigenpairs(
    objective: HasHvp,
    w: Tensor,
    k: int,
    preconditioner: Preconditioner = None,
    *,
    tol: float = 1e-6,
    start: Tensor | None = None,
    seed: int = 0,
    max_calls: int = 300,
) -> Eigenpairs:
    """The `k` largest algebraic eigenpairs `H u = λ P u` at the weights `w [p]`.

    Args: `objective` with `hvp(w, V [p, j])`; `preconditioner` `P`: None (identity), a positive number (gradient
    descent: `1/η`) or the positive diagonal `[p]`; `tol` on `‖A v − λ v‖ / max|λ|` with `A = P^{-1/2} H P^{-1/2}`;
    `start [p, j]`: a guess of the eigenvectors, such as an earlier answer's; `seed` of the random start. The answer is
    a function of the arguments. Not converged within `max_calls` block products: `converged` is False and the residuals
    tell.
    Raises CflowsError for arguments out of range.
    """
    p = objective.n_params
    if not isinstance(w, Tensor) or w.shape != (p,):
        given = list(w.shape) if isinstance(w, Tensor) else type(w).__name__
        raise CflowsError(f"The weights must be a flat tensor [{p}], got {given}; flatten them in the objective's order.")
    if start is not None and (start.ndim != 2 or start.shape[0] != p):
        raise CflowsError(f"`start` must hold one vector per column, [{p}, j], got {list(start.shape)}; an earlier answer's `vectors` fit.")
    operator = preconditioned_hessian(objective, w, preconditioner)
    if start is not None:
        start = operator.from_weights(start.to(dtype=operator.dtype, device=operator.device))
    return top_eigenpairs_of(operator, k, tol=tol, start=start, seed=seed, max_calls=max_calls)


def top_eigenpairs_of(
    operator: SymmetricOperator,
    k: int,
    *,
    tol: float = 1e-6,
    start: Tensor | None = None,
    seed: int = 0,
    max_calls: int = 300,
) -> Eigenpairs:
    """`top_eigenpairs` of any symmetric operator; `start [n, j]` in its own (orthonormal) coordinates."""
    n = operator.n
    if not 1 <= k <= n:
        raise CflowsError(f"`k` must be between 1 and the number of weights, {n}, got {k}; the edge of stability rarely needs more than 6.")
    if not 0 < tol < 1:
        raise CflowsError(f"`tol` must be between 0 and 1, got {tol:g}; 1e-6 gives eigenvalues to about 1e-12 of the largest.")
    # Beside the guess always random columns: a guess made of lower eigenvectors would otherwise look converged.
    given = 0 if start is None else min(start.shape[1], k + GUARD)
    fresh = random_block(n, max(k + GUARD - given, GUARD), operator.dtype, operator.device, seed)
    block = fresh if start is None else torch.cat([start.T[:given], fresh])
    before = operator.n_products, operator.n_calls
    ritz = solve(
        operator,
        block,
        k,
        guard=GUARD,
        tol=tol,
        cold=True,
        seed=seed,
        max_calls=max_calls,
        max_basis=max(4 * (k + GUARD) + 16, 48),
    )
    spent = operator.n_products - before[0], operator.n_calls - before[1]
    if not ritz.finite:
        nan = torch.full((k,), torch.nan, dtype=operator.dtype, device=operator.device)
        return Eigenpairs(nan, nan.expand(n, k).clone(), nan.clone(), False, *spent)
    vectors = ritz.vectors[:k].T
    values = to_device(ritz.values[:k], vectors)
    return Eigenpairs(values, operator.to_weights(vectors), to_device(ritz.errors[:k], vectors), ritz.converged, *spent)
