"""Positive semidefinite matrices of low rank, `Σ = Q diag(λ) Qᵀ`, with the rods' update (math.md 6, [RF] App. G)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cflows_core.linalg.transfer import host, to_device


@dataclass(frozen=True)
class LowRank:
    """`Σ = Q diag(eigenvalues) Qᵀ`: `Q [p, r]` orthonormal columns, `eigenvalues [r]` ≥ 0, descending.

    Columns that hold nothing have eigenvalue 0 and are any orthonormal complement. `r` never exceeds `p`. Immutable:
    updates return a new one.
    """

    Q: Tensor
    eigenvalues: Tensor

    @classmethod
    def from_columns(cls, columns: Tensor, rank: int) -> LowRank:
        """The best approximation of `C Cᵀ` of the given rank (at most p), for `columns C [p, c]`.

        Where `c < rank`, the other columns of Q are any orthonormal ones, with eigenvalue 0.
        A rod's first covariance `Σ = ζζᵀ` is `LowRank.from_columns(zeta[:, None], rank=4)`.
        """
        p = columns.shape[0]
        empty = cls(columns.new_zeros(p, min(rank, p)), columns.new_zeros(min(rank, p)))
        return empty.update(0.0, columns)

    @property
    def rank(self) -> int:
        """The number of columns kept, r."""
        return self.Q.shape[1]

    def update(self, decay: float, columns: Tensor, scale: Tensor | None = None) -> LowRank:
        """`decay·Σ + C Cᵀ` for `columns C [p, c]`, truncated to the r largest eigenvalues.

        scale [p]: change of coordinates since Σ was made: `decay·SΣS + C Cᵀ` with `S = diag(scale)` and C in the new ones.

        A rod's substep is `decay = 1 − 2 dt`, `C = √(dt/4) [f₊, f₋]`. Exact when `r ≥ min(p, rank Σ + c)`; otherwise
        what is cut is the error. Negative eigenvalues, which `decay < 0` allows, become 0; those below `eps·λ_max` are
        rounding. Columns keep the sign of the old column at the same place. Non-finite input gives NaN, no exception.
        """
        r = self.rank
        old = self.Q if scale is None else scale[:, None] * self.Q
        basis, R = torch.linalg.qr(torch.cat([old, columns], dim=1))  # [p, q], [q, r + c] with q = min(p, r + c)
        # Small and symmetric indefinite in general: on the host, where LAPACK on 6 x 6 costs less than a launch.
        small = host(R)
        weights = np.concatenate([decay * host(self.eigenvalues), np.ones(columns.shape[1])])
        core = (small * weights) @ small.T
        if not np.isfinite(core).all():
            return LowRank(torch.full_like(self.Q, torch.nan), torch.full_like(self.eigenvalues, torch.nan))
        values, vectors = np.linalg.eigh(0.5 * (core + core.T))
        values, vectors = values[::-1][:r], vectors[:, ::-1][:, :r]
        overlap = np.einsum("qi,qi->i", small[:, :r], vectors)  # old column · new column
        vectors = vectors * np.where(overlap < 0, -1.0, 1.0)
        return LowRank(basis @ to_device(vectors, basis), to_device(np.maximum(values, 0.0), basis))

    def principal(self) -> Tensor:
        """`ζ [p]`, the principal eigenvector times the root of its eigenvalue: `ζζᵀ` is the best rank-one part of Σ."""
        return self.Q[:, 0] * self.eigenvalues[0].clamp(min=0).sqrt()

    def dense(self) -> Tensor:
        """Σ as `[p, p]`: for tests and small p."""
        return (self.Q * self.eigenvalues) @ self.Q.T

    def trace(self) -> Tensor:
        """`tr Σ`, 0-dim."""
        return self.eigenvalues.sum()

    def __matmul__(self, V: Tensor) -> Tensor:
        """`Σ V` for `V [p]` or `[p, k]`, in O(p r k)."""
        coordinates = self.Q.T @ V
        return self.Q @ (self.eigenvalues[:, None] * coordinates if V.ndim == 2 else self.eigenvalues * coordinates)
