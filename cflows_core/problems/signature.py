"""`Signature`: what a network is given and what it is to answer; data offer it, architectures are built for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """Shapes of one example.

    input_shape: of its inputs. n_outputs: C, the numbers in one answer. vocabulary: how many tokens there are, where inputs are integer
    tokens [T]; 0 where they are real numbers. n_answers: 0 for one answer an example, outputs [n, C]; else A answers at the last
    positions of a sequence that already holds the ones before, outputs [n, A, C].
    """

    input_shape: tuple[int, ...]
    n_outputs: int
    vocabulary: int = 0
    n_answers: int = 0

    @property
    def is_image(self) -> bool:
        """Real numbers of (channels, height, width)."""
        return not self.vocabulary and len(self.input_shape) == 3

    @property
    def is_sequence(self) -> bool:
        """Tokens, or an image read row by row."""
        return self.vocabulary > 0 or self.is_image
