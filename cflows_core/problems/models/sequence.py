"""What all sequence models share: how a sequence is read and where it is answered."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.errors import ModelError
from cflows_core.problems.models.layers import Linear
from cflows_core.problems.signature import Signature


class SequenceModel(nn.Module, ABC):
    """Embedding, a body [n, T, width] -> [n, T, width], and a linear head at the positions to be answered.

    Tokens [n, T] are embedded by a table; images [n, channels, height, width] are read row by row, each row of all channels one vector.
    Outputs [n, A, C] at the last A positions where the signature asks for answers, else [n, C] at the last one.
    """

    def __init__(self, signature: Signature, width: int, architecture: str):
        super().__init__()
        if not signature.is_sequence:
            raise ModelError(f"The {architecture} reads tokens or images, got inputs of shape {signature.input_shape}: use the mlp.")
        self.vocabulary, self.n_answers = signature.vocabulary, signature.n_answers
        channels, columns = signature.input_shape[0], signature.input_shape[-1]
        self.length = signature.input_shape[0] if self.vocabulary else signature.input_shape[1]
        self.embed = Linear(self.vocabulary or channels * columns, width, bias=not self.vocabulary)
        self.head = Linear(width, signature.n_outputs)

    @abstractmethod
    def body(self, x: Tensor) -> Tensor:
        """[n, T, width] -> [n, T, width], where position t of a causal model depends on positions up to t."""

    def forward(self, x: Tensor) -> Tensor:
        if self.vocabulary:  # a product with ones and zeros is a table whose derivatives of any order are products, too
            x = F.one_hot(x, self.vocabulary).to(self.embed.weight.dtype)
        else:
            x = x.transpose(1, 2).flatten(2)
        x = self.body(self.embed(x))[:, -max(1, self.n_answers) :]
        answers = self.head(x)
        return answers if self.n_answers else answers[:, 0]
