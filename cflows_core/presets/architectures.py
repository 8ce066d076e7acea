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
    _preset("mlp", "ce", 0.3, 190, "MLP, cross-entropy", "x"),
    _preset("cnn", "ce", 0.1, 560, "CNN, cross-entropy", "x"),
    _preset("resnet", "mse", 0.05, 115, "ResNet, squared error", "x"),
    _preset("resnet", "ce", 0.02, 200, "ResNet, cross-entropy", "x"),
    _preset("vit", "mse", 0.05, 130, "ViT, squared error", "x"),
    _preset("vit", "ce", 0.02, 275, "ViT, cross-entropy", "x"),
    _preset("lstm", "mse", 0.3, 235, "LSTM, squared error", "x"),
    _preset("lstm", "ce", 1.0, 110, "LSTM, cross-entropy", "x"),
    _preset("transformer", "mse", 0.1, 105, "Transformer, squared error", "x"),
    _preset("transformer", "ce", 0.05, 170, "Transformer, cross-entropy", "x"),
    _preset("mamba", "mse", 0.4, 75, "Mamba, squared error", "x", head_scale=0.2),
    _preset("mamba", "ce", 0.1, 200, "Mamba, cross-entropy", "x", head_scale=0.5),
)

# One of each model and loss, in their order.
SEVEN = ("digits-mlp", "mlp-ce", "digits-cnn", *(preset.name for preset in ARCHITECTURES[1:]))
