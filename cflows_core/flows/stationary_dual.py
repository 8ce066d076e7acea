"""RMSProp's stationary preconditioner at frozen weights, by its semidefinite dual in factored form ([CF] eq. 35, 36; math.md 5).

    P̄ = argmin tr P + |∇L|²_{P⁻¹}/η²   over diagonal P ⪰ 0 with H ⪯ 2P                (35); without the second term P̂ (36)
    its dual: max ⟨Y, H⟩ + (2/η) Σ_i |g_i| √(1 − 2Y_ii)   over Y ⪰ 0 with Y_ii ≤ ½       (ours)

ν̇ = 0 in [CF] eq. 34 reads η²P² = g² + 4P² diag Σ: the dual's optimality with Σ = (η²/2) Y. Y is the oscillation that keeps ν in place.

With `Y = ½WWᵀ` and `s_i = √(1 − 2Y_ii)` each row (w_i, s_i) is a unit vector in R^{r+1}: max-cut in Burer and Monteiro's form, with a
field `b = 2|g|/η` along s and no inequality left. Stationary rows are parallel to their gradients, `((HW)_i, b_i) = 2P_i (w_i, s_i)`, so
that P is half the gradients' length: one formula for (HY)_ii/(2Y_ii) and for |g_i|/(η√(1 − 2Y_ii)), with nothing to divide by.

Optimality is proved afterwards, not assumed: the dual's value is a lower bound, P times max(1, λ_max(P⁻¹H)/2) is feasible, and the gap
between them is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.eigen import Eigenpairs, top_eigenpairs_of
from cflows_core.linalg.operator import SymmetricOperator
from cflows_core.linalg.transfer import Array, host, to_device

Product = Callable[[Tensor], Tensor]

AT_EDGE = 1e-3  # modes with λ > 2(1 − AT_EDGE) count as at the edge: well above what the solver leaves
RANK = 8  # columns to begin with: two more than modes usually at the edge; the certificate tells when they are too few
ROUND = 15  # iterations between two certificates, each of which also renews the scaling
ROUNDS = 40
POWER = 3  # steps (w_i, s_i) ∝ gradient, which bring a random start near where scaling by P makes sense
NULL = 1e-6  # singular values of W below this share of the largest are columns that Y does without
NOISE, KICK = 1e-3, 1e-1  # size of random columns beside a warm start, and of a violated mode that joins W
FULL = 0.03  # W whose singular values all exceed this share of the largest uses every column it has
ROUNDING = 1e3  # tolerances below so many units of rounding are not asked for: 1e-4 in float32
RESIDUAL = 3e-4  # of the certificate's eigenpairs: their values are good to its square, over the gap to the next
SLACK = 1e-3  # without a field, rows with s_i² above this have P_i = 0 (complementarity: P_i s_i = 0)
FLOOR = 1e-6  # P as a share of its mean, below which P⁻¹H is taken with the floor: P̂ may be 0, and each floor adds that little to tr P


@dataclass(frozen=True)
class StationaryPreconditioner:
    """The solution of (35) or (36) with its certificate.

    P [p]: the diagonal; 0 only where neither gradient nor curvature asks for more. factor V [p, r]: `Y = VVᵀ`, the dual solution; Σ is
    (η²/2)Y at rest. values [k] descending and modes [p, k]: `H U = P U diag(values)`, UᵀPU = I, of the largest eigenvalues, the edge
    being 2 (P floored at 1e-6 of its mean). primal: the goal at the feasible P·max(1, values[0]/2); dual: its lower bound. converged: gap
    and values[0]/2 − 1 are within the tolerance. n_products: Hessian-vector products spent.
    """

    P: Tensor
    factor: Tensor
    values: Tensor
    modes: Tensor
    primal: float
    dual: float
    converged: bool
    n_products: int = 0

    @property
    def top(self) -> float:
        """λ_max(P⁻¹H), which the constraint bounds by 2."""
        return float(self.values[0])

    @property
    def gap(self) -> float:
        """(primal − dual)/primal: the optimum is no further away than this; ≥ 0 up to rounding (0 where P = 0)."""
        return (self.primal - self.dual) / self.primal if self.primal > 0 else 0.0

    @property
    def edge_modes(self) -> Tensor:
        """The modes at the edge [p, k], P-orthonormal: the space in which the optimizer oscillates at rest."""
        return self.modes[:, self.values > 2 * (1 - AT_EDGE)]


def stationary_preconditioner(
    product: Product,
    gradient: Tensor,
    lr: float,
    *,
    rank: int = RANK,
    start: Tensor | None = None,
    tol: float = 1e-5,
    seed: int = 0,
) -> StationaryPreconditioner:
    """P̄ = argmin tr P + |∇L|²_{P⁻¹}/η² over diagonal P ⪰ 0 with H ⪯ 2P ([CF] eq. 35).

    Args: `product`: V [p, k] -> H V [p, k], for instance `partial(objective.hvp, w)`; `gradient` ∇L [p], whose dtype and device products
    have; `lr` η > 0 (inf: eq. 36). `rank`: columns of V to begin with; more are added while the certificate fails. `start` [p, r]: an
    earlier answer's `factor`, at nearby weights. `tol`: on the relative duality gap and on λ_max(P⁻¹H)/2 − 1, at least 1e-4 in float32;
    below 1e-6 it cannot be met where P has zeros. `seed`: of the random start; the answer is a function of the arguments.

    L-BFGS works on the host in float64, with about 30 (r+1) p numbers. Not converged: `converged` is False, and gap and values tell by how
    much. Raises CflowsError for arguments out of range and for gradients or products that are not finite.

    >>> H, g = torch.diag(torch.tensor([8.0, 1.0, -1.0]).double()), torch.tensor([1.0, 1.0, 0.5]).double()
    >>> stationary_preconditioner(lambda V: H @ V, g, lr=1.0).P.round(decimals=3)  # max(|g|/η, H/2) where H is diagonal
    tensor([4.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    _check(gradient, lr, rank, start, tol)
    hessian = _Products(product, gradient)
    field = 2 * np.abs(host(gradient))[:, None] / lr
    rng = np.random.default_rng(seed)
    p, rank = len(gradient), min(rank, len(gradient))
    rows = _cold(hessian, field, rank, rng) if start is None else _unit(_widened(math.sqrt(2) * host(start), rank, rng), field)
    tol = max(tol, ROUNDING * torch.finfo(gradient.dtype).eps)
    answer, before, stuck = None, -math.inf, 0
    for _ in range(ROUNDS):
        rows, stationary = _ascend(hessian, field, rows)
        answer = _certified(hessian, field, rows, tol)
        stuck = stuck + 1 if stationary and answer.dual <= before + 0.01 * tol * answer.primal else 0
        if answer.converged or stuck == 2:
            break
        before = answer.dual
        violated = answer.values > 2 * (1 + tol)
        full = _fullness(rows[:, :-1]) > FULL
        if bool(violated.any()) and (stationary or full):
            # A saddle, or too few columns: along the violated modes the goal still rises.
            kick = KICK * math.sqrt(float(answer.P.sum())) * host(answer.modes[:, violated])
            columns = np.concatenate([rows[:, :-1], kick], axis=1)
            width = columns.shape[1] + (rows.shape[1] // 2 if full else 1)
            rows = _unit(_widened(columns, min(width, p + 1), rng), field)
    assert answer is not None
    return replace(answer, n_products=hessian.spent)


def minimal_trace_preconditioner(
    product: Product, like: Tensor, *, rank: int = RANK, start: Tensor | None = None, tol: float = 1e-5, seed: int = 0
) -> StationaryPreconditioner:
    """P̂ = argmin tr P over diagonal P ⪰ 0 with H ⪯ 2P ([CF] eq. 36): P̄ in the limit of large η, and P̄ wherever ∇L = 0.

    Args: `like` [p]: any tensor of the weights' shape, dtype and device; the others as in `stationary_preconditioner`. P̂_i is 0 where H
    needs no more. Raises CflowsError as `stationary_preconditioner` does.
    """
    return stationary_preconditioner(product, torch.zeros_like(like), math.inf, rank=rank, start=start, tol=tol, seed=seed)


class _Products:
    """H W on host arrays, counted and checked."""

    def __init__(self, product: Product, like: Tensor):
        self.product, self.like, self.spent = product, like, 0

    def __call__(self, W: Array) -> Array:
        return host(self.of(to_device(W, self.like)))

    def of(self, V: Tensor) -> Tensor:
        result = self.product(V)
        self.spent += V.shape[1]
        if result.shape != V.shape:
            raise CflowsError(
                f"`product` must return H V of V's shape {list(V.shape)}, got {list(result.shape)}; pass columns as hvp does."
            )
        if not bool(torch.isfinite(result).all()):
            raise CflowsError("`product` must return finite numbers, got NaN or infinite ones; check the loss at these weights.")
        return result


def _ascend(hessian: _Products, field: Array, rows: Array) -> tuple[Array, bool]:
    """Rows [p, r+1] after at most ROUND iterations uphill, and whether they are stationary to rounding.

    By SciPy's L-BFGS on `row_i = normalise(row_i + z_i/√P_i)`: free variables, because normalising keeps the constraint; and scaled by P
    because the Hessian on the spheres is H − 2P, hence P^½(P⁻¹H − 2)P^½, and of P⁻¹H a network has few eigenvalues that are not small.
    """
    slope = _slope(hessian, field, rows)
    # Without a field s = 0 is stationary whatever H wants; where the goal falls along w_i, the row is let go of the sphere's equator.
    held = (field[:, 0] == 0) & (rows[:, -1] ** 2 < SLACK) & ((rows * slope).sum(1) < 0)
    rows = np.where(held[:, None], _unit(0.9 * rows[:, :-1], field), rows)
    size = np.linalg.norm(slope, axis=1, keepdims=True)
    scale = size.sum()
    if scale == 0:
        return rows, True
    root = np.sqrt(scale / np.maximum(size, 1e-3 * scale / len(rows)))

    def moved(z: Array) -> tuple[Array, Array]:
        points = rows + root * z.reshape(rows.shape)
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        return points / lengths, lengths

    def goal(z: Array) -> tuple[float, Array]:
        unit, lengths = moved(z)
        slope = _slope(hessian, field, unit)
        tangent = slope - unit * (unit * slope).sum(1, keepdims=True)
        return -_goal(field, unit, slope) / scale, -(root * tangent / lengths).ravel() / scale

    found = minimize(goal, np.zeros(rows.size), jac=True, method="L-BFGS-B", options={"maxiter": ROUND, "ftol": 1e-15, "gtol": 1e-10})
    unit, _ = moved(found.x)
    unit[:, -1] = np.abs(unit[:, -1])  # never lowers the goal, and s = −1 can be a maximum beside the true one
    return unit, found.nit < ROUND


def _slope(hessian: _Products, field: Array, rows: Array) -> Array:
    """Gradient of the dual's goal in the rows, (HW, b) [p, r+1]; its rows' lengths are 2P at a maximum."""
    return np.concatenate([hessian(rows[:, :-1]), field], axis=1)


def _goal(field: Array, rows: Array, slope: Array) -> float:
    """The dual's goal ½⟨W, HW⟩ + b·s, linear in s and quadratic in W."""
    return float(0.5 * (rows[:, :-1] * slope[:, :-1]).sum() + (field[:, 0] * rows[:, -1]).sum())


def _certified(hessian: _Products, field: Array, rows: Array, tol: float) -> StationaryPreconditioner:
    """P from the rows, the top of P⁻¹H, and bounds on the optimum from both sides."""
    slope = _slope(hessian, field, rows)
    P = 0.5 * np.linalg.norm(slope, axis=1)
    P[(field[:, 0] == 0) & (rows[:, -1] ** 2 > SLACK)] = 0.0
    dual = _goal(field, rows, slope)
    like = hessian.like
    factor = to_device(rows[:, :-1] / math.sqrt(2), like)
    if not P.any():
        none = like.new_zeros(1), like.new_zeros(len(P), 1)
        return StationaryPreconditioner(to_device(P, like), factor, *none, primal=0.0, dual=dual, converged=True)
    lifted = np.maximum(P, FLOOR * P.mean())
    pairs = _top(hessian, to_device(lifted, like), factor)
    excess = max(1.0, float(pairs.values[0]) / 2)
    lifted = excess * lifted
    primal = float(lifted.sum() + (field**2)[:, 0] @ (1 / lifted) / 4)
    answer = StationaryPreconditioner(to_device(P, like), factor, pairs.values, pairs.vectors, primal, dual, pairs.converged)
    return replace(answer, converged=pairs.converged and excess <= 1 + tol and answer.gap <= tol)


def _top(hessian: _Products, P: Tensor, factor: Tensor) -> Eigenpairs:
    """Top eigenpairs of P⁻¹H, one more than Y has rank: at the optimum Y's range is the edge space, from which the solver starts."""
    root = P.rsqrt()[:, None]
    operator = SymmetricOperator(lambda V: root * hessian.of(root * V), len(P), P.dtype, P.device, P.rsqrt())
    singular = torch.linalg.svdvals(factor)
    k = min(int((singular > AT_EDGE * singular[0]).sum()) + 1, len(P))
    return top_eigenpairs_of(operator, k, tol=RESIDUAL, start=operator.from_weights(factor))


def _cold(hessian: _Products, field: Array, rank: int, rng: np.random.Generator) -> Array:
    """Random unit rows [p, rank + 1] after a few power steps."""
    rows = _unit(rng.standard_normal((len(field), rank)) / math.sqrt(2 * rank), field)
    for _ in range(POWER):
        slope = _slope(hessian, field, rows)
        lengths = np.linalg.norm(slope, axis=1, keepdims=True)
        rows = np.where(lengths > 0, slope / np.where(lengths > 0, lengths, 1.0), rows)
    return rows


def _unit(columns: Array, field: Array) -> Array:
    """Unit rows (w_i, s_i) [p, r+1] for W = `columns`; rows already too long are cut, with s_i > 0 where a field asks for it."""
    square = np.minimum((columns**2).sum(1, keepdims=True), 1.0)
    least = np.where(field > 0, 1e-6, 0.0)
    rows = np.concatenate([columns, np.sqrt(np.maximum(1 - square, least))], axis=1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _widened(W: Array, rank: int, rng: np.random.Generator) -> Array:
    """W with the same WWᵀ in as few columns as it needs, and random ones beside up to `rank`, at least one."""
    values, rotation = np.linalg.eigh(W.T @ W)
    W = W @ rotation[:, values > NULL**2 * max(values[-1], np.finfo(float).tiny)]
    return np.concatenate([W, NOISE * rng.standard_normal((len(W), max(rank - W.shape[1], 1)))], axis=1)


def _fullness(W: Array) -> float:
    """Smallest over largest singular value."""
    singular = np.linalg.svd(W, compute_uv=False)
    return float(singular[-1] / singular[0]) if singular[0] > 0 else 0.0


def _check(gradient: Tensor, lr: float, rank: int, start: Tensor | None, tol: float) -> None:
    if gradient.ndim != 1 or not len(gradient):
        raise CflowsError(f"The gradient must be a flat tensor [p], got {list(gradient.shape)}; flatten it in the weights' order.")
    if not bool(torch.isfinite(gradient).all()):
        raise CflowsError("The gradient must be finite, got NaN or infinite entries; check the loss at these weights.")
    if not lr > 0:
        raise CflowsError(f"`lr` must be positive, got {lr:g}; use the optimizer's own, or inf for the minimal-trace preconditioner.")
    if rank < 1:
        raise CflowsError(f"`rank` must be at least 1, got {rank}; modes at the edge plus 2 is a good choice.")
    if start is not None and (start.ndim != 2 or len(start) != len(gradient) or not bool(torch.isfinite(start).all())):
        raise CflowsError(
            f"`start` must be a finite tensor [{len(gradient)}, r], got {list(start.shape)}; an earlier answer's `factor` fits."
        )
    if not 0 < tol < 1:
        raise CflowsError(f"`tol` must be between 0 and 1, got {tol:g}; 1e-5 is well within what an optimizer can feel.")


def stationary_nu(P: Tensor, lr: float) -> Tensor:
    """ν̄ = (ηP̄)² [p], since P = √ν/η ([CF] 5.3.1; RMSProp's ε is left out)."""
    return (lr * P) ** 2


def over(vector: Tensor, P: Tensor) -> Tensor:
    """P⁻¹ v, with 0/0 = 0."""
    return torch.where(vector == 0, torch.zeros_like(vector), vector / P)
