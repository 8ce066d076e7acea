"""Networks by name: `build("mlp", Signature((1, 8, 8), 10), width=16, depth=2, activation="tanh")`.

An architecture is a module class in a file of its own, called as (signature, width, depth, activation), made of the pieces in
`layers.py`, whose output layer is named `head`; one line in `ARCHITECTURES` makes it known.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import torch
from torch import nn

from cflows_core.errors import ModelError
from cflows_core.problems.models.cnn import CNN
from cflows_core.problems.models.layers import ACTIVATIONS, initialise
from cflows_core.problems.models.lstm import LSTM
from cflows_core.problems.models.mamba import Mamba
from cflows_core.problems.models.mlp import MLP
from cflows_core.problems.models.resnet import ResNet
from cflows_core.problems.models.transformer import Transformer
from cflows_core.problems.models.vit import ViT
from cflows_core.problems.signature import Signature

__all__ = ["ACTIVATIONS", "ARCHITECTURES", "build", "count_parameters"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
    "vit": ViT,
    "lstm": LSTM,
    "transformer": Transformer,
    "mamba": Mamba,
}
DTYPES = (torch.float64, torch.float32)


def build(
    architecture: str,
    signature: Signature,
    *,
    width: int,
    depth: int,
    activation: str,
    activation_mix: float = 0.0,
    head_scale: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """A network with weights N(0, 1/fan_in), biases 0, and its output layer's weights times `head_scale` (and the architecture's own).

    activation_mix: position of `gelu_relu` from GeLU (0) to ReLU (1); others ignore it.
    The weights depend on the shapes and `seed` alone, and are drawn in float64: a float32 network starts from the same
    ones, rounded. Raises `ModelError`.
    """
    _check_name("architecture", architecture, tuple(ARCHITECTURES))
    _check_name("activation", activation, tuple(ACTIVATIONS))
    for name, value in (
        ("n_outputs", signature.n_outputs),
        ("width", width),
        ("depth", depth),
        *(("input_shape", size) for size in signature.input_shape),
    ):
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ModelError(
                f"`{name}` must hold integers of at least 1, got {value!r}: small networks have 8 to 64 units and 1 to 6 layers."
            )
    if not 0 <= activation_mix <= 1:
        raise ModelError(f"`activation_mix` must lie between 0 (GeLU) and 1 (ReLU), got {activation_mix}: 0 is smooth.")
    if not (math.isfinite(head_scale) and head_scale > 0):
        raise ModelError(f"`head_scale` must be a positive number, got {head_scale}: 1 is the usual start, 0.05 a flat one.")
    if not isinstance(seed, numbers.Integral) or seed < 0:
        raise ModelError(f"`seed` must be an integer of 0 or more, got {seed!r}: 0 is the usual one.")
    if dtype not in DTYPES:
        raise ModelError(f"`dtype` must be torch.float64 or torch.float32, got {dtype}: half precision has too few digits for curvature.")
    module = ARCHITECTURES[architecture](signature, width, depth, lambda: ACTIVATIONS[activation](activation_mix))
    initialise(module, int(seed))
    with torch.no_grad():
        module.get_submodule("head").get_parameter("weight").mul_(head_scale * getattr(module, "HEAD_SCALE", 1.0))
    return module.to(dtype)


def count_parameters(module: nn.Module) -> int:
    """The number of trained weights p."""
    return sum(parameter.numel() for parameter in module.parameters())


def _check_name(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ModelError(
            f"`{field}` must be one of {', '.join(known)}, got {value!r}: choose one of these, or give a torch module of your own."
        )
