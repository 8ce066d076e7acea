"""Independent references: dense, slow, and sharing no code with what they check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cvxpy
import numpy as np
import scipy.linalg
import torch

Array = np.ndarray


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


def gradient(f, w: Array) -> Array:
    leaf = torch.tensor(w, requires_grad=True)
    return torch.autograd.grad(f(leaf), leaf)[0].numpy()


def hessian(f, w: Array) -> Array:
    return _hessians(f, w[None])[0]


def hessian_gradient(f, w: Array, step: float = 1e-4) -> Array:
    """∇H [p, p, p]: entry [l, i, j] = ∂_l H_ij, by central differences of the dense Hessian."""
    unit = step * np.eye(len(w))
    return (_hessians(f, w + unit) - _hessians(f, w - unit)) / (2 * step)


def _hessians(f, points: Array) -> Array:
    """Hessians [b, p, p] at points [b, p]: derivatives of the gradients' every entry."""
    leaf = torch.tensor(points, requires_grad=True)
    first = torch.autograd.grad(torch.func.vmap(f)(leaf).sum(), leaf, create_graph=True)[0]
    rows = [torch.autograd.grad(entry.sum(), leaf, retain_graph=True)[0] for entry in first.T]
    return torch.stack(rows, dim=1).numpy()


class Point(NamedTuple):
    """Weights, momentum (0 where there is none), average of squared gradients (None for the identity kind) and time."""

    w: Array
    m: Array
    nu: Array | None = None
    tau: float = 0.0


