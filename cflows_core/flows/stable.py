"""The stable flow: the optimizer's motion without oscillations; gradient flow, for gradient descent ([CF] eq. 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from cflows_core.flows.base import Flow, Start, padded
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.optimizers import State

# Beyond so many times the threshold the flow has left every region that the optimizer can visit, and its cost grows with the eigenvalue.
REGION = 10.0
# Modes shown of a flow that may take any number of them past the edge.
SHOWN = 3


@dataclass(frozen=True)
class StableState:
    """The flow's point with the loss and gradient there, and its tracked eigenvalues of P⁻¹H."""

    point: State
    loss: float
    gradient: Tensor
    eigen: EigenState
    values: Tensor
    stopped: str = ""


class Stable(Flow[StableState]):
    """dw/dt = −P⁻¹∇L, by Euler steps that stay stable: max(4, ⌈4 λ_max/c⌉) a unit of time (math.md 3)."""

    name = "stable"
    state_type = StableState

    def init(self, start: Start) -> StableState:
        loss, gradient = self.objective.loss_and_grad(start.state.w)
        values, eigen = self._eigenvalues(start.state, gradient, self.eigen_init(start.state.w))
        return StableState(start.state, loss, gradient, eigen, values)

    def step(self, state: StableState) -> StableState:
        ratio = float(state.values[0]) / self.optimizer.threshold
        if ratio > REGION:
            reason = f"The stable flow stopped: its top eigenvalue passed {REGION:g} times the edge, where the optimizer never goes."
            return replace(state, stopped=reason)
        substeps = max(4, math.ceil(4 * ratio))
        point, loss, gradient = state.point, state.loss, state.gradient
        for _ in range(substeps):
            point = self.optimizer.step(point, gradient, 1 / substeps)
            loss, gradient = self.objective.loss_and_grad(point.w)
        if not math.isfinite(loss):
            return replace(state, stopped="The stable flow stopped: its loss is no longer a finite number.")
        values, eigen = self._eigenvalues(point, gradient, state.eigen)
        return StableState(point, loss, gradient, eigen, values)

    def _eigenvalues(self, point: State, gradient: Tensor, eigen: EigenState) -> tuple[Tensor, EigenState]:
        values, _, eigen = self.eigenpairs(point, gradient, eigen, n_max=min(SHOWN, self.options.n_eigs))
        return values, eigen

    def series(self, state: StableState) -> dict[str, Value]:
        return {
            "loss": state.loss,
            "grad_norm_sq": float(state.gradient @ state.gradient),
            "effective_eigs": padded(state.values, self.options.n_eigs),
        }
