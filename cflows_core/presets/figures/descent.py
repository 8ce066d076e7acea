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
_HIGH = "Before the first spike, near step 290, sharpness is at 1.6 times the edge; after it two modes stay there."
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
    Preset("fig-13", "Gradient descent on a Transformer", _FIGURES, "TODO.", _TRANSFORMER),
    Preset("fig-23", "Gradient descent on a CNN", _FIGURES, _HIGH, _CNN),
    Preset(
        "fig-38",
        "Gradient descent with kinks",
        _FIGURES,
        "TODO.",
        _CNN.replace(activation="gelu_relu", activation_mix=1.0, flows=["discrete", "central"]),
    ),
)
