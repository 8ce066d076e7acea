"""Independent references: dense, slow, and sharing no code with what they check."""

from __future__ import annotations

import cvxpy
import numpy as np
import torch


class Valleys:
    """A loss with several sharp directions whose sharpness grows along its slow ones: p = n_sharp + n_slow, n_slow ≥ n_sharp(n_sharp+1)/2.

    L(x, y) = ½ Σ_i s_i(y) x_i² + ε Σ_{i<j} x_i x_j sin(y_ij) − b·y + ½ κ|y|² + q Σ_i x_i⁴,  s_i(y) = s_i + a_i·y
    """

    def __init__(self, n_sharp: int, n_slow: int, sharpness: float, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.n_sharp, self.n_params = n_sharp, n_sharp + n_slow
        spread = 1 - 0.0005 * torch.arange(n_sharp, dtype=torch.float64)
        self.base = sharpness * spread
        # Each valley has a slow direction that sharpens it most, so that holding one does not hold the others.
        noise = 0.02 * torch.randn(n_sharp, n_slow, generator=generator, dtype=torch.float64)
        self.slopes = sharpness * (0.1 + 0.5 * torch.eye(n_sharp, n_slow, dtype=torch.float64) + noise)
        self.drive = 0.02 + 0.01 * torch.rand(n_slow, generator=generator, dtype=torch.float64)

    def __call__(self, w: torch.Tensor) -> torch.Tensor:
        x, y = w[: self.n_sharp], w[self.n_sharp :]
        sharp = 0.5 * ((self.base + self.slopes @ y) * x * x).sum()
        # Couples every pair of sharp directions by a slow one of its own, so that the off-diagonal entries of Σ are determined.
        i, j = torch.triu_indices(self.n_sharp, self.n_sharp, 1)
        twist = 0.3 * self.base[0] * (x[i] * x[j] * torch.sin(y[self.n_sharp :][: len(i)])).sum()
        return sharp + twist - self.drive @ y + 0.05 * y @ y + 0.1 * (x**4).sum()


def gradient(f, w: np.ndarray) -> np.ndarray:
    leaf = torch.tensor(w, requires_grad=True)
    return torch.autograd.grad(f(leaf), leaf)[0].numpy()


def hessian(f, w: np.ndarray) -> np.ndarray:
    return torch.autograd.functional.hessian(f, torch.tensor(w)).numpy()


def hessian_gradient(f, w: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """∇H [p, p, p]: entry [l, i, j] = ∂_l H_ij, by central differences of the dense Hessian."""
    unit = step * np.eye(len(w))
    return np.stack([(hessian(f, w + e) - hessian(f, w - e)) / (2 * step) for e in unit])


def central_step(f, w: np.ndarray, lr: float, dt: float, edge: float = 0.975) -> tuple[np.ndarray, np.ndarray]:
    """One predict-and-project substep of gradient descent's central flow: the new w, and Σ [p, p] in full.

    The complementarity problem is posed for the full Σ = U X Uᵀ as the conic programme min ¼ η dt |∇⟨H,Σ⟩|² + ⟨2 − ηVᵀHV, X⟩ and given to
    a conic solver.
    """
    predicted = w - lr * dt * gradient(f, w)
    H, dH = hessian(f, predicted), hessian_gradient(f, predicted)
    values, vectors = np.linalg.eigh(H)
    critical = vectors[:, lr * values > edge * 2]
    k = critical.shape[1]
    if k == 0:
        return predicted, np.zeros((len(w), len(w)))
    scale = lr  # Σ = η V X Vᵀ: X in the P-metric
    slack = 2 * np.eye(k) - lr * critical.T @ H @ critical
    force_of = np.stack([scale * critical.T @ slab @ critical for slab in dH])  # [p, k, k]: ∇⟨H, Σ⟩ is linear in X
    # In units in which X and the goal are near 1, so that the solver's tolerance means something.
    size = np.abs(slack).max() / (0.5 * lr * dt * (force_of**2).sum())
    X = cvxpy.Variable((k, k), PSD=True)
    force = cvxpy.hstack([cvxpy.trace(slab @ X) for slab in force_of])
    goal = 0.25 * lr * dt * size / np.abs(slack).max() * cvxpy.sum_squares(force) + cvxpy.trace(slack / np.abs(slack).max() @ X)
    cvxpy.Problem(cvxpy.Minimize(goal)).solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    sigma = size * scale * critical @ X.value @ critical.T
    return predicted - 0.5 * lr * dt * np.einsum("lij,ij->l", dH, sigma), sigma


def rod_step(f, w: np.ndarray, sigma: np.ndarray, lr: float, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """One Euler substep of the rod flow with a dense Σ [p, p] ([RF] eq. 6, 7)."""
    values, vectors = np.linalg.eigh(sigma)
    zeta = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    plus, minus = gradient(f, w + zeta), gradient(f, w - zeta)
    growth = 0.25 * lr**2 * (np.outer(plus, plus) + np.outer(minus, minus))
    return w - dt * lr * 0.5 * (plus + minus), sigma + dt * (growth - 2 * sigma)
