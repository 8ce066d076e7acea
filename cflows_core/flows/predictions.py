"""What a central flow predicts of the oscillating optimizer's time averages.

The covariance is given by its P-orthonormal eigenvectors `v_i` (modes [p, k]) and eigenvalues `x_i` (variances [k]): Σ = Σ_i x_i v_i v_iᵀ.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def loss(value: float, threshold: float, variances: Tensor, swing: float = 1.0) -> float:
    """E[L(w_t)] ≈ L + ½⟨H, Σ_w⟩ = L + ½ c Σ x_i / swing², because H v = c P̃ v for all v in Σ's range ([CF] eq. 23: L + tr Σ/η).

    swing: how many times as far as the iterate the gradient point swings, whose covariance Σ is (`Optimizer.swing`).
    """
    return value + 0.5 * threshold * float(variances.sum()) / swing**2


def squared_gradients(gradient: Tensor, curvatures: Tensor, variances: Tensor) -> Tensor:
    """E[∇L(w_t)²] ≈ ∇L² + diag(HΣH) [p], coordinate by coordinate, with curvatures `H v_i` [p, k] ([CF] eq. 33; its sum: eq. 26)."""
    return gradient * gradient + oscillation_squares(curvatures, variances)


def oscillation_squares(curvatures: Tensor, variances: Tensor) -> Tensor:
    """diag(HΣH) [p]: what the oscillations add to each coordinate's squared gradient ([CF] eq. 32)."""
    return (curvatures * curvatures) @ variances


def weight_variances(modes: Tensor, variances: Tensor) -> Tensor:
    """Eigenvalues of Σ itself [k], weights², descending: the papers' σ²."""
    if not len(variances):
        return variances
    scaled = modes * variances.clamp_min(0).sqrt()
    return torch.linalg.eigvalsh(scaled.T @ scaled).flip(0)


def expectation(f: Callable[[Tensor], Tensor], w: Tensor, modes: Tensor, variances: Tensor) -> Tensor:
    """E[f(w_t)] ≈ f + ½⟨∇²f, Σ⟩ for any f of the weights (network outputs, say), of any shape.

    Second differences over one standard deviation each way, ½Σ_i (f(w + s_i) + f(w − s_i) − 2f(w)), s_i = √x_i v_i: exact for quadratic f.
    """
    centre = f(w)
    total = torch.zeros_like(centre)
    for step in (modes * variances.clamp_min(0).sqrt()).T:
        total += 0.5 * (f(w + step) + f(w - step) - 2 * centre)
    return centre + total
