"""Where oscillation sets in, found by bisection with the discrete steps alone, against `Optimizer.threshold`."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from cflows_core import Optimizer
from tests.oracles import NINE

P = 20
PLAIN = ("gd", "scalar_rmsprop", "rmsprop")
CASES = [(name, beta1) for name in NINE for beta1 in ((0.5,) if name in PLAIN else (0.5, 0.9))]


def quadratic(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A positive definite H with a random basis and spectrum, and a random start."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(P, P, generator=generator, dtype=torch.float64))[0]
    spectrum = 0.05 + 10 * torch.rand(P, generator=generator, dtype=torch.float64) ** 2
    return (basis * spectrum) @ basis.T, torch.randn(P, generator=generator, dtype=torch.float64)


def oscillates(optimizer: Optimizer, H: torch.Tensor, w0: torch.Tensor, steps: int = 120) -> bool:
    """Whether δ_t = (2w_t − w_{t+1} − w_{t−1})/4 grows: its largest entry over the last 20 steps exceeds that half-way.

    δ has next to nothing of the slow directions; a start with hardly any of the top mode would need more
    steps. A run beyond 10⁶ grows without further steps.
    """
    state, path = optimizer.start(w0, H @ w0), [w0]
    for _ in range(steps):
        state = optimizer.step(state, H @ optimizer.gradient_point(state))
        path.append(state.w)
        if not float(state.w.abs().max()) < 1e6:
            return True
    w = torch.stack(path)
    delta = ((2 * w[1:-1] - w[2:] - w[:-2]) / 4).abs().amax(1)
    return float(delta[-20:].max()) > float(delta[steps // 2 - 20 : steps // 2].max())


def bisected(grows, low: float, high: float) -> float:
    """Where `grows` turns true, to 0.1 %."""
    assert not grows(low)
    assert grows(high)
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if grows(middle) else (middle, high)
    return (low * high) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "beta1"), CASES)
def test_oscillation_sets_in_at_the_threshold(name: str, beta1: float, seed: int) -> None:
    """The learning rate at which iterates begin to oscillate is where λ_max(P⁻¹H) = c ([RF] eq. 10, 47, Table 2).

    β₂ = 1 freezes ν at sq(∇L(w₀)), an arbitrary preconditioner, so that the generalised eigenvalue is tested and not H's own.
    """
    H, w0 = quadratic(seed)

    def optimizer(lr: float) -> Optimizer:
        return Optimizer(name, lr=lr, beta1=beta1, beta2=1.0, bias_correction=False)

    state = optimizer(1.0).start(w0, H @ w0)
    diagonal = np.broadcast_to(optimizer(1.0).preconditioner(state).numpy(), (P,))
    largest = scipy.linalg.eigh(H.numpy(), np.diag(diagonal), eigvals_only=True)[-1]  # at η = 1; it is proportional to η
    c = optimizer(1.0).threshold
    onset = bisected(lambda lr: oscillates(optimizer(lr), H, w0), 0.7 * c / largest, 1.4 * c / largest)
    assert onset * largest == pytest.approx(c, rel=2e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "beta1"), [("scalar_rmsprop", 0.5), ("scalar_nadam", 0.5), ("scalar_nadam", 0.9)])
def test_moving_average_brings_the_eigenvalue_to_the_threshold(name: str, beta1: float, seed: int) -> None:
    """β₂ < 1: λ_max(P⁻¹H) rests at c, with a half-difference of |δ*| = η/c along the top mode, the other 19 at rest (math.md 7).

    From near that 2-cycle: started 0.3 |δ*| away in the other modes, NAdam with β₁ = 0.9 may come to another motion, with λ_max above c
    on average. Adam leaves it from anywhere.
    """
    H, direction = quadratic(seed)
    values, modes = torch.linalg.eigh(H)
    optimizer = Optimizer(name, lr=0.1, beta1=beta1, beta2=0.9, eps=0.0, bias_correction=False)
    size = optimizer.lr / optimizer.threshold
    w = size * (1.3 * modes[:, -1] + 0.03 * direction / direction.norm())
    before = state = optimizer.start(w, H @ w)
    for _ in range(600):
        before, state = state, optimizer.step(state, H @ optimizer.gradient_point(state))
    assert float(values[-1] / optimizer.preconditioner(state)) == pytest.approx(optimizer.threshold, rel=1e-3)
    torch.testing.assert_close(
        ((before.w - state.w) / 2 @ modes).abs(), size * torch.eye(P, dtype=w.dtype)[-1], rtol=1e-3, atol=1e-3 * size
    )
