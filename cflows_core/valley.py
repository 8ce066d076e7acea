"""The plane in which a run is seen as motion through a valley: across it the top eigenvector, along it the direction of slow motion ([CF]
Fig. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Valley:
    """An orthonormal pair of directions, axes [p, 2], through origin [p], fixed at a step.

    axes[:, 0]: the top eigenvector. axes[:, 1]: the stable motion there, without its components along all tracked modes.
    """

    origin: Tensor
    axes: Tensor
    step: int

    @classmethod
    def at(cls, origin: Tensor, modes: Tensor, velocity: Tensor, step: int) -> Valley:
        """From the eigenvectors at the edge, modes [p, k] with the top one first, and the stable velocity [p]."""
        basis = torch.linalg.qr(modes)[0]
        across = basis[:, 0] if modes.shape[1] else _other(velocity)
        along = velocity - basis @ (basis.T @ velocity)
        norm = along.norm()
        along = along / norm if float(norm) > 0 else _other(across)
        return cls(origin, torch.stack([across, along], dim=1), step)

    def coordinates(self, w: Tensor) -> np.ndarray:
        """Position of a point [2]."""
        return (self.axes.T @ (w - self.origin)).cpu().numpy().astype(float)

    def project(self, vector: Tensor) -> np.ndarray:
        """Components of a direction [2]."""
        return (self.axes.T @ vector).cpu().numpy().astype(float)

    def covariance(self, modes: Tensor, variances: Tensor) -> np.ndarray:
        """Entries 11, 12, 22 of Σ = modes diag(variances) modesᵀ in the plane [3]."""
        seen = self.axes.T @ modes
        sigma = ((seen * variances) @ seen.T).cpu().numpy().astype(float)
        return np.array([sigma[0, 0], sigma[0, 1], sigma[1, 1]])


def _other(vector: Tensor) -> Tensor:
    """Some unit vector orthogonal to `vector`."""
    unit = torch.zeros_like(vector)
    unit[int(vector.abs().argmin())] = 1.0
    norm = float(vector @ vector)
    unit = unit - vector * (vector @ unit) / norm if norm > 0 else unit
    return unit / unit.norm()