@dataclass(frozen=True)
class Method:
    """math.md 2 for one of the nine optimizers, in numpy; its flows below, with dense matrices."""

    name: str
    lr: float
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    corrects: bool = False
    schedule: Callable[[float], float] = lambda tau: 1.0

    @property
    def has_momentum(self) -> bool:
        return self.name not in ("gd", "scalar_rmsprop", "rmsprop")

    @property
    def b1(self) -> float:
        return self.beta1 if self.has_momentum else 0.0

    @property
    def c(self) -> float:
        """The critical threshold, as math.md 2 lists it."""
        b = self.b1
        if self.name in ("gd", "scalar_rmsprop", "rmsprop"):
            return 2.0
        if self.name in ("heavy_ball", "scalar_adam", "adam"):
            return 2 * (1 + b) / (1 - b)
        return 2 * (1 + b) / ((1 - b) * (1 + 2 * b))

    @property
    def mix(self) -> tuple[float, float]:
        b = self.b1
        if self.name in ("scalar_nadam", "nadam"):
            return b**2, 1 - b**2
        return b, 1 - b

    def eta(self, tau: float) -> float:
        return self.lr * self.schedule(tau)

    def P(self, nu: Array | None, tau: float) -> Array:
        if nu is None:
            return np.array(1 / self.eta(tau))
        psi1 = psi2 = 1.0
        if self.corrects:
            psi1 = 1 - self.b1 ** (tau + (2 if "nadam" in self.name else 1))
            psi2 = 1 - self.beta2 ** (tau + 1)
        return psi1 * (np.sqrt(nu / psi2) + self.eps) / self.eta(tau)

    def P_rate(self, nu: Array, tau: float) -> Array:
        """∂P̃/∂ν by a central difference."""
        h = 1e-4 * nu
        return (self.P(nu + h, tau) - self.P(nu - h, tau)) / (2 * h)

    def x(self, s: Point) -> Array:
        return s.w - self.eta(s.tau) * self.b1 * s.m if self.name == "nesterov" else s.w

    def sq(self, g: Array) -> Array:
        return np.array(g @ g) if self.name.startswith("scalar") else g * g

    def direction(self, m: Array, g: Array) -> Array:
        return self.mix[0] * m + self.mix[1] * g

    def start(self, f, w: Array) -> Point:
        nu = None
        if self.name not in ("gd", "heavy_ball", "nesterov"):
            nu = self.sq(gradient(f, w)) * (0.0 if self.corrects else 1.0)
        return Point(w, np.zeros_like(w), nu)

    # The discrete optimizer

    def step(self, f, s: Point) -> Point:
        g = gradient(f, self.x(s))
        nu = None if s.nu is None else self.beta2 * s.nu + (1 - self.beta2) * self.sq(g)
        w = s.w - self.direction(s.m, g) / self.P(nu, s.tau)
        return Point(w, self.b1 * s.m + (1 - self.b1) * g if self.has_momentum else s.m, nu, s.tau + 1)

    # The stable flow (math.md 3)

    def share(self, dt: float) -> float:
        """κ₂ dt, but never an overshoot."""
        return 1 - np.exp(-dt * (1 - self.beta2) / self.beta2) if self.beta2 > 0 else 1.0

    def stable_step(self, f, s: Point, dt: float, held: Array | float = 0.0) -> Point:
        g = gradient(f, self.x(s))
        nu = None if s.nu is None else s.nu + self.share(dt) * (self.sq(g) + held - s.nu)
        m = s.m + dt * (1 - self.b1) * (g - s.m) if self.has_momentum else s.m
        return Point(s.w - dt * self.direction(s.m, g) / self.P(nu, s.tau + dt), m, nu, s.tau + dt)

    # The central flow (math.md 4)

    def central_step(self, f, s: Point, dt: float, held: Array | float = 0.0) -> tuple[Point, Array, Array]:
        """One predict-and-project substep: the new state, Σ [p, p] of the gradient point in full, and what it adds to sq(g).

        held: what the substep before gave as the last, with which ν is predicted; the constraint is taken without it, to first order.
        """
        predicted = self.stable_step(f, s, dt, held)
        drift = None
        if predicted.nu is not None:
            drift = -np.eye(len(s.w)) * self.c * self.share(dt) * self.P_rate(predicted.nu, predicted.tau) * held
        sigma = self._covariance(f, predicted, dt, drift)
        H = hessian(f, self.x(predicted))
        added = np.diag(H @ sigma @ H)
        added = added.sum() if predicted.nu is not None and predicted.nu.ndim == 0 else added
        after = self._pushed(f, predicted, predicted, sigma, dt)
        return after if after.nu is None else after._replace(nu=after.nu - self.share(dt) * held), sigma, added

    def linearised_step(self, f, s: Point, dt: float) -> tuple[Point, Array]:
        """[CF]'s own substep: H and P̃ linearised from s along the stable velocities (math.md 4)."""
        h = 1e-5
        near = self.stable_step(f, s, h)  # P̃ at its end differs from P̃ at s by O(h)
        drift_P = (self.P(near.nu, near.tau) - self.P(s.nu, s.tau)) / h
        drift_H = (hessian(f, self.x(near)) - hessian(f, self.x(s))) / h
        sigma = self._covariance(f, s, dt, dt * (self.c * drift_P * np.eye(len(s.w)) - drift_H))
        return self._pushed(f, self.stable_step(f, s, dt), s, sigma, dt), sigma

    def _covariance(self, f, s: Point, dt: float, drift: Array | None) -> Array:
        """Σ [p, p] of the complementarity problem at s, posed for the full Σ = U X Uᵀ and given to a conic solver.

        0 ⪯ X ⊥ α + β[X] ⪰ 0 are the conditions of: minimise ⟨α, X⟩ + ¼ dt Σ_l share_l (∇_l⟨H,Σ⟩)² + ½ c κ₂dt Σ_n D_n (diag MXMᵀ)_n²
        with D = ∂P̃/∂ν and M = P̃UΛ^½ (scalar ν: the trace's square over P̃), the quadratic part in the symmetrised form.
        """
        x, p = self.x(s), len(s.w)
        P = np.broadcast_to(self.P(s.nu, s.tau), (p,))
        H, dH = hessian(f, x), hessian_gradient(f, x)
        values, vectors = scipy.linalg.eigh(H, np.diag(P))
        nearest = values if drift is None else values - np.diag(vectors.T @ drift @ vectors)
        critical = nearest > 0.975 * self.c
        U, values = vectors[:, critical], values[critical]
        k = len(values)
        if k == 0:
            return np.zeros((p, p))
        alpha = np.diag(self.c - values) + (0 if drift is None else U.T @ drift @ U)
        moved = self.mix[1] / P  # by a force on the gradient point
        if self.name == "nesterov":
            moved = moved + self.eta(s.tau) * self.b1 * (1 - self.b1)
        forces = np.sqrt(0.5 * dt * moved)[:, None, None] * np.einsum("lij,ia,jb->lab", dH, U, U)
        rows = [forces]
        if s.nu is not None:
            M = U * np.sqrt(values)
            if s.nu.ndim:
                outer = P[:, None, None] * np.einsum("na,nb->nab", M, M)
            else:
                outer = np.diag(values)[None]
            rows.append(np.sqrt(self.c * self.share(dt) * self.P_rate(s.nu, s.tau)).reshape(-1, 1, 1) * outer)
        rows = np.concatenate(rows)
        inside = _unconstrained(rows, alpha)
        if inside is not None:
            return U @ inside @ U.T
        # In units in which X and the goal are near 1, so that the solver's tolerance means something.
        size = np.abs(alpha).max() / (rows**2).sum()
        X = cvxpy.Variable((k, k), PSD=True)
        parts = cvxpy.hstack([cvxpy.trace(slab @ X) for slab in rows / np.sqrt((rows**2).sum())])
        goal = 0.5 * cvxpy.sum_squares(parts) + cvxpy.trace(alpha / np.abs(alpha).max() @ X)
        tight = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}
        cvxpy.Problem(cvxpy.Minimize(goal)).solve(solver=cvxpy.CLARABEL, **tight)
        return size * U @ X.value @ U.T

    def _pushed(self, f, s: Point, at: Point, sigma: Array, dt: float) -> Point:
        """s + dt·A[X], with A at `at`."""
        x = self.x(at)
        H, force = hessian(f, x), 0.5 * np.einsum("lij,ij->l", hessian_gradient(f, x), sigma)
        added = np.diag(H @ sigma @ H)
        nu = None if s.nu is None else s.nu + self.share(dt) * (added if s.nu.ndim else added.sum())
        m = s.m + dt * (1 - self.b1) * force if self.has_momentum else s.m
        return Point(s.w - dt * self.mix[1] * force / self.P(at.nu, at.tau), m, nu, s.tau)

    # The rod flow (math.md 6)

    def rod_step(
        self, f, s: Point, sigma: Array, dt: float, metric: Array | None = None, corrected: bool = False
    ) -> tuple[Point, Array, Array]:
        """One Euler substep: centre, dense Σ of the phase point [p, p] or [2p, 2p], and P̃ of both ends' steps.

        metric: the P̃ in whose balanced coordinates ζ is taken: that of the substep before; None: ζ is that of Σ itself.
        corrected: the centre moves by F − ½(1 − dt) DF[F], by differences of F with ζ fixed; P̃'s explicit time is set back instead.
        """
        p = len(s.w)
        balance = np.ones(len(sigma))
        if metric is not None:
            root = np.sqrt(np.broadcast_to(metric, (p,)))
            balance = np.concatenate([root, 1 / root])[: len(sigma)]
        values, vectors = np.linalg.eigh(balance[:, None] * sigma * balance)
        zeta = vectors[:, -1] * np.sqrt(max(values[-1], 0.0)) / balance
        moves, nu_rate, after = self._rod_moves(f, s, zeta)
        P = self.P(after, s.tau)
        growth = 0.25 * sum(np.outer(move, move) for move in moves)
        drift = 0.5 * (moves[0] + moves[1])
        if corrected:

            def along(e: float) -> Array:
                w, m = s.w + e * drift[:p], s.m + e * drift[p:] if self.has_momentum else s.m
                return np.mean(self._rod_moves(f, Point(w, m, None if s.nu is None else s.nu + e * nu_rate, s.tau), zeta)[0], axis=0)

            e, lag = 1e-3, 0.5 * (1 - dt)
            drift = drift - lag * (8 * (along(e) - along(-e)) - (along(2 * e) - along(-2 * e))) / (12 * e)
            drift[:p] *= P / self.P(after, s.tau - lag)
        nu = None if s.nu is None else s.nu + dt * nu_rate
        m = s.m + dt * drift[p:] if self.has_momentum else s.m
        return Point(s.w + dt * drift[:p], m, nu, s.tau + dt), sigma + dt * (growth - 2 * sigma), P

    def _rod_moves(self, f, s: Point, zeta: Array) -> tuple[list[Array], Array | None, Array | None]:
        """f₊ and f₋ [p] or [2p], dν/dt, and the ν of both ends' P̃."""
        p = len(s.w)
        ends = [Point(s.w + e * zeta[:p], s.m + e * zeta[p:] if self.has_momentum else s.m, s.nu, s.tau) for e in (1, -1)]
        g = [gradient(f, self.x(end)) for end in ends]
        nu_rate = None if s.nu is None else (1 - self.beta2) * (0.5 * (self.sq(g[0]) + self.sq(g[1])) - s.nu)
        after = None if s.nu is None else s.nu + nu_rate
        P = self.P(after, s.tau)
        moves = []
        for end, slope in zip(ends, g, strict=True):
            by = [-self.direction(end.m, slope) / P]
            moves.append(np.concatenate(by + ([(1 - self.b1) * (slope - end.m)] if self.has_momentum else [])))
        return moves, nu_rate, after


