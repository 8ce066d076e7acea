"""Long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cflows_core.problems.models.layers import Activation, Linear
from cflows_core.problems.models.sequence import SequenceModel
from cflows_core.problems.signature import Signature


class Layer(nn.Module):
    """One layer, [n, T, in] -> [n, T, width] (Hochreiter and Schmidhuber, 1997; Gers et al., 2000), written out step by step.

        i, f, o = σ(W x_t + U h_{t−1} + b)      g = act(W x_t + U h_{t−1} + b)
        c_t = f ⊙ c_{t−1} + i ⊙ g               h_t = o ⊙ act(c_t)

    Rows of W and U in PyTorch's order i, f, g, o; with act = tanh it is `torch.nn.LSTM`, whose fused kernels have no second derivative.
    """

    def __init__(self, n_in: int, width: int, activation: Activation):
        super().__init__()
        self.inputs, self.recurrent = Linear(n_in, 4 * width), Linear(width, 4 * width, bias=False)
        self.activation = activation()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        driven = self.inputs(x)  # for all times at once
        hidden = cell = x.new_zeros(len(x), self.width)
        states = []
        for t in range(x.shape[1]):
            gates = driven[:, t] + self.recurrent(hidden)
            i, f, g, o = gates.chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * self.activation(g)
            hidden = o.sigmoid() * self.activation(cell)
            states.append(hidden)
        return torch.stack(states, 1)


class LSTM(SequenceModel):
    """`depth` layers of `width` cells. The activation takes the place of tanh, the usual one; gates are sigmoids."""

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__(signature, width, "lstm")
        self.layers = nn.ModuleList(Layer(width, width, activation) for _ in range(depth))

    def body(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
