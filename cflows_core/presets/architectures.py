"""Seven models with both losses, each on data that it can read: gradient descent at its edge."""

from __future__ import annotations

from typing import Any

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_GROUP = "Seven models, two losses"
_DIGITS = {"n_train": 100, "width": 8, "activation": "gelu"}
_SORTING = {"dataset": "sorting", "n_train": 100, "width": 8}
_MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 4},
    "cnn": {"n_train": 200, "width": 4, "activation": "gelu"},
    "resnet": {**_DIGITS, "head_scale": 0.5},
    "vit": _DIGITS,
    "lstm": _SORTING,
    "transformer": {**_SORTING, "activation": "gelu", "head_scale": 0.2},
    "mamba": {**_SORTING, "n_train": 64, "activation": "silu"},
}


def _preset(architecture: str, loss: str, lr: float, warm_start: int, title: str, look_at: str, **fields: Any) -> Preset:
    """Warm starts end after the first spike: sharpening passes the edge before the oscillation has grown."""
    config = {
        **_MODELS[architecture],
        "architecture": architecture,
        "lr": lr,
        "warm_start": warm_start,
        "steps": 800,
        "n_eigs": 4,
        **fields,
    }
    criterion = {"mse": "mse", "ce": "cross_entropy"}[loss]
    return Preset(f"{architecture}-{loss}", title, _GROUP, look_at, RunConfig(criterion=criterion, **config))


ARCHITECTURES: tuple[Preset, ...] = (
    _preset(
        "mlp",
        "ce",
        0.3,
        190,
        "MLP, cross-entropy",
        "Four units a layer: one mode swings around the edge for hundreds of steps before the outputs grow sure.",
    ),
    _preset(
        "cnn",
        "ce",
        0.1,
        720,
        "CNN, cross-entropy",
        "Sharpening takes 450 steps; then the optimizer stays at the edge in a quiet 2-cycle for as long.",
    ),
    _preset(
        "resnet",
        "mse",
        0.05,
        115,
        "ResNet, squared error",
        "One mode, then two, some per cent above the edge: a fourth-order effect that the rod follows.",
    ),
    _preset(
        "resnet",
        "ce",
        0.02,
        200,
        "ResNet, cross-entropy",
        "A spike at step 183 brings sharpness down from 1.9 times the edge; from then on one mode, then two stay.",
    ),
    _preset(
        "vit",
        "mse",
        0.05,
        130,
        "ViT, squared error",
        "The stable flow leaves for good; the central flow follows the centre of an oscillation of one mode, then two.",
    ),
    _preset(
        "vit",
        "ce",
        0.02,
        275,
        "ViT, cross-entropy",
        "The optimizer rests far above the edge between bursts: the central flow, of third order, lags; the rod does not.",
    ),
    _preset(
        "lstm",
        "mse",
        0.3,
        235,
        "LSTM, squared error",
        "A 2-cycle a little below the edge, held by the fourth order: the rod lies on it, the central flow beside it.",
    ),
    _preset(
        "lstm",
        "ce",
        1.0,
        110,
        "LSTM, cross-entropy",
        "The wildest of the set: bursts every twenty steps, and a stable flow that is gone after twenty.",
    ),
    _preset(
        "transformer",
        "mse",
        0.1,
        150,
        "Transformer, squared error",
        "One mode in waves around the edge; the central flow runs through their middle.",
    ),
    _preset(
        "transformer",
        "ce",
        0.05,
        170,
        "Transformer, cross-entropy",
        "Three spikes, the first from 2.3 times the edge; from step 235 on one mode stays, and its predicted variance is the measured one.",
    ),
    _preset(
        "mamba",
        "mse",
        0.4,
        75,
        "Mamba, squared error",
        "The stable flow sharpens tenfold within 160 steps, the optimizer not at all.",
        head_scale=0.2,
    ),
    _preset(
        "mamba",
        "ce",
        0.1,
        200,
        "Mamba, cross-entropy",
        "Three modes join one after another; without them the stable flow leaves within 90 steps.",
        head_scale=0.5,
    ),
)

# One of each model and loss, in their order.
SEVEN = ("digits-mlp", "mlp-ce", "digits-cnn", *(preset.name for preset in ARCHITECTURES[1:]))
