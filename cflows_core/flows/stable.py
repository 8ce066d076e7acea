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
    """dw/dt = −P̃⁻¹(c_m m + c_g ∇L), dm/dt = (1 − β₁)(∇L − m), dν/dt = κ₂(sq(∇L) − ν), ∇L at the gradient point (math.md 3).

    By Euler steps that stay stable: max(4, ⌈4 λ_max/c⌉) a unit of time.
    """

    name = "stable"
    state_type = StableState

    def init(self, start: Start) -> StableState:
        return self._measured(start.state, self.eigen_init(start.state.w))

    def step(self, state: StableState) -> StableState:
        ratio = float(state.values[0]) / self.optimizer.threshold
        if ratio > REGION:
            reason = f"The {self.name} flow stopped: its top eigenvalue passed {REGION:g} times the edge, where the optimizer never goes."
            return replace(state, stopped=reason)
        substeps = max(4, math.ceil(4 * self.stiffness(ratio)))
        point = self.optimizer.flow(state.point, self.direction(state.point, state.gradient), 1 / substeps)
        for _ in range(substeps - 1):
            gradient = self.objective.grad(self.optimizer.gradient_point(point))
            point = self.optimizer.flow(point, self.direction(point, gradient), 1 / substeps)
        after = self._measured(point, state.eigen)
        if not math.isfinite(after.loss):
            return replace(state, stopped=f"The {self.name} flow stopped: its loss is no longer a finite number.")
        return after

    def direction(self, point: State, gradient: Tensor) -> Tensor:
        """What takes the gradient's place in the motion, [p]."""
        return gradient

    def stiffness(self, ratio: float) -> float:
        """How many times as fast as at the edge the fastest mode contracts, where its eigenvalue is `ratio` times c."""
        return ratio

    def _measured(self, point: State, eigen: EigenState) -> StableState:
        measured = self.measure(point, eigen, n_max=min(SHOWN, self.options.n_eigs))
        return StableState(point, measured.loss, measured.gradient, measured.eigen, measured.values)

    def series(self, state: StableState) -> dict[str, Value]:
        return {
            "loss": state.loss,
            "grad_norm_sq": float(state.gradient @ state.gradient),
            "effective_eigs": padded(state.values, self.options.n_eigs),
        } | self.adaptive_series(state.point)
