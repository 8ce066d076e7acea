"""Second and third derivatives along directions, from gradients at points near by.

    H v ≈ (g(w + εv) − g(w − εv))/2ε    or from a known gradient (g(w + εv) − g(w))/ε    ∇(vᵀHv) ≈ (g(w + εv) + g(w − εv) − 2g(w))/ε²

with relative errors of about 1e-9, 1e-6 and 1e-6 in float64 on smooth networks; eigenvalues cannot tell any of them from exact. float32
has too few digits. Directions are rows v [b, p] of any length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Gradients = Callable[[Tensor], tuple[Tensor, Tensor]]  # points [b, p] -> losses [b], gradients [b, p]

# Steps for unit directions, relative to max(1, |w|): truncation and round-off balance near these.
ONE_SIDED, SECOND, THIRD = 1e-7, 1e-5, 1e-4


def products(gradients: Gradients, w: Tensor, rows: Tensor, gradient: Tensor | None = None) -> Tensor:
    """H(w) v for each row, [b, p]. gradient: ∇L(w) if it is known; then at half the cost, from one side."""
    if gradient is not None:
        return expansion(gradients, w, None, rows, gradient=gradient)[2]
    directions, lengths = _unit(rows)
    step = SECOND * _scale(w)
    plus, minus = gradients(torch.cat([torch.add(w, directions, alpha=sign * step) for sign in (1, -1)]))[1].chunk(2)
    return (plus - minus).mul_(lengths / (2 * step))


def thirds(gradients: Gradients, w: Tensor, rows: Tensor, gradient: Tensor | None = None) -> Tensor:
    """∇(vᵀHv) for each row, [b, p]. gradient: ∇L(w) if it is known."""
    return expansion(gradients, w, w[None] if gradient is None else None, rows, bent=len(rows), gradient=gradient)[3]


def expansion(
    gradients: Gradients, w: Tensor, points: Tensor | None, rows: Tensor, *, bent: int = 0, gradient: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses [n] and gradients [n, p] at `points` [n, p]; H v for each row, [b, p]; ∇(vᵀHv) for the first `bent` rows, [bent, p].

    All in one call of `gradients`. gradient: ∇L(w), by default that at the first point. The first `bent` rows take two gradients, which
    give both their derivatives; the others one.
    """
    directions, lengths = _unit(rows)
    near, far = ONE_SIDED * _scale(w), THIRD * _scale(w)
    parts = [] if points is None else [points]
    if bent:
        parts += [torch.add(w, directions[:bent], alpha=far), torch.add(w, directions[:bent], alpha=-far)]
    if bent < len(rows):
        parts.append(torch.add(w, directions[bent:], alpha=near))
    losses, found = gradients(torch.cat(parts) if len(parts) > 1 else parts[0])
    n = 0 if points is None else len(points)
    centre = found[0] if gradient is None else gradient
    plus, minus = found[n : n + 2 * bent].chunk(2)
    product = torch.sub(found[n + 2 * bent :], centre).mul_(lengths[bent:] / near)
    if bent:
        both = (plus - minus).mul_(lengths[:bent] / (2 * far))
        product = torch.cat([both, product]) if len(product) else both
    third = torch.add(plus, minus).sub_(centre, alpha=2).mul_((lengths[:bent] / far).square())
    return losses[:n], found[:n], product, third


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of length one and their lengths [b, 1]; a zero row keeps length zero."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / lengths.clamp_min(torch.finfo(rows.dtype).tiny), lengths


def _scale(w: Tensor) -> float:
    return max(1.0, float(torch.linalg.vector_norm(w)))
