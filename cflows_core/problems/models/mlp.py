"""Multilayer perceptron."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from cflows_core.errors import ModelError
from cflows_core.problems.models.layers import Activation, Linear
from cflows_core.problems.signature import Signature


class MLP(nn.Module):
    """Flatten, then `depth` hidden layers of `width` units with an activation, then a linear head.

    inputs [n, *input_shape] -> outputs [n, C]. With d inputs and C outputs it has d·w + w + (depth − 1)(w² + w) + w·C + C parameters:
    1,482 for digits at depth 2 and width 16.
    """

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__()
        if signature.vocabulary:
            raise ModelError("The mlp reads real numbers, got tokens, whose order it would not know: use lstm, transformer or mamba.")
        sizes = [math.prod(signature.input_shape)] + [width] * depth
        self.hidden = nn.ModuleList(Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(sizes))
        self.activation = activation()
        self.head = Linear(width, signature.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.head(x)
