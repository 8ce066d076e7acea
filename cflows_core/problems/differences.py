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
    steps = _steps(SECOND, w, rows)
    plus, minus = gradients(torch.cat([torch.addcmul(w, rows, steps, value=sign) for sign in (1, -1)]))[1].chunk(2)
    return torch.sub(plus, minus).div_(2 * steps)


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
    near, far = _steps(ONE_SIDED, w, rows[bent:]), _steps(THIRD, w, rows[:bent])
    parts = [] if points is None else [points]
    if bent:
        parts += [torch.addcmul(w, rows[:bent], far, value=sign) for sign in (1, -1)]
    if bent < len(rows):
        parts.append(torch.addcmul(w, rows[bent:], near))
    losses, found = gradients(torch.cat(parts) if len(parts) > 1 else parts[0])
    n = 0 if points is None else len(points)
    centre = found[0] if gradient is None else gradient
    plus, minus = found[n : n + 2 * bent].chunk(2)
    product = torch.sub(found[n + 2 * bent :], centre).div_(near)
    if bent:
        both = torch.sub(plus, minus).div_(2 * far)
        product = torch.cat([both, product]) if len(product) else both
    third = torch.add(plus, minus).sub_(centre, alpha=2).div_(far * far)
    return losses[:n], found[:n], product, third


def row_by_row(gradient_at: Callable[[Tensor], Tensor], w: Tensor, rows: Tensor, gradient: Tensor, bent: int = 0) -> tuple[Tensor, Tensor]:
    """H v for each row and ∇(vᵀHv) for the first `bent`, as `expansion`, with one gradient in memory at a time; gradient: ∇L(w)."""
    steps = torch.cat([_steps(THIRD, w, rows[:bent]), _steps(ONE_SIDED, w, rows[bent:])])[:, 0].tolist()
    product, third = torch.empty_like(rows), torch.empty_like(rows[:bent])
    for i, (row, step) in enumerate(zip(rows, steps, strict=True)):
        plus = gradient_at(torch.add(w, row, alpha=step))
        if i < bent:
            minus = gradient_at(torch.add(w, row, alpha=-step))
            torch.sub(plus, minus, out=product[i]).div_(2 * step)
            torch.add(plus, minus, out=third[i]).sub_(gradient, alpha=2).div_(step * step)
        else:
            torch.sub(plus, gradient, out=product[i]).div_(step)
    return product, third


def _steps(relative: float, w: Tensor, rows: Tensor) -> Tensor:
    """ε [b, 1] that makes εv as long for each row v; for a row of zeros any."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    scale = torch.linalg.vector_norm(w).clamp_min(1.0)
    return relative * scale / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
