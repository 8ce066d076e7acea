"""Thousands of optimizers of one kind side by side, each with its own η, β₁ or β₂."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.toy import Loss

PARAMETERS = ("lr", "beta1", "beta2")
DIVERGED = 1e6  # times 1 + the size of the start: iterates so far away do not come back


class Batch(Optimizer):
    """n optimizers of one kind, on weights w [n, d]: the update rule is `Optimizer`'s, with parameters [n, 1].

    lr, beta1, beta2: their values [n]; what is left out is the given optimizer's. The kinds without momentum have no β₁, and those with a
    constant preconditioner no β₂. Raises `ConfigError` for a parameter that the kind does not have, or out of its bounds.

    >>> Batch(Optimizer("gd", lr=0.1), lr=[0.1, 0.2, 0.3]).lr.shape
    torch.Size([3, 1])
    """

    def __init__(self, optimizer: Optimizer, **values: Any):
        self.__dict__.update(copy.copy(optimizer).__dict__)
        for name, given in values.items():
            check_has(optimizer, name)
            column = torch.as_tensor(given, dtype=torch.float64).reshape(-1, 1)
            for bound in (column.min(), column.max()):
                RunConfig.check(name, float(bound))
            setattr(self, name, column)
        self.n = max((len(getattr(self, name)) for name in values), default=1)

    def slice(self, part: slice) -> Batch:
        """Some of them."""
        return Batch(self, **{name: getattr(self, name)[part] for name in PARAMETERS if isinstance(getattr(self, name), Tensor)})

    def preconditioner(self, state: State) -> Tensor:
        """P̃, [n, 1] or the diagonals [n, d]."""
        if state.nu is None:
            return torch.as_tensor(1 / self.lr_at(state.tau), dtype=state.w.dtype)
        return super().preconditioner(state)

    def square(self, gradient: Tensor) -> Tensor | None:
        """sq(g): |g|² [n, 1] for the scalar kind, g² [n, d] for the diagonal one."""
        return gradient.square().sum(-1, keepdim=True) if self.kind == "scalar" else super().square(gradient)

    def start(self, w: Tensor, gradient: Tensor) -> State:
        """The states before the first step (`Optimizer.start`), w [n, d]."""
        square = self.square(gradient)
        if square is not None and self.corrects:
            square = torch.where(torch.as_tensor(self.beta2) < 1, torch.zeros_like(square), square)
        return State(w, 0.0, torch.zeros_like(w) if self.momentum != "none" else None, square)

    def _corrections(self, tau: float) -> tuple[Any, Any]:
        if not self.corrects:
            return 1.0, 1.0
        steps = tau + (2 if self.momentum == "dozat" else 1)
        left = torch.as_tensor(self.beta2, dtype=torch.float64) ** (tau + 1)
        return 1 - self.beta1**steps, torch.where(left < 1, 1 - left, torch.ones_like(left))


def check_has(optimizer: Optimizer, name: str) -> None:
    """Raise `ConfigError` for a parameter that an optimizer's kind does not have."""
    has = {"lr": True, "beta1": optimizer.momentum != "none", "beta2": optimizer.adaptive}
    if name not in has:
        raise ConfigError(f"An orbit diagram varies one of {', '.join(PARAMETERS)}, got {name!r}.")
    if not has[name]:
        choice = " or ".join(own for own in has if has[own])
        raise ConfigError(f"`{name}` does nothing in {optimizer.name}, so it cannot be varied: choose {choice}.")


def gradient(loss: Loss, w: Tensor) -> Tensor:
    """∇L at many points, w [..., d] -> [..., d]."""
    leaf = w.detach().requires_grad_()
    with torch.enable_grad():
        value = loss.loss(leaf).sum()
        (found,) = torch.autograd.grad(value, leaf)
    return found


def start_weights(w0: Any, loss: Loss) -> Tensor:
    """w₀ as a tensor [d]. Raises `ConfigError` where it has another number of entries than the loss, or one that is not finite."""
    w0 = torch.as_tensor(w0, dtype=torch.float64).reshape(-1)
    if len(w0) != loss.n_params:
        raise ConfigError(f"A start needs {loss.n_params} number{'s' if loss.n_params > 1 else ''} on this loss, got {len(w0)}.")
    if not all(map(math.isfinite, w0.tolist())):
        raise ConfigError(f"A start needs finite numbers, got {', '.join(f'{value:g}' for value in w0.tolist())}.")
    return w0
