"""Figures 1 to 13, 23, 38 and 39 of [CF]: gradient descent."""

from __future__ import annotations

from typing import Any

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_FIGURES = "Figures of [CF]"
_COMMON: dict[str, Any] = {"activation": "gelu", "flows": ["discrete", "stable", "central"], "n_eigs": 4, "threads": 1}
_VIT = RunConfig(architecture="vit", width=8, depth=1, n_train=100, lr=0.07, warm_start=40, steps=640, observe=[], **_COMMON)
_CNN = RunConfig(architecture="cnn", width=4, n_train=100, lr=0.2, warm_start=0, steps=600, observe=["outputs"], **_COMMON)
_TYPICAL = "Sharpness passes 2/η at step 93, the loss jumps up at step 152; then one mode stays at the edge, and a second from step 260 on."
_HIGH = "Sharpness is at 1.6 times the edge when the first spike comes, at step 298; after it two modes stay at the edge."
_LATE = "Sharpness overshoots to 1.34 times the edge before a spike at step 184 brings it down; a second mode joins at step 278."
_THROWN = "At step 120, from a sharpness of 2.3 times the edge, a spike throws the optimizer off the central flow for good."
_KINKS = "At the edge from step 199 on; by step 600 the central flow is off by 8.5 per cent of the path, ten times as much as with GeLU."
_TRANSFORMER = RunConfig(
    dataset="sorting",
    architecture="transformer",
    width=8,
    depth=1,
    n_train=64,
    head_scale=0.2,
    lr=0.15,
    warm_start=60,
    steps=380,
    observe=[],
    **_COMMON,
)

DESCENT: tuple[Preset, ...] = (
    Preset("fig-5", "A typical trajectory of gradient descent", _FIGURES, _TYPICAL, _VIT),
    Preset("fig-13", "Gradient descent on a Transformer", _FIGURES, _LATE, _TRANSFORMER),
    Preset("fig-23", "Gradient descent on a CNN", _FIGURES, _HIGH, _CNN),
    Preset(
        "fig-38",
        "Gradient descent with kinks",
        _FIGURES,
        _KINKS,
        _CNN.replace(activation="gelu_relu", activation_mix=1.0, flows=["discrete", "central"]),
    ),
    Preset("fig-39", "Gradient descent thrown off by a spike", _FIGURES, _THROWN, _CNN.replace(lr=0.4, flows=["discrete", "central"])),
)