def _unconstrained(rows: Array, alpha: Array) -> Array | None:
    """argmin ½ Σ_n ⟨rows_n, X⟩² + ⟨alpha, X⟩ over symmetric X, if it is positive definite: then the cone does not matter."""
    i, j = np.triu_indices(len(alpha))
    basis = np.zeros((len(i), *alpha.shape))
    basis[np.arange(len(i)), i, j] = basis[np.arange(len(i)), j, i] = 1.0
    features = np.einsum("nab,mab->nm", rows, basis)
    if np.linalg.matrix_rank(features) < len(i):
        return None
    solution = np.linalg.solve(features.T @ features, -np.einsum("ab,mab->m", alpha, basis))
    X = np.einsum("m,mab->ab", solution, basis)
    return X if np.linalg.eigvalsh(X)[0] > 0 else None


NINE = ("gd", "heavy_ball", "nesterov", "scalar_rmsprop", "scalar_adam", "scalar_nadam", "rmsprop", "adam", "nadam")


def central_step(f, w: Array, lr: float, dt: float) -> tuple[Array, Array]:
    """One predict-and-project substep of gradient descent's central flow: the new w, and Σ [p, p] in full."""
    after, sigma, _ = Method("gd", lr).central_step(f, Point(w, np.zeros_like(w)), dt)
    return after.w, sigma


def rod_step(f, w: Array, sigma: Array, lr: float, dt: float) -> tuple[Array, Array]:
    """One Euler substep of gradient descent's rod flow with a dense Σ [p, p] ([RF] eq. 6, 7)."""
    after, sigma, _ = Method("gd", lr).rod_step(f, Point(w, np.zeros_like(w)), sigma, dt)
    return after.w, sigma
