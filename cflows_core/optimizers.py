"""Optimizers as one update rule: what the discrete map, the stable, the central and the rod field all derive from.

    w_{t+1} = w_t − P⁻¹ d_t          momentum kind: the direction d;  preconditioner kind: the diagonal P

Gradient descent is the pair (no momentum, identity preconditioner): `d = ∇L(w)`, `P = 1/η`. State in, state out: an `Optimizer` holds
parameters only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.config import OPTIMIZER_NAMES, RunConfig
from cflows_core.errors import ConfigError


@dataclass(frozen=True)
class State:
    """A point of the optimizer's phase space.

    w: weights [p]. tau: optimizer time in steps; t on iterates, real in the flows.
    """

    w: Tensor
    tau: float = 0.0


class Optimizer:
    """One of the discrete optimizers.

    name: "gd". lr: step size η > 0. Raises `ConfigError` for an unknown name or a step size that is not positive.

    >>> Optimizer("gd", lr=0.1).threshold
    2.0
    """

    def __init__(self, name: str = "gd", *, lr: float):
        if name not in OPTIMIZER_NAMES:
            raise ConfigError(f"`optimizer` must be one of {', '.join(OPTIMIZER_NAMES)}, got {name!r}.")
        self.name, self.lr = name, float(RunConfig.check("lr", lr))

    @property
    def threshold(self) -> float:
        """c: oscillation sets in along modes of P⁻¹H whose eigenvalue exceeds it ([RF] Table 2)."""
        return 2.0

    def preconditioner(self, state: State) -> Tensor:
        """P at the state: a scalar tensor, or the diagonal [p]."""
        return torch.full((), 1.0 / self.lr, dtype=state.w.dtype, device=state.w.device)

    def velocity(self, state: State, gradient: Tensor) -> Tensor:
        """dw/dt = −P⁻¹ d, [p]; over one step also the discrete optimizer's displacement ([CF] eq. 6)."""
        return -gradient / self.preconditioner(state)

    def step(self, state: State, gradient: Tensor, dt: float = 1.0) -> State:
        """One Euler step of the stable flow; with dt = 1 the discrete optimizer's own step ([CF] eq. 1)."""
        return replace(state, w=state.w + dt * self.velocity(state, gradient), tau=state.tau + dt)
