"""Gradient descent: at the edge, off it, and where the theory breaks."""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_EDGE, _BREAKS = "At the edge", "Off the edge, and where it breaks"

# Warm starts end where the optimizer oscillates, so that rods have something to follow.
EDGE: tuple[Preset, ...] = (
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
)

BREAKS: tuple[Preset, ...] = (
    Preset(
        "digits-sharpening",
        "Digits: progressive sharpening, from step 0",
        _BREAKS,
        "Below the edge all flows are one; the top eigenvalue is at 2/η near step 200, and the rod, started without a swing, misses it.",
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
    Preset(
        "digits-large-step",
        "Digits, MLP: nearly the largest step that trains",
        _BREAKS,
        "Some way above the edge for hundreds of steps: the central flow is off by twice as much of the path as at η = 0.25.",
        RunConfig(lr=0.35, warm_start=100, steps=900),
    ),
    Preset(
        "chebyshev-diverges",
        "Chebyshev polynomial: divergence in mid-run",
        _BREAKS,
        "Hundreds of steps at the edge, then waves that grow, until step 527 ends the run; the central flow goes on.",
        RunConfig(dataset="chebyshev", degree=4, n_train=20, width=4, lr=1.3, warm_start=300, steps=300),
    ),
    Preset(
        "digits-relu",
        "Digits, ReLU: kinks",
        _BREAKS,
        "At 0.97 of the edge the optimizer swings all the same: the rod feels the kinks that hold it there, the central flow does not.",
        RunConfig(activation="relu", lr=0.2, warm_start=220, steps=780),
    ),
    Preset(
        "digits-spike",
        "Digits, GeLU: a spike from 1.4 times the edge",
        _BREAKS,
        "Until the oscillation shows at step 140 the stable flow is nearer by far, and from then on the central flow.",
        RunConfig(activation="gelu", lr=0.3, warm_start=30, steps=470),
    ),
    Preset(
        "rmsprop-forgetful",
        "RMSProp that forgets at once",
        _BREAKS,
        "With β₂ = 0.5 ν swings along with the gradients: the eigenvalue stays at twice the edge, and the central flow is far off.",
        RunConfig(optimizer="rmsprop", lr=0.005, beta2=0.5, warm_start=100, steps=400),
    ),
    Preset(
        "cnn-period-4",
        "CNN: an oscillation of period 4",
        _BREAKS,
        "Until step 560 four points take turns, not two; the rod, made for two, is not far off all the same.",
        RunConfig(
            architecture="cnn",
            width=1,
            activation="gelu",
            criterion="cross_entropy",
            n_train=200,
            lr=0.45,
            warm_start=340,
            steps=260,
        ),
    ),
)
