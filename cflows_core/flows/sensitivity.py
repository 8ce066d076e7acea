"""β: how fast Σ = U X Uᵀ moves the constraint cP̃ − H on the critical space (math.md 4).

    β[X]_ij = u_iᵀ (c Ṗ_A[X] − Ḣ_A[X]) u_j     per unit of time

with A[X] what Σ adds to the optimizer's velocity. Ḣ comes through the weights, by third derivatives; Ṗ through ν. Both as symmetric
positive semidefinite matrices [m, m] on `svec`, m = k(k+1)/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cflows_core.linalg.svec import side, triangle
from cflows_core.optimizers import Optimizer, State


def force_share(optimizer: Optimizer, P: Tensor) -> Tensor:
    """What a force −½∇⟨H,Σ⟩ is multiplied with to move the gradient point: c_g P̃⁻¹, and ηβ₁(1 − β₁) more for look-ahead."""
    share = optimizer.mixture[1] / P
    if optimizer.swing != 1:  # A_x = A_w − ηβ₁A_m, with P̃⁻¹ = η
        share = share + optimizer.beta1 * (1 - optimizer.beta1) / P
    return share


def by_weights(optimizer: Optimizer, P: Tensor, third: Tensor) -> Tensor:
    """−Ḣ_A: ½ ⟨T_ij, (share) T_kl⟩, for `third` T [m, p] as `Objective.third` gives it."""
    rows, columns = triangle(side(len(third)))
    scaled = torch.where(rows == columns, 1.0, math.sqrt(2.0)).to(third)[:, None] * third
    return 0.5 * (scaled * force_share(optimizer, P)) @ scaled.T


def by_preconditioner(optimizer: Optimizer, point: State, U: Tensor, values: Tensor) -> Tensor | None:
    """c Ṗ_A divided by κ₂: c Σ_n D_n (HU)_nk (HU)_nl U_ni U_nj with D = ∂P̃/∂ν and HU = P̃U diag(λ); None without ν.

    √(λ_iλ_jλ_kλ_l) stands for λ_kλ_l, so that it is symmetric and positive semidefinite by construction; at the edge they are equal.
    """
    slope = optimizer.preconditioner_slope(point)
    if slope is None:
        return None
    k, P = U.shape[1], optimizer.preconditioner(point)
    rows, columns = triangle(k)
    scale = torch.where(rows == columns, 1.0, math.sqrt(2.0)).to(U)
    roots = values.clamp_min(0).sqrt()
    if slope.ndim == 0:  # UᵀU = I/P̃
        factor = (scale * (rows == columns).to(U) * roots[rows] * roots[columns])[:, None] * slope.sqrt()
    else:
        factor = (scale * roots[rows] * roots[columns])[:, None] * (U[:, rows] * U[:, columns]).T * (slope.sqrt() * P)
    return optimizer.threshold * factor @ factor.T
