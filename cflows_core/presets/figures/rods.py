"""Figures of [RF]: rods, an optimizer each, on a CNN of 70 weights.

Warm starts are long, as in [RF] H.2: they end where the optimizer's swing is longer than its drift. Before that the rod, which is the
half-difference of consecutive iterates, lies along the drift and does not know of the swing.
"""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_GROUP = "Figures of [RF]"


def _preset(optimizer: str, criterion: str, lr: float, warm_start: int, title: str, look_at: str, steps: int = 250) -> Preset:
    network = {"architecture": "cnn", "width": 1, "activation": "gelu", "n_train": 200, "criterion": criterion}
    lengths = {"warm_start": warm_start, "steps": steps}
    config = RunConfig(**network, optimizer=optimizer, lr=lr, **lengths, n_eigs=3, observe=[], threads=1)
    return Preset(f"rod-{optimizer.replace('_', '-')}", title, _GROUP, look_at, config)


RODS: tuple[Preset, ...] = (
    _preset(
        "gd",
        "mse",
        0.3,
        800,
        "The rod of gradient descent",
        "In a 2-cycle the rod is four times nearer than the central flow, and a thousand times nearer than the stable one.",
    ),
    _preset(
        "heavy_ball",
        "cross_entropy",
        3.0,
        640,
        "The rod of heavy ball",
        "The rod is as long as the swing within a twentieth, and ends ten times nearer than the stable flow.",
    ),
    _preset(
        "nesterov",
        "cross_entropy",
        1.2,
        600,
        "The rod of Nesterov momentum",
        "Rod and optimizer rest 4 per cent above the threshold, 0.01 apart after 250 steps; the stable flow is 1.8 away.",
    ),
    _preset(
        "scalar_rmsprop",
        "mse",
        0.1,
        500,
        "The rod of Scalar RMSProp",
        "A 2-cycle of one mode: the rod stays within 0.001 of the optimizer, the stable flow is 0.7 away after 250 steps.",
    ),
    _preset(
        "rmsprop",
        "mse",
        0.003,
        600,
        "The rod of RMSProp",
        "After 250 steps rod and central flow are within 0.007 of the optimizer, and the stable flow is 0.77 away.",
    ),
    _preset(
        "scalar_adam",
        "mse",
        0.2,
        912,
        "The rod of Scalar Adam",
        "Between bursts the rod takes the drift for the swing: it follows the stable flow to 1.7 times the threshold, and comes back.",
    ),
    _preset(
        "scalar_nadam",
        "cross_entropy",
        0.2,
        400,
        "The rod of Scalar NAdam",
        "One mode in a 2-cycle: after 250 steps the rod is 0.001 away from the optimizer, and the stable flow 3.",
    ),
    _preset(
        "adam",
        "mse",
        0.02,
        850,
        "The rod of Adam",
        "The rod loses the swing at step 860, follows the stable flow to 1.8 times the threshold, and comes back in one spike.",
    ),
    _preset(
        "nadam",
        "mse",
        0.02,
        700,
        "The rod of NAdam",
        "The rod's waves die down on the threshold: it is 0.003 from the optimizer at the end, the stable flow gone long before.",
        400,
    ),
)
