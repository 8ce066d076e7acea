"""Residual network with group normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.problems.models.layers import Activation, Conv3x3, GroupNorm, Linear, image_shape
from cflows_core.problems.signature import Signature


class Block(nn.Module):
    """act(x + norm(conv(act(norm(conv(x)))))), the basic block of He et al. (2016)."""

    def __init__(self, width: int, grid: tuple[int, int], activation: Activation):
        super().__init__()
        self.first, self.first_norm = Conv3x3(width, width, grid), GroupNorm(width)
        self.second, self.second_norm = Conv3x3(width, width, grid), GroupNorm(width)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.first_norm(self.first(x)))
        return self.activation(x + self.second_norm(self.second(inner)))


class ResNet(nn.Module):
    """A 3 × 3 convolution to `width` channels, `depth` residual blocks, the mean over positions and a linear head.

    inputs [n, channels, height, width] -> outputs [n, C]. Groups instead of batches are normalised, so that examples stay independent and
    the loss is their mean; before each block a 2 × 2 average pool halves the grid while it has four rows and columns or more (an odd last
    one is dropped).
    """

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__()
        channels, rows, columns = image_shape(signature, "resnet")
        self.stem, self.norm = Conv3x3(channels, width, (rows, columns)), GroupNorm(width)
        self.activation = activation()
        self.blocks = nn.ModuleList()
        self.pools: list[bool] = []
        for _ in range(depth):
            self.pools.append(min(rows, columns) >= 4)
            if self.pools[-1]:
                rows, columns = rows // 2, columns // 2
            self.blocks.append(Block(width, (rows, columns), activation))
        self.head = Linear(width, signature.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.stem(x)))
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = block(F.avg_pool2d(x, 2) if pool else x)
        return self.head(x.mean((2, 3)))
