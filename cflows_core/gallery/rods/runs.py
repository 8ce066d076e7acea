"""The runs that [RF]'s figures are drawn from: each optimizer on a CNN and on an MLP, and at the paper's scale."""

from __future__ import annotations

from typing import Any

from cflows_core.config import RunConfig
from cflows_core.gallery.figure import Stored
from cflows_core.presets.figures.rods import RODS

ROD = ("discrete", "stable", "rod")

_CNN = {preset.config.optimizer: preset for preset in RODS}
_MSE, _CROSS = {"criterion": "mse", "n_train": 100}, {"criterion": "cross_entropy", "n_train": 300}
# Loss, learning rate and warm start of the MLP with two units a layer, chosen as the CNN's: a swing longer than the drift. Adam has a
# seed of its own: with others several modes swing in turn.
_MLP: dict[str, tuple[dict[str, Any], float, int]] = {
    "gd": (_MSE, 0.3, 700),
    "heavy_ball": ({**_CROSS, "n_train": 100}, 0.6, 717),
    "nesterov": (_CROSS, 0.5, 700),
    "scalar_rmsprop": (_MSE, 0.1, 500),
    "rmsprop": (_MSE, 0.003, 500),
    "scalar_adam": (_MSE, 0.6, 1200),
    "scalar_nadam": (_CROSS, 0.1, 500),
    "adam": ({**_MSE, "seed": 2}, 0.02, 1150),
    "nadam": (_MSE, 0.02, 800),
}
# [RF] H.2: iterations and warm-up; 4,000 and 2,000 for the others.
_LENGTHS = {"heavy_ball": (16_000, 14_000), "nesterov": (12_000, 10_000), "scalar_nadam": (3_500, 1_500)}
# Ours, of the usual size for each optimizer: the paper's are lost from its text.
_RATES = {
    "gd": 0.02,
    "heavy_ball": 0.2,
    "nesterov": 0.1,
    "scalar_rmsprop": 0.01,
    "rmsprop": 2e-5,
    "scalar_adam": 0.05,
    "scalar_nadam": 0.05,
    "adam": 1e-4,
    "nadam": 1e-4,
}
_NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"architecture": "mlp", "width": 200, "depth": 2, "activation": "tanh"},
    "cnn": {"architecture": "cnn", "width": 32, "depth": 2, "activation": "gelu"},
    "vit": {"architecture": "vit", "width": 64, "depth": 3, "activation": "gelu"},
}


def dashed(optimizer: str) -> str:
    return optimizer.replace("_", "-")


def preset_of(optimizer: str) -> str:
    return _CNN[optimizer].name


def cnn(optimizer: str) -> Stored:
    """250 steps (NAdam: 400) of the CNN of 70 weights, the central flow beside the rod."""
    return Stored(f"cnn-{dashed(optimizer)}", _CNN[optimizer].config)


def mlp(optimizer: str, suffix: str = "", **fields: Any) -> Stored:
    """300 steps of the MLP of 166 weights, with some fields changed."""
    network, lr, warm_start = _MLP[optimizer]
    run = {"optimizer": optimizer, "lr": lr, "warm_start": warm_start, "steps": 300, "flows": ROD, **fields}
    return Stored(f"mlp-{dashed(optimizer)}{suffix}", RunConfig(width=2, **network, **run, n_eigs=2, observe=[], threads=1))


def vit() -> Stored:
    """Adam on a ViT of one block, 322 weights, in MSE."""
    network = {"architecture": "vit", "width": 4, "depth": 1, "activation": "gelu", "n_train": 50}
    run = {"optimizer": "adam", "lr": 0.002, "warm_start": 1200, "steps": 250, "flows": ROD}
    return Stored("vit-adam", RunConfig(**network, **run, n_eigs=2, observe=[], threads=1))


def paper(optimizer: str, architecture: str = "mlp", **fields: Any) -> Stored:
    """[RF] H.2 on CIFAR-10: its iteration counts and warm-ups; learning rates, widths and the number of examples are ours."""
    last, warm_start = _LENGTHS.get(optimizer, (4_000, 2_000))
    run = {"optimizer": optimizer, "lr": _RATES[optimizer], "warm_start": warm_start, "steps": last - warm_start, "flows": ROD, **fields}
    config = RunConfig(dataset="cifar10", n_train=1000, **_NETWORKS[architecture], **run, n_eigs=4, observe=[], record_every=2)
    suffix = "".join(f"-{value}" for value in fields.values())
    return Stored(f"paper-{architecture}-{dashed(optimizer)}{suffix}", config)
