"""Convolutional network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.problems.models.layers import Activation, Conv3x3, Linear, image_shape
from cflows_core.problems.signature import Signature


class CNN(nn.Module):
    """`depth` blocks of 3 × 3 convolution to `width` channels, activation, 2 × 2 average pool; then a linear head.

    inputs [n, channels, height, width] -> outputs [n, C]. As in [RF] appendix H.4 (average pools because max
    pools are not smooth, [CF] section 6.1), but with one `width` for all blocks. Blocks whose grid is down to one row
    or column do not pool; an odd last row or column is dropped by a pool. Flattening keeps where a feature is: digits
    at depth 2 end on a 2 × 2 grid.
    """

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__()
        channels, *grid = image_shape(signature, "cnn")
        self.convolutions = nn.ModuleList()
        self.pools: list[bool] = []
        for _ in range(depth):
            self.convolutions.append(Conv3x3(channels, width, (grid[0], grid[1])))
            channels = width
            self.pools.append(min(grid) >= 2)
            if self.pools[-1]:
                grid = [grid[0] // 2, grid[1] // 2]
        self.activation = activation()
        self.head = Linear(channels * grid[0] * grid[1], signature.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, pool in zip(self.convolutions, self.pools, strict=True):
            x = self.activation(convolution(x))
            if pool:
                x = F.avg_pool2d(x, 2)
        return self.head(x.flatten(1))
