"""Vision transformer."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.problems.models.attention import Block, grid_positions, heads
from cflows_core.problems.models.layers import Activation, LayerNorm, Linear, image_shape
from cflows_core.problems.signature import Signature


class ViT(nn.Module):
    """Square patches as tokens, fixed two-dimensional sin-cos positions, `depth` attention blocks, mean over patches, linear head.

    inputs [n, channels, height, width] -> outputs [n, C]. After the simple ViT of [RF] appendix H.4 (Beyer et al., 2022): norms are smooth,
    and the head starts at half its usual size, without which training starts far above the edge. Patches are 2 × 2 on digits and 4 × 4 on
    CIFAR-10: the largest power of two up to the root of the side; a grid that they do not fill is padded with zeros.
    """

    HEAD_SCALE = 0.5
    positions: Tensor

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__()
        channels, *grid = image_shape(signature, "vit")
        heads(width)
        self.patch = 2 ** (math.isqrt(min(grid)).bit_length() - 1)
        rows, columns = (-(-side // self.patch) for side in grid)
        self.padding = (0, columns * self.patch - grid[1], 0, rows * self.patch - grid[0])
        self.embed = Linear(channels * self.patch**2, width)
        self.register_buffer("positions", grid_positions(rows, columns, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, activation, causal=False) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.head = Linear(width, signature.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.padding).unflatten(2, (-1, self.patch)).unflatten(4, (-1, self.patch))  # [n, channels, R, patch, C, patch]
        x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [n, R · C, channels · patch²]
        x = self.embed(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))
