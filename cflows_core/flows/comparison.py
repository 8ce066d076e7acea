"""Preconditioners compared: ν with its stationary value, and how fast the loss would fall under each ([CF] Fig. 20, 21)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.flows.base import Flow
from cflows_core.flows.stationary_dual import (
    Product,
    minimal_trace_preconditioner,
    over,
    stationary_nu,
    stationary_preconditioner,
)
from cflows_core.frames import Value
from cflows_core.linalg.eigen import top_eigenpairs_of
from cflows_core.linalg.operator import SymmetricOperator
from cflows_core.optimizers import State


@dataclass(frozen=True)
class Preconditioners:
    """P̄ (35) and P̂ (36) [p], NaN where they were not found to their tolerance, and S/2 [], at one point.

    stationary_factor, minimal_factor [p, r]: their dual solutions, from which the next ones are found.
    """

    stationary: Tensor
    minimal_trace: Tensor
    vanilla: Tensor
    stationary_factor: Tensor
    minimal_factor: Tensor

    @classmethod
    def at(cls, flow: Flow, point: State, gradient: Tensor, start: Preconditioners | None = None) -> Preconditioners:
        """At a point of RMSProp, with ∇L = `gradient` there. Costs tens of gradients."""
        product, lr = partial(flow.objective.hvp, point.w), flow.optimizer.lr_at(point.tau)
        stationary = stationary_preconditioner(product, gradient, lr, start=start and start.stationary_factor)
        minimal = minimal_trace_preconditioner(product, gradient, start=start and start.minimal_factor)
        found = [at.P if at.converged else torch.full_like(at.P, math.nan) for at in (stationary, minimal)]
        return cls(found[0], found[1], vanilla_preconditioner(product, gradient), stationary.factor, minimal.factor)

    def series(self, flow: Flow, point: State, gradient: Tensor) -> dict[str, Value]:
        """ν at a point held against ν̄, and the three speeds there."""
        assert point.nu is not None
        return {
            "nu_stationary_cosine": cosine(point.nu, self.nu(flow, point)),
            "speed_stationary": speed(self.stationary, gradient),
            "speed_minimal_trace": speed(self.minimal_trace, gradient),
            "speed_vanilla": speed(self.vanilla, gradient),
        }

    def nu(self, flow: Flow, point: State) -> Tensor:
        """ν̄ [p]."""
        return stationary_nu(self.stationary, flow.optimizer.lr_at(point.tau))


def speed(P: Tensor, gradient: Tensor) -> float:
    """|∇L|²_{P⁻¹} = Σ_i g_i²/P_i: how fast the loss falls under the gradient flow preconditioned with P ([CF] Fig. 21).

    Args: P [p] or [] ≥ 0; gradient g [p]. Entries with g_i = 0 count as 0; P_i = 0 elsewhere gives inf. Raises CflowsError for other shapes
    or a negative P.
    """
    if gradient.ndim != 1 or P.shape not in (gradient.shape, torch.Size([])):
        raise CflowsError(f"`speed` needs P [p] or [] and a gradient [p], got {list(P.shape)} and {list(gradient.shape)}; flatten both.")
    if bool((P < 0).any()):
        raise CflowsError(f"A preconditioner must not be negative, got {float(P.min()):g}; solve for it with the Hessian of these weights.")
    return float(gradient @ over(gradient, P))


def vanilla_preconditioner(product: Product, like: Tensor, *, tol: float = 1e-6, seed: int = 0) -> Tensor:
    """S/2 []: gradient descent's preconditioner P = (S/2) I at its largest stable learning rate 2/S ([CF] Fig. 21, the baseline).

    Args: product: V [p, k] -> H V; like [p]: a tensor of the weights' dtype and device. S = max(λ_max(H), 0). Raises CflowsError for a
    tolerance out of range.
    """
    operator = SymmetricOperator(product, len(like), like.dtype, like.device)
    return top_eigenpairs_of(operator, 1, tol=tol, seed=seed).values[0].clamp_min(0) / 2


def cosine(nu: Tensor, stationary: Tensor) -> float:
    """⟨ν, ν̄⟩/(|ν||ν̄|) of ν(t) and its stationary value, both [p] ([CF] Fig. 20, left); NaN where one is 0.

    Raises CflowsError for different shapes.
    """
    if nu.shape != stationary.shape or nu.ndim != 1:
        raise CflowsError(
            f"`cosine` compares two tensors [p], got {list(nu.shape)} and {list(stationary.shape)}; the stationary ν is (lr P)²."
        )
    return float(nu @ stationary / (nu.norm() * stationary.norm()))
