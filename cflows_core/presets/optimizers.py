"""The other eight optimizers on the digits MLP."""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_MOMENTUM, _ADAPTIVE, _BOTH = "Momentum", "Adaptive step sizes", "Adaptive step sizes with momentum"

OPTIMIZERS: tuple[Preset, ...] = (
    Preset(
        "heavy-ball",
        "Heavy ball: the edge at 38/η",
        _MOMENTUM,
        "The edge is nineteen times higher than gradient descent's; the eigenvalue touches it near step 60 and then stays a tenth below.",
        RunConfig(optimizer="heavy_ball", lr=4.0, n_train=100, head_scale=0.05, warm_start=54, steps=946, n_eigs=4),
    ),
    Preset(
        "heavy-ball-light",
        "Heavy ball with β₁ = 0.7",
        _MOMENTUM,
        "With less momentum the edge is lower, 11.3/η: the eigenvalue passes it by 4 per cent near step 127 and leaves it for good.",
        RunConfig(optimizer="heavy_ball", lr=1.4, beta1=0.7, head_scale=0.05, warm_start=90, steps=910, n_eigs=4),
    ),
    Preset(
        "nesterov",
        "Nesterov: an overshoot and a spike",
        _MOMENTUM,
        "The eigenvalue climbs to 1.3 times the edge while the oscillation is still growing; the central flow stays at the edge meanwhile.",
        RunConfig(optimizer="nesterov", lr=2.0, head_scale=0.05, warm_start=60, steps=940, n_eigs=4),
    ),
    Preset(
        "nesterov-quiet",
        "Nesterov: past the edge, unnoticed",
        _MOMENTUM,
        "The edge is passed for a hundred steps while the oscillation is too small to see: nothing steers yet, and Σ comes too early.",
        RunConfig(optimizer="nesterov", lr=1.6, head_scale=0.05, warm_start=85, steps=915, n_eigs=4),
    ),
    Preset(
        "scalar-rmsprop",
        "Scalar RMSProp: one step size for all",
        _ADAPTIVE,
        "The step size follows the gradient's norm until η/√ν = 2/S: sharpness and step size keep each other in balance.",
        RunConfig(optimizer="scalar_rmsprop", lr=0.3, warm_start=205, steps=795),
    ),
    Preset(
        "scalar-rmsprop-slow",
        "Scalar RMSProp, smaller η",
        _ADAPTIVE,
        "A smaller η meets the edge later, where the network is sharper; ν then falls with the gradient.",
        RunConfig(optimizer="scalar_rmsprop", lr=0.2, warm_start=285, steps=715),
    ),
    Preset(
        "rmsprop",
        "RMSProp: a step size a weight",
        _ADAPTIVE,
        "The preconditioned Hessian's top eigenvalues come to the edge: two from step 102 on, three from 186, four from 288.",
        RunConfig(optimizer="rmsprop", lr=0.005, warm_start=100, steps=900),
    ),
    Preset(
        "rmsprop-gentle",
        "RMSProp, smaller η",
        _ADAPTIVE,
        "One mode at the edge for a hundred steps, then more: the flows stay together for longer than at the larger step.",
        RunConfig(optimizer="rmsprop", lr=0.003, warm_start=60, steps=940),
    ),
    Preset(
        "scalar-adam",
        "Scalar Adam: waves",
        _BOTH,
        "Momentum delays the answer: eigenvalues pass the edge, a spike throws them back, and they climb again.",
        RunConfig(optimizer="scalar_adam", lr=0.5, head_scale=0.05, warm_start=110, steps=890),
    ),
    Preset(
        "scalar-adam-large",
        "Scalar Adam, larger η",
        _BOTH,
        "Larger steps make the waves steeper; the average over many of them is what the central flow describes.",
        RunConfig(optimizer="scalar_adam", lr=1.0, head_scale=0.05, warm_start=190, steps=810),
    ),
    Preset(
        "scalar-nadam",
        "Scalar NAdam at the edge",
        _BOTH,
        "Three to five modes share the edge from step 210 on, and the loss rises and falls by turns: one step size has to fit them all.",
        RunConfig(optimizer="scalar_nadam", lr=2.0, warm_start=195, steps=805),
    ),
    Preset(
        "scalar-nadam-waves",
        "Scalar NAdam: waves",
        _BOTH,
        "Spikes and recoveries around the edge, with a loss that falls through all of them.",
        RunConfig(optimizer="scalar_nadam", lr=1.0, warm_start=195, steps=805),
    ),
    Preset(
        "adam",
        "Adam at the edge",
        _BOTH,
        "Adam's edge is at 38 for β₁ = 0.9: the eigenvalues climb to it for 300 steps and then stay, while ν keeps falling.",
        RunConfig(optimizer="adam", lr=0.03, warm_start=300, steps=700),
    ),
    Preset(
        "adam-small",
        "Adam, smaller η",
        _BOTH,
        "The same climb, 100 steps later; the central flow with momentum is our own, and lags while the oscillation grows.",
        RunConfig(optimizer="adam", lr=0.01, warm_start=400, steps=800),
    ),
    Preset(
        "nadam",
        "NAdam at the edge",
        _BOTH,
        "First an overshoot to 1.5 times the edge and one large spike; from then on several modes stay at the edge.",
        RunConfig(optimizer="nadam", lr=0.006, warm_start=300, steps=700),
    ),
    Preset(
        "nadam-large",
        "NAdam, larger η",
        _BOTH,
        "At the edge from step 150 on, with more modes than at the smaller step.",
        RunConfig(optimizer="nadam", lr=0.01, warm_start=150, steps=850),
    ),
)
