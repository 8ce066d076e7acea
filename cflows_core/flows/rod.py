"""The rod flow: centre and extent of the segment between consecutive iterates ([RF] eq. 6, 7).

    dw̄/dt = ½(f₊ + f₋)      dΣ/dt = ¼(f₊f₊ᵀ + f₋f₋ᵀ) − 2Σ      f± = f(w̄ ± ζ),  f(w) = −P⁻¹∇L(w)

with ζ the principal eigenvector of Σ times the root of its eigenvalue. Σ is kept in low rank ([RF] App. G).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.flows.base import Flow, Start, padded
from cflows_core.flows.discrete import DIVERGED
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.linalg.lowrank import LowRank
from cflows_core.optimizers import State


@dataclass(frozen=True)
class RodState:
    """Centre, extent and what is known at the centre and both ends.

    losses [3] and gradients [3, p]: at the centre, at w̄ + ζ and at w̄ − ζ. ceiling: loss beyond which the flow has diverged.
    """

    point: State
    extent: LowRank
    losses: Tensor
    gradients: Tensor
    ceiling: float
    eigen: EigenState
    values: Tensor
    stopped: str = ""


class Rod(Flow[RodState]):
    """Rod flow of gradient descent, by Euler substeps."""

    name = "rod"
    state_type = RodState

    def init(self, start: Start) -> RodState:
        extent = LowRank.from_columns(start.half_difference[:, None], self.options.rod_rank)
        return self._measured(start.state, extent, None, self.eigen_init(start.state.w))

    def step(self, state: RodState) -> RodState:
        dt = 1 / self.options.substeps
        point, extent, gradients = state.point, state.extent, state.gradients
        for i in range(self.options.substeps):
            if i > 0:
                zeta = extent.principal()
                _, gradients = self.objective.losses_and_grads(torch.stack([point.w + zeta, point.w - zeta]))
            velocities = torch.stack([self.optimizer.velocity(point, g) for g in gradients[-2:]])  # f₊, f₋ [2, p], from ζ before the decay
            # Decay and growth are one Euler step: an exponential decay would move the edge by 10 % (math.md 6).
            extent = extent.update(1 - 2 * dt, math.sqrt(dt / 4) * velocities.T)
            point = State(point.w + dt * velocities.mean(0), point.tau + dt)
        after = self._measured(point, extent, state.ceiling, state.eigen)
        if not bool((after.losses <= state.ceiling).all()):
            return replace(state, stopped=f"The rod flow diverged: the loss at its centre or ends rose to {float(after.losses.max()):.3g}.")
        return after

    def _measured(self, point: State, extent: LowRank, ceiling: float | None, eigen: EigenState) -> RodState:
        zeta = extent.principal()
        at = self.measure(point, eigen, beside=torch.stack([point.w + zeta, point.w - zeta]))
        if ceiling is None:
            ceiling = DIVERGED * max(1.0, float(at.losses.max()))
        return RodState(point, extent, at.losses, at.gradients, ceiling, at.eigen, at.values)

    def series(self, state: RodState) -> dict[str, Value]:
        centre, n = state.gradients[0], self.options.n_eigs
        return {
            "loss": float(state.losses[0]),
            "grad_norm_sq": float(centre @ centre),
            "effective_eigs": padded(state.values, n),
            "predicted_loss": float(state.losses[1:].mean()),
            "predicted_grad_norm_sq": float((state.gradients[1:] ** 2).sum(1).mean()),
            "extent": float(state.extent.principal().norm()),
            "extent_eigs": padded(state.extent.eigenvalues, n),
        }
