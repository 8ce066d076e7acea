"""The stable flow: the optimizer's motion without oscillations; gradient flow, for gradient descent ([CF] eq. 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.flows.base import Flow, Start, padded
from cflows_core.flows.chebyshev import chebyshev_stages, stages_for
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.optimizers import State

# Beyond so many times the threshold the flow has left every region that the optimizer can visit, and its cost grows with the eigenvalue.
REGION = 10.0
# The stages suffice for a top eigenvalue that grows to so many times its value within the step.
MARGIN = 1.3
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

    By Runge–Kutta–Chebyshev substeps of second order, each with as many stages as its top eigenvalue asks for.
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
        substeps = self.options.substeps
        stages = stages_for(self.stiffness(MARGIN * max(ratio, 0.0)) / substeps)
        point, gradient, known = state.point, state.gradient, None
        for i in range(substeps):
            if i:  # the last one's gradient comes cheaper with the eigenvalues, those between do not
                gradient = self.objective.grad(self.optimizer.gradient_point(point)) if known is None else known[1]
            point, known = self.moved(point, gradient, stages, 1 / substeps)
        after = self._measured(point, state.eigen, known)
        if not math.isfinite(after.loss):
            return replace(state, stopped=f"The {self.name} flow stopped: its loss is no longer a finite number.")
        return after

    def moved(self, start: State, gradient: Tensor, stages: int, dt: float = 1.0) -> tuple[State, tuple[float, Tensor] | None]:
        """The point a time dt after `start`, where ∇L is `gradient`; and L and ∇L there, if they were needed for its ν.

        (w, m) moves by the stages; ν is solved exactly between them, where sq(∇L) is taken for linear in time: second order as well, stable
        for any κ₂, and never negative.
        """
        point, known = start, None
        first = rates = self._rates(start, gradient)
        moves = older = [torch.zeros_like(rate) for rate in first]
        for stage in chebyshev_stages(stages):
            # Not the points but how far they are from the start: a weight without gradient then stays where it is, to the bit.
            terms = zip(moves, older, rates, first, strict=True)
            moves, older = [stage.before * a + stage.older * b + dt * (stage.rate * f + stage.first * f0) for a, b, f, f0 in terms], moves
            before, m = point, None if start.m is None else start.m + moves[1]
            point = State(start.w + moves[0], start.tau + dt * stage.time, m, before.nu)
            if stage.time == 1 and point.nu is None:  # nothing here needs its gradient
                return point, None
            known = self.objective.loss_and_grad(self.optimizer.gradient_point(point))
            point = self.optimizer.relaxed(point, gradient, known[1], point.tau - before.tau)
            gradient = known[1]
            if stage.time < 1:
                rates = self._rates(point, gradient)
        return point, known

    def _rates(self, point: State, gradient: Tensor) -> list[Tensor]:
        """dw/dt and, with momentum, dm/dt."""
        dw, dm = self.optimizer.displacement(point.m, self.direction(point, gradient), self.optimizer.preconditioner(point))
        return [dw] if dm is None else [dw, dm]

    def direction(self, point: State, gradient: Tensor) -> Tensor:
        """What takes the gradient's place in the motion, [p]."""
        return gradient

    def stiffness(self, ratio: float) -> float:
        """How fast the fastest motion along an eigenvector of P̃⁻¹H is in a unit of time, if its eigenvalue λ is `ratio` ≥ 0 times c.

        The larger root of z² − ((1 − β₁)(1 + λ/2) + (1 + β₁)λ/c) z + (1 − β₁)λ = 0: −z are the eigenvalues in (w, P̃⁻¹m) for every kind of
        momentum; λ, and 1, without; 2 and 1 + β₁ at the edge. Of conjugates the real part: in their disc |1 − z| < 1 all steps are stable.
        """
        b, product = self.optimizer.beta1, (1 - self.optimizer.beta1) * ratio * self.optimizer.threshold
        half = (1 - b + product / 2 + (1 + b) * ratio) / 2
        return half + math.sqrt(max(half * half - product, 0.0))

    def _measured(self, point: State, eigen: EigenState, known: tuple[float, Tensor] | None = None) -> StableState:
        measured = self.measure(point, eigen, n_max=min(SHOWN, self.options.n_eigs), known=known)
        return StableState(point, measured.loss, measured.gradient, measured.eigen, measured.values)

    def series(self, state: StableState) -> dict[str, Value]:
        return {
            "loss": state.loss,
            "grad_norm_sq": float(state.gradient @ state.gradient),
            "effective_eigs": padded(state.values, self.options.n_eigs),
        } | self.adaptive_series(state.point)
