"""Small networks with data of their kind, for the tests of models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cflows_core.problems import criteria, models
from cflows_core.problems.signature import Signature

IMAGES = Signature((1, 6, 8), 3)
TOKENS = Signature((15,), 4, vocabulary=4, n_answers=8)
LINE = Signature((1,), 1)
SEQUENCES = ("lstm", "transformer", "mamba")
# Each architecture's data and an activation that it is known with.
USUAL = {
    "mlp": (IMAGES, "tanh"),
    "cnn": (IMAGES, "gelu"),
    "resnet": (IMAGES, "silu"),
    "vit": (IMAGES, "gelu"),
    "lstm": (TOKENS, "tanh"),
    "transformer": (TOKENS, "gelu"),
    "mamba": (TOKENS, "silu"),
}
# (architecture, signature, activation, criterion): every architecture with both criteria on its data, and two with other data.
CASES = [
    *((name, *usual, criterion) for name, usual in USUAL.items() for criterion in criteria.CRITERIA),
    ("mlp", LINE, "tanh", "mse"),
    ("transformer", IMAGES, "gelu", "cross_entropy"),
]
IDS = [f"{name}-{'x'.join(map(str, signature.input_shape))}-{criterion}" for name, signature, _, criterion in CASES]


def small(architecture: str, signature: Signature | None = None, activation: str | None = None, mix: float = 0.0, depth: int = 2):
    """Width 8, on the architecture's usual data."""
    usual = USUAL[architecture]
    return models.build(
        architecture,
        signature or usual[0],
        width=8,
        depth=depth,
        activation=activation or usual[1],
        activation_mix=mix,
        seed=3,
    )


def examples(signature: Signature, criterion: str = "mse", n: int = 4) -> tuple[Tensor, Tensor]:
    """Random inputs and targets."""
    generator = torch.Generator().manual_seed(5)
    if signature.vocabulary:
        x = torch.randint(signature.vocabulary, (n, *signature.input_shape), generator=generator)
    else:
        x = torch.randn(n, *signature.input_shape, generator=generator, dtype=torch.float64)
    if signature.n_outputs == 1:
        return x, torch.randn(n, 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(signature.n_outputs, (n, signature.n_answers) if signature.n_answers else (n,), generator=generator)
    return x, criteria.encode(labels, signature.n_outputs, criterion)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def loss_of(module: nn.Module, x: Tensor, y: Tensor, criterion: str) -> Callable[[Tensor], Tensor]:
    """The mean loss as a function of flat weights."""
    names = [name for name, _ in module.named_parameters()]
    shapes = [parameter.shape for parameter in module.parameters()]
    sizes = [parameter.numel() for parameter in module.parameters()]

    def loss(w: Tensor) -> Tensor:
        pieces = {name: part.view(s) for name, part, s in zip(names, w.split(sizes), shapes, strict=True)}
        return criteria.get(criterion)(functional_call(module, pieces, (x,)), y).mean()

    return loss


def one_sentence(error: BaseException) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
