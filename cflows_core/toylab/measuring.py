"""What optimizers and rods do on a toy loss, found by running them: the measured side of every comparison with a closed form."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from cflows_core.flows.base import Options, Start
from cflows_core.flows.rod import Rod, RodState
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.toy import Loss
from cflows_core.toylab.batch import Batch, gradient
from cflows_core.toylab.walk import hessians, iterates, objective

LONG = 400  # steps of a batch that looks for the edge
FINE = 401  # learning rates in it
AROUND = 0.05  # its η are within this share of where the edge is expected
SMALL, GROWN = 1e-8, 1e3  # a swing that begins so small sees the curvature alone, and has grown when it is so many times as large


def rods(loss: Loss, optimizer: Optimizer, one: State, other: State, steps: int) -> list[RodState]:
    """The rod flow from the segment between two phase points, to where it stops at the latest."""

    def middle(a: Tensor | None, b: Tensor | None, sign: int = 1) -> Tensor | None:
        return None if a is None or b is None else (a + sign * b) / 2

    centre = replace(one, w=(one.w + other.w) / 2, m=middle(one.m, other.m), nu=middle(one.nu, other.nu))
    flow = Rod(objective(loss), optimizer, Options(n_eigs=len(one.w)))
    states = [flow.init(Start(centre, centre, (one.w - other.w) / 2, middle(one.m, other.m, -1)))]
    while len(states) <= steps and not states[-1].stopped:
        states.append(flow.step(states[-1]))
    return states


def mirrored(state: State, centre: Tensor) -> State:
    """The other end of a 2-cycle that is symmetric about `centre`."""
    return replace(state, w=2 * centre - state.w, m=None if state.m is None else -state.m)


def bottom(loss: Loss, near: Tensor) -> Tensor | None:
    """The minimum that descent from `near` finds, if H is positive definite there."""

    def value_and_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(w, dtype=torch.float64)
        return float(loss.loss(at)), gradient(loss, at).numpy()

    with np.errstate(all="ignore"):
        found = scipy.optimize.minimize(value_and_gradient, near.numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
    w = torch.tensor(found.x, dtype=torch.float64)
    if not bool(torch.isfinite(w).all()) or not math.isfinite(found.fun) or float(gradient(loss, w).norm()) > 1e-5:
        return None
    H = hessians(loss, w[None])[0]
    return w if bool(torch.isfinite(H).all()) and float(torch.linalg.eigvalsh(H)[0]) > 1e-6 else None


def edge(loss: Loss, optimizer: Optimizer, at: Tensor, expected: float) -> float:
    """The smallest η from which on small swings about the minimum `at` grow; NaN if none is within 5 % of `expected`.

    Many η in one batch: a swing grows if it is larger at the end than half-way, both over a tenth of the steps, or has grown to rest.
    """
    lrs = expected * np.linspace(1 - AROUND, 1 + AROUND, FINE)
    batch = Batch(optimizer, lr=lrs)
    start = SMALL * (1 + at.abs())
    w = (at + start).expand(len(lrs), -1).clone()
    state, sizes = batch.start(w, gradient(loss, w)), []
    for _ in range(LONG):
        before, state = state, batch.step(state, gradient(loss, batch.gradient_point(state)))
        sizes.append((state.w - before.w).norm(dim=1))
    size = torch.stack(sizes).nan_to_num(math.inf, math.inf).numpy()
    tenth = LONG // 10
    late, middle = size[-tenth:].max(0), size[LONG // 2 - tenth : LONG // 2].max(0)
    grows = (late > middle) | (late > GROWN * float(start.norm()))
    return float(lrs[np.argmax(grows)]) if grows.any() and not grows[0] else math.nan


def leaves(loss: Loss, optimizer: Optimizer, begin: State, steps: int, off: float = 1e-4) -> bool:
    """Whether iterates that start `off` (relative) beside a 2-cycle's state are further from it, after so many steps, than at first."""
    moved = replace(begin, w=begin.w * (1 + off))
    path = iterates(loss, optimizer, moved, 2 * (steps // 2))
    if len(path) <= 2 * (steps // 2):
        return True
    size = off * float(begin.w.norm())
    return max(float((state.w - begin.w).norm()) for state in path[-21::2]) > size


def dozat(optimizer: Optimizer) -> Optimizer:
    """Dozat's form of Nesterov's momentum with the same preconditioner: not one of the nine where that is 1/η."""
    optimizer = copy.copy(optimizer)
    optimizer.momentum = "dozat"
    return optimizer
