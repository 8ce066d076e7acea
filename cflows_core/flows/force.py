"""½∇⟨H, Σ⟩: the force with which oscillations lower the curvature ([CF] eq. 18), from as few third derivatives as will do.

    ½∇⟨H, Σ⟩ = ½ Σ_a y_a T_aa    for Σ = D diag(y) Dᵀ,    T_aa = ∇(d_aᵀ H d_a)

T_aa along Σ's former eigenvectors comes with their Hessian products for one gradient more (`Objective.expand`). In their basis Σ is
nearly diagonal, and T_aa hardly changes within a step; where that is not so, they are taken anew along Σ's own eigenvectors. Ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cflows_core.linalg.operator import overlap
from cflows_core.linalg.transfer import host, to_device

# What D diag(y) Dᵀ may miss of Σ, in the Frobenius norm of P̃-orthonormal coordinates, as a share of Σ's.
MISSED = 0.1


@dataclass(frozen=True)
class Along:
    """Directions D [p, k], nearly P̃-orthonormal, and T_aa = ∇(d_aᵀ H d_a) [k, p]."""

    directions: Tensor
    thirds: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Along:
        """Along no direction, of weights like these [p]."""
        return cls(like.new_zeros(len(like), 0), like.new_zeros(0, len(like)))


def shares(along: Along, P: Tensor, modes: Tensor, variances: Tensor) -> tuple[Tensor, float]:
    """(y [k], what D diag(y) Dᵀ misses of Σ as a share of it) with y the diagonal of Σ's coordinates in the basis D.

    P: P̃ [] or [p]; modes, variances: Σ's P̃-orthonormal eigenvectors [p, m] and its eigenvalues [m].
    """
    D = along.directions
    both = host(torch.cat([overlap(D, P, D), overlap(D, P, modes)], dim=1))  # one transfer
    k, x = len(both), host(variances)
    G, B = both[:, :k], both[:, k:]
    try:
        C = np.linalg.solve(G, B)
    except np.linalg.LinAlgError:  # a direction of coordinates that nothing moves
        return variances[:0], math.inf
    if not k or not np.isfinite(C).all():
        return variances[:0], math.inf
    y = (C * C) @ x
    missed = x @ x - 2 * y @ ((B * B) @ x) + y @ (G * G) @ y
    return to_device(y, variances), math.sqrt(max(missed, 0.0)) / float(np.linalg.norm(x))


def force(along: Along, P: Tensor, modes: Tensor, variances: Tensor, thirds: Callable[[Tensor], Tensor]) -> tuple[Tensor, Along]:
    """(½∇⟨H, Σ⟩ [p], what it was made of); `thirds`: V [p, k] -> ∇(v_aᵀ H v_a) [k, p], asked where `along` misses too much of Σ."""
    y, missed = shares(along, P, modes, variances)
    if missed > MISSED:
        along, y = Along(modes, thirds(modes)), variances
    return 0.5 * (y @ along.thirds), along
