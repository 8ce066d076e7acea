"""Gradient descent in a valley of three weights, with the flows' closed forms beside it: what theory expects, and what happens.

The valley is `toy.Valley` with walls that bend over, so that a large swing is held. It grows steeper on the way to its minimum: a small
step size lets gradient descent get there, a larger one meets the edge of stability before.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from cflows_core.problems.objective import Objective
from cflows_core.problems.toy import Valley

VALLEY = Valley(s0=1.0, a=torch.tensor([1.0, 0.35]), h=0.027, target=torch.tensor([3.0, 1.2]), bend=0.5)
START = (0.3, 1.85, -2.4)  # across the valley, and on its floor
SMALL, LARGE = 0.43, 0.8  # step sizes: the edge lies beyond the minimum, and before it
TIME = 150.0  # of the flows, η times steps
TILT = 1.0  # how far a swing across the valley is drawn to the side


@dataclass(frozen=True)
class Cartoon:
    """Paths on the valley's floor as seen from above, [n, 2] each, the iterates' swing across it drawn to the side.

    edge: [2, 2], two points of the line on which the sharpness is 2/η. beyond: the direction in which it is higher, [2].
    """

    lr: float
    iterates: np.ndarray
    stable: np.ndarray
    central: np.ndarray
    edge: np.ndarray
    beyond: np.ndarray


@functools.cache
def cartoon(lr: float) -> Cartoon:
    """The paths for a step size."""
    objective, w = Objective.from_function(VALLEY.loss, VALLEY.n_params), torch.tensor(START, dtype=torch.float64)
    weights = []
    for _ in range(math.ceil(TIME / lr)):
        weights.append(w)
        w = w - lr * objective.grad(w)
    x, floor = np.split(torch.stack(weights).numpy(), [1], axis=1)
    length = float(VALLEY.a.norm())
    up = (VALLEY.a / length).numpy()
    start, times = torch.tensor(START[1:]), range(len(weights))
    foot, along = up * (2 / lr - VALLEY.s0) / length, 9 * np.array([-up[1], up[0]])
    return Cartoon(
        lr,
        iterates=floor + TILT * x * up,
        stable=np.stack([VALLEY.gradient_flow(start, lr, float(time)).numpy() for time in times]),
        central=np.stack([VALLEY.central_flow(start, lr, float(time)).numpy() for time in times]),
        edge=np.stack([foot - along, foot + along]),
        beyond=up,
    )
