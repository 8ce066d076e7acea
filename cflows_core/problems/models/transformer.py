"""Sequence transformer."""

from __future__ import annotations

from torch import Tensor, nn

from cflows_core.problems.models.attention import Block, heads, positions
from cflows_core.problems.models.layers import Activation, LayerNorm
from cflows_core.problems.models.sequence import SequenceModel
from cflows_core.problems.signature import Signature


class Transformer(SequenceModel):
    """Fixed sin-cos positions and `depth` attention blocks with norms before them (Vaswani et al., 2017).

    Causal where several positions are answered, since later inputs then are the answers; else every position sees all.
    """

    positions: Tensor

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__(signature, width, "transformer")
        heads(width)
        self.register_buffer("positions", positions(self.length, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, activation, causal=self.n_answers > 0) for _ in range(depth))
        self.norm = LayerNorm(width)

    def body(self, x: Tensor) -> Tensor:
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
