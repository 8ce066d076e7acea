"""Self-attention written out, the blocks that vision and sequence transformers share, and fixed positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cflows_core.errors import ModelError
from cflows_core.problems.models.layers import Activation, LayerNorm, Linear

HIDDEN = 4  # hidden units of a block's perceptron, in widths


def attention(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """softmax(QKᵀ/√d) V for [..., T, d]; causal: position t sees 1 … t.

    The smooth counterpart of the fused `scaled_dot_product_attention`, which has no second derivative.
    """
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if causal:
        length = scores.shape[-1]
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1), -math.inf)
    return scores.softmax(-1) @ value


class SelfAttention(nn.Module):
    """Attention of [n, T, width] to itself with `heads` heads."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.inwards, self.outwards = Linear(width, 3 * width), Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.inwards(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [n, heads, T, d]
        return self.outwards(attention(query, key, value, self.causal).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)), on [n, T, width]."""

    def __init__(self, width: int, activation: Activation, causal: bool):
        super().__init__()
        self.attention_norm, self.attention = LayerNorm(width), SelfAttention(width, heads(width), causal)
        self.norm, self.hidden, self.out = LayerNorm(width), Linear(width, HIDDEN * width), Linear(HIDDEN * width, width)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.out(self.activation(self.hidden(self.norm(x))))


def heads(width: int) -> int:
    """Two heads, four from width 32 on. Raises `ModelError` for a width that is no multiple of 4."""
    if width % 4:
        raise ModelError(
            f"`width` must be a multiple of 4 where positions are sines and cosines of two heads, got {width}: take {-(-width // 4) * 4}."
        )
    return 4 if width >= 32 else 2


def positions(length: int, width: int) -> Tensor:
    """[length, width], float64: sin(t/10000^{2i/width}) in the first half, cos in the second (Vaswani et al., 2017). width: even."""
    frequencies = 10_000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def grid_positions(rows: int, columns: int, width: int) -> Tensor:
    """[rows · columns, width]: half the width for the row, half for the column. width: a multiple of 4."""
    down, across = positions(rows, width // 2), positions(columns, width // 2)
    return torch.cat([down[:, None].expand(-1, columns, -1), across[None].expand(rows, -1, -1)], 2).flatten(0, 1)
