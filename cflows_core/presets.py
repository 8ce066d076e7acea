"""Named experiments: each a configuration, where it comes from, and one line on what to look at."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """An experiment by name. title and group: as listed. look_at: one line on what to look at."""

    name: str
    title: str
    group: str
    look_at: str
    config: RunConfig

    def available(self) -> str:
        """ "" if it can run here, else one sentence on what is missing."""
        if self.config.dataset != "cifar10":
            return ""
        from cflows_core.problems.datasets import find_cifar10

        found = find_cifar10() is not None
        return "" if found else "This preset needs CIFAR-10, which was not found: set CFLOWS_DATA_DIR to the folder of its binary files."


def _registry(*presets: Preset) -> dict[str, Preset]:
    return {preset.name: preset for preset in presets}


_EDGE, _BREAKS = "At the edge", "Off the edge, and where it breaks"
_MOMENTUM, _ADAPTIVE, _BOTH = "Momentum", "Adaptive step sizes", "Adaptive step sizes with momentum"

# The first is the default. Warm starts end where the optimizer oscillates, so that rods have something to follow.
PRESETS: dict[str, Preset] = _registry(
    Preset(
        "digits-mlp",
        "Digits, MLP: one mode, then two",
        _EDGE,
        "One eigenvalue sits at the edge from step 100 on; near step 200 a second joins and Σ has rank 2.",
        RunConfig(lr=0.25, warm_start=100, steps=4900, n_eigs=3),
    ),
    Preset(
        "digits-mlp-many",
        "Digits, MLP: one, two and three modes",
        _EDGE,
        "Modes join one after another: near step 180 a second, near step 200 a third; Σ has rank 3 from then on.",
        RunConfig(lr=0.24, seed=2, warm_start=100, steps=2900, n_eigs=4),
    ),
    Preset(
        "digits-mlp-settling",
        "Digits, MLP: flows that start above the edge",
        _EDGE,
        "At η = 0.3 sharpness stands above 2/η when the flows start: the central flow settles first, then two modes share the edge.",
        RunConfig(lr=0.3, warm_start=240, steps=2760),
    ),
    Preset(
        "digits-mlp-gelu",
        "Digits, GeLU: up to the edge and off it again",
        _EDGE,
        "Sharpness reaches 2/η near step 200, stays for a while and leaves: Σ shrinks to nothing and all flows agree again.",
        RunConfig(activation="gelu", lr=0.2, warm_start=220, steps=1780),
    ),
    Preset(
        "digits-cnn",
        "Digits, CNN: one mode in cycles, then two",
        _EDGE,
        "Sharpness swings around 2/η while the oscillation grows and collapses; the central flow glides where the optimizer circles.",
        RunConfig(architecture="cnn", width=8, lr=0.3, warm_start=50, steps=950, n_eigs=4),
    ),
    Preset(
        "cifar10-mlp",
        "CIFAR-10, MLP, four classes",
        _EDGE,
        "A thousand real photographs: one mode keeps to the edge for 180 steps; near step 260 a second joins and Σ has rank 2.",
        RunConfig(dataset="cifar10", classes=4, n_train=1000, lr=0.03, seed=1, warm_start=75, steps=925, n_eigs=4),
    ),
    Preset(
        "heavy-ball",
        "Heavy ball: the edge at 38/η",
        _MOMENTUM,
        "With β₁ = 0.9 the edge is nineteen times higher than gradient descent's; the eigenvalue touches it and stays just below.",
        RunConfig(optimizer="heavy_ball", lr=4.0, n_train=100, head_scale=0.05, warm_start=54, steps=946, n_eigs=4),
    ),
    Preset(
        "heavy-ball-light",
        "Heavy ball with β₁ = 0.7",
        _MOMENTUM,
        "With less momentum oscillations grow faster and overshoot less: compare the edge, 11.3/η, with the one at β₁ = 0.9.",
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
        "The preconditioned Hessian's top eigenvalues stay at 2, first two of them, then three; look at ν in the last panel.",
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
        "Two modes share the edge for hundreds of steps; the loss stays high, because the single step size fits no direction.",
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
    Preset(
        "digits-sharpening",
        "Digits: progressive sharpening, from step 0",
        _BREAKS,
        "Below the edge all flows are one; the top eigenvalue climbs to 2/η by step 200. Started without a swing, the rod misses it.",
        RunConfig(activation="gelu", lr=0.2, warm_start=0, steps=1000),
    ),
    Preset(
        "digits-cross-entropy",
        "Digits: cross-entropy, which flattens",
        _BREAKS,
        "Sharpness touches 2/η near step 10, then falls for good as the outputs grow sure: all flows are one again.",
        RunConfig(criterion="cross_entropy", lr=0.6, warm_start=0, steps=400),
    ),
    Preset(
        "digits-no-oscillation",
        "Digits: a rod without oscillation",
        _BREAKS,
        "Started before the optimizer oscillates, the rod shrinks and follows the stable flow; the central flow does not need the start.",
        RunConfig(lr=0.25, warm_start=60, steps=1000),
    ),
    Preset(
        "digits-diverges",
        "Digits: far too large a step",
        _BREAKS,
        "Nothing holds an eigenvalue this far above the edge: the loss rises by orders of magnitude and the run says so.",
        RunConfig(lr=2.0, warm_start=0, steps=200),
    ),
)
DEFAULT = next(iter(PRESETS))


def get(name: str) -> Preset:
    """The preset of a name. Raises `ConfigError`, which names close ones."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(PRESETS)}."
        raise ConfigError(f"There is no preset {name!r}: {hint}")
    return PRESETS[name]
