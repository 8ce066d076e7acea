"""Small losses with closed-form answers, as functions of flat weights [p]; for tests, the self-check and lessons.

Each has `loss(w)` for `Objective.from_function(toy.loss, toy.n_params)` and the formulas to compare with; it takes many points at once,
w [..., p] -> [...]. η is the learning rate, and one unit of time is one step of gradient descent. After [RF] C.3 and [CF] section 3, where
marked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """A loss of a few weights: `loss(w)` for w [..., n_params] -> [...], differentiable three times."""

    @property
    def n_params(self) -> int: ...

    def loss(self, w: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Linear:
    """L(w) = ⟨a, w⟩, a [p]: no curvature, so nothing oscillates ([RF] C.3)."""

    a: Tensor

    @property
    def n_params(self) -> int:
        return len(self.a)

    def loss(self, w: Tensor) -> Tensor:
        return w @ self.a.to(w.device, w.dtype)

    def velocity(self, lr: float) -> Tensor:
        """−η a [p]: the step of gradient descent and the velocity of every flow."""
        return -lr * self.a

    def rod_half_difference(self, lr: float) -> Tensor:
        """ζ* = η a / 2 [p], up to sign: at rest the rod is half a step long to either side."""
        return lr * self.a / 2


@dataclass(frozen=True)
class Quadratic:
    """L(w) = ½ wᵀ A w, A [p, p] symmetric: the edge of stability is a wall, since the sharpness cannot change."""

    A: Tensor

    @property
    def n_params(self) -> int:
        return len(self.A)

    def loss(self, w: Tensor) -> Tensor:
        return 0.5 * (w * (w @ self.A.to(w.device, w.dtype))).sum(-1)

    def sharpness(self) -> float:
        """λ_max(A)."""
        return float(torch.linalg.eigvalsh(self.A)[-1])

    def critical_lr(self) -> float:
        """2/λ_max: gradient descent converges, and a rod decays, for smaller η alone (A positive definite)."""
        return 2 / self.sharpness()

    def gradient_descent(self, w0: Tensor, lr: float, steps: int) -> Tensor:
        """(I − ηA)^steps w₀, [p]."""
        values, vectors = torch.linalg.eigh(self.A)
        return vectors @ ((1 - lr * values) ** steps * (vectors.T @ w0))

    def gradient_flow(self, w0: Tensor, lr: float, time: float) -> Tensor:
        """exp(−ηA time) w₀, [p]."""
        values, vectors = torch.linalg.eigh(self.A)
        return vectors @ (torch.exp(-lr * time * values) * (vectors.T @ w0))


@dataclass(frozen=True)
class Quartic:
    """L(x) = ½ S₀ x² − ¼ γ x⁴, p = 1, gradient S₀ x − γ x³: past the edge there is a 2-cycle ([RF] C.3).

    The sharpness S₀ − 3γx² falls away from 0, which is what stops the oscillation from growing. S₀, γ > 0.
    """

    S0: float
    gamma: float
    n_params: int = 1

    def loss(self, w: Tensor) -> Tensor:
        square = w.square().sum(-1)
        return 0.5 * self.S0 * square - 0.25 * self.gamma * square**2

    def sharpness(self, x: float) -> float:
        """L″(x) = S₀ − 3γx²."""
        return self.S0 - 3 * self.gamma * x**2

    def two_cycle(self, lr: float) -> float:
        """x* = sqrt((S₀ − 2/η)/γ): gradient descent alternates between ±x*, a rod has half-length x*; 0 if S₀ ≤ 2/η."""
        return math.sqrt(max(0.0, self.S0 - 2 / lr) / self.gamma)

    def two_cycle_multiplier(self, lr: float) -> float:
        """(2ηS₀ − 5)²: by what two steps multiply a distance to the 2-cycle; stable for 2/η < S₀ < 3/η."""
        return (2 * lr * self.S0 - 5) ** 2


@dataclass(frozen=True)
class Valley:
    """L(x, u) = (s₀ + ⟨a, u⟩) V(x) + ½ h |u − u*|², w = (x, u), u, a, u* [d]: a valley whose walls V steepen along a.

    V = ½x² by default; with a bend γ > 0 the walls bend over, V = log(1 + γx²)/(2γ), so that a large swing is held. Both have the same
    first three derivatives on the floor, and so the same flows there.

    With d = 1 (p = 2) the flow reaches the edge and rests there; with d ≥ 2 it then slides along it. On its floor x = 0
    the Hessian is diag(s₀ + ⟨a, u⟩, h, …, h), and x stays 0 in every flow, so gradient flow and the central flow with
    one critical eigenvalue are known in closed form ([CF] eq. 13 to 15). They hold while the wall is the steepest
    direction, s₀ + ⟨a, u⟩ > h > 0. Gradient descent itself stays near them only while the drift is slow: without a bend no higher term
    holds a large oscillation, which then diverges.
    """

    s0: float
    a: Tensor
    h: float
    target: Tensor
    bend: float = 0.0

    @property
    def n_params(self) -> int:
        return 1 + len(self.a)

    def loss(self, w: Tensor) -> Tensor:
        x, u = w[..., 0], w[..., 1:]
        wall = torch.log1p(self.bend * x**2) / self.bend if self.bend else x**2
        return 0.5 * (
            (self.s0 + u @ self.a.to(w.device, w.dtype)) * wall + self.h * (u - self.target.to(w.device, w.dtype)).square().sum(-1)
        )

    def sharpness(self, u: Tensor) -> float:
        """s₀ + ⟨a, u⟩: the largest eigenvalue of the Hessian at (0, u)."""
        return self.s0 + float(self.a @ u)

    def gradient_flow(self, u0: Tensor, lr: float, time: float) -> Tensor:
        """u* + (u₀ − u*) exp(−ηh time), [d]."""
        return self.target + (u0 - self.target) * math.exp(-lr * self.h * time)

    def time_to_edge(self, u0: Tensor, lr: float) -> float:
        """When the gradient flow from u₀ reaches sharpness 2/η: 0 if it is there already, infinity if it never is."""
        start, end, edge = self.sharpness(u0), self.sharpness(self.target), 2 / lr
        if start >= edge:
            return 0.0
        return math.inf if end <= edge else math.log((end - start) / (end - edge)) / (lr * self.h)

    def central_flow(self, u0: Tensor, lr: float, time: float) -> Tensor:
        """u(time) [d] from u₀ at or below the edge: gradient flow, then projected on s₀ + ⟨a, u⟩ = 2/η (eq. 15)."""
        reached = min(time, self.time_to_edge(u0, lr))
        u = self.gradient_flow(u0, lr, reached)
        along = self.a * (self.a @ (u - self.target)) / (self.a @ self.a)
        across = u - self.target - along
        return self.target + along + across * math.exp(-lr * self.h * (time - reached))

    def variance(self, u: Tensor) -> float:
        """σ² = 2⟨∇S, −∇L⟩/|∇S|² = 2h⟨a, u* − u⟩/|a|² (eq. 13), the variance of x at the edge; not below 0."""
        return max(0.0, 2 * self.h * float(self.a @ (self.target - u)) / float(self.a @ self.a))
