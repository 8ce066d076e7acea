"""Flows with something left out or put in its place: what they miss shows what it does."""

from __future__ import annotations

import torch
from torch import Tensor

from cflows_core.flows.central import Central, CentralState
from cflows_core.flows.force import Along
from cflows_core.flows.stable import Stable
from cflows_core.linalg.svec import triangle
from cflows_core.optimizers import State


class CentralNoCurvature(Central):
    """The central flow without curvature regularisation: Σ acts on ν alone ([CF] Fig. 16, 22).

    dw/dt = −P⁻¹∇L and dν/dt = κ₂(sq(∇L) + diag(HΣH) − ν) with 0 ⪯ Σ ⊥ 2P(ν) − H ⪰ 0: ∇H is 0 in the motion and in the constraint's
    derivative. For Scalar RMSProp at the edge it is dw/dt = −(2/S(w))∇L. Without an adaptive ν nothing would hold the edge.
    """

    name = "central_no_curvature"

    def bent(self, state: CentralState) -> int:
        return 0

    def force(self, state: CentralState, modes: Tensor, variances: Tensor) -> tuple[Tensor, Along]:
        return torch.zeros_like(state.gradient), state.along

    def third(self, point: State, U: Tensor) -> Tensor:
        return U.new_zeros(len(triangle(U.shape[1])[0]), len(U))


class Modified(Stable):
    """The modified flow of implicit gradient regularisation, dw/dt = −η(∇L + (η/2)H∇L), of gradient descent ([CF] C.1).

    It is right to second order in η, and so below the edge; it does not know of oscillations.
    """

    name = "modified"

    def direction(self, point: State, gradient: Tensor) -> Tensor:
        curved = self.objective.hvp(point.w, gradient[:, None], gradient)[:, 0]
        return gradient + 0.5 * self.optimizer.lr_at(point.tau) * curved

    def stiffness(self, ratio: float) -> float:
        return 2 * ratio * (1 + ratio)  # ηλ(1 + ηλ/2) with ηλ = 2·ratio
