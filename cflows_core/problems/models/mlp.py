"""Multilayer perceptron."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from cflows_core.problems.models.layers import ACTIVATIONS, Linear


class MLP(nn.Module):
    """Flatten, then `depth` hidden layers of `width` units with an activation, then a linear head.

    inputs [n, *input_shape] -> outputs [n, n_outputs]. With d inputs and C outputs it has
    d·w + w + (depth − 1)(w² + w) + w·C + C parameters: 1,482 for digits at depth 2 and width 16.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_outputs: int,
        width: int,
        depth: int,
        activation: str,
        activation_mix: float = 0.0,
    ):
        super().__init__()
        sizes = [math.prod(input_shape)] + [width] * depth
        self.hidden = nn.ModuleList(Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(sizes))
        self.activation = ACTIVATIONS[activation](activation_mix)
        self.head = Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.head(x)
