"""The semidefinite complementarity problem of central flows (math.md 4).

Given symmetric `α [k, k]` and a symmetric positive semidefinite linear map `β` on symmetric matrices, find `X` with

    0 ⪯ X  ⊥  α + β[X] ⪰ 0,

the optimality conditions of `min_{X ⪰ 0} ½⟨X, β[X]⟩ + ⟨α, X⟩`. [CF] poses it for `Σ = U X Uᵀ` (their appendix's
linearised form); the solver is ours: Clarabel (interior point) on a scaled copy, whose answer of about 1e-7 is polished
to about 1e-14 by Newton steps on the projection equation.
"""

# pyright: reportAttributeAccessIssue=false
# (Clarabel is a compiled module without type information.)

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import clarabel
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.svec import side, tables
from cflows_core.linalg.transfer import Array, host

ZERO = 1e-14  # α ⪰ -ZERO·max|eigenvalue of α| counts as α ⪰ 0
SOLVED, ALMOST = 1e-8, 1e-4  # largest relative residual of a "solved" and of an "almost" answer
SINGULAR = 1e-9  # eigenvalues of the equilibrated β below this share of the largest count as 0
TIKHONOV = 1e-5  # the regularisation of a singular β, as a share of its smallest eigenvalue that is not 0
RESIDUALS: tuple[str, ...] = ("primal", "dual", "complementarity")
GROWTH = 1.2  # halving the regularisation makes a bounded X grow by a factor near 1, an unbounded one by 2


@dataclass(frozen=True)
class SDCPSolution:
    """`X [k, k]` in α's dtype and device, and how good it is.

    `status`: "zero" (α ⪰ 0, so X = 0), "solved" (all residuals ≤ 1e-8), "almost" (≤ 1e-4), "unbounded" (no X holds
    these eigenvalues: β vanishes along a direction in which α is negative; X is NaN) or "failed" (input not finite, or
    residuals above 1e-4). `residuals`, relative: `primal` = −λ_min(X)/‖X‖, `dual` = −λ_min(α + β[X])/‖α‖ (0 where
    positive), `complementarity` = ‖X(α + β[X])‖_F/(‖X‖_F ‖α‖), with ‖α‖ its largest absolute eigenvalue.
    """

    X: Tensor
    status: str
    residuals: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether X can be used: "zero", "solved" or "almost"."""
        return self.status in ("zero", "solved", "almost")


def solve_sdcp(alpha: Tensor, beta: Tensor, *, negligible: float = 0.0) -> SDCPSolution:
    """Solve `0 ⪯ X ⊥ α + β[X] ⪰ 0`.

    Args: `alpha [k, k]` symmetric; `beta [m, m]`, m = k(k+1)/2, symmetric positive semidefinite in svec coordinates;
    eigenvalues of β at or below `negligible` count as 0 (derivatives taken by differences leave noise there). Only
    symmetric parts are used, negative eigenvalues of β are rounding and become 0. Where X is not unique, the one of
    least Frobenius norm. Computed in float64 on the host.
    Raises CflowsError for shapes that do not fit; anything numerical is told by `status`.

    >>> solve_sdcp(torch.tensor([[-1.0]]), torch.tensor([[4.0]])).X
    tensor([[0.2500]])
    """
    k = alpha.shape[-1] if alpha.ndim == 2 else 0
    m = k * (k + 1) // 2
    if k == 0 or alpha.shape != (k, k) or beta.shape != (m, m):
        raise CflowsError(
            f"solve_sdcp needs alpha [k, k] and beta [m, m] with m = k(k+1)/2, got {list(alpha.shape)} and "
            f"{list(beta.shape)}; write beta in svec coordinates (cflows_core.linalg.svec)."
        )
    a, b = host(alpha), host(beta)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return _answer(alpha, None, "failed")
    if k == 1:
        return _alone(alpha, float(a[0, 0]), float(b[0, 0]), negligible)
    a, b = 0.5 * (a + a.T), 0.5 * (b + b.T)
    low, high = np.linalg.eigvalsh(a)[[0, -1]]
    if low >= -ZERO * max(-low, high):
        return _answer(alpha, np.zeros((k, k)), "zero", a, b)
    b = _semidefinite(b, negligible)
    if not np.diagonal(b).max() > 0:
        return _answer(alpha, None, "unbounded")
    X, status = _scaled(a, b)
    return _answer(alpha, X, status, a, b)


def _alone(like: Tensor, a: float, b: float, negligible: float) -> SDCPSolution:
    """k = 1: X = max(0, −α/β), without residuals; apart, because LAPACK's calls would be a tenth of a small network's step."""
    X = 0.0 if a >= 0 else -a / b if b > max(negligible, 0.0) else math.inf
    if not math.isfinite(X):
        return _answer(like, None, "unbounded")
    return SDCPSolution(torch.full_like(like, X), "zero" if a >= 0 else "solved", dict.fromkeys(RESIDUALS, 0.0))


def _semidefinite(b: Array, negligible: float) -> Array:
    """β without its negative and negligible eigenvalues."""
    values, vectors = np.linalg.eigh(b)
    if values[0] > negligible:
        return b
    return (vectors * np.where(values > negligible, values, 0.0)) @ vectors.T


def _scaled(a: Array, b: Array) -> tuple[Array | None, str]:
    """X and "solved", or None and "unbounded" | "failed"; k ≥ 2, β ≠ 0."""
    S = _equilibrating(b)
    values = np.linalg.eigvalsh(S[:, None] * b * S)
    if values[0] > SINGULAR * values[-1]:
        X = -_smat(S * np.linalg.solve(S[:, None] * b * S, S * _svec(a)))
        if np.linalg.eigvalsh(X)[0] >= 0:  # every tracked mode oscillates: the common case, and then no cone is needed
            return X, "solved"
        X = _solve(a, b, S)
        return X, "failed" if X is None else "solved"
    # β is singular: X need not exist nor be unique. The solution for β + εI tends to the one of least norm, with an
    # error linear in ε that two values of ε remove; it grows like 1/ε where there is none.
    values = np.linalg.eigvalsh(b)
    eps = TIKHONOV * values[values > SINGULAR * values[-1]][0]
    eye = np.eye(len(b))
    coarse, fine = (_solve(a, b + e * eye, _equilibrating(b + e * eye)) for e in (eps, 0.5 * eps))
    if coarse is None or fine is None:
        return None, "failed"
    if np.linalg.norm(fine) > GROWTH * np.linalg.norm(coarse):
        return None, "unbounded"
    return 2 * fine - coarse, "solved"


def _equilibrating(b: Array) -> Array:
    """Diagonal `S [m]` of the congruence `X = D X̃ D`, which keeps the cone, that makes all `β̃[ii, ii]` equal to 1."""
    rows, columns, _, _ = tables(side(len(b)))
    g = np.diagonal(b)[rows == columns]
    # The floor: a mode without curvature of its own stays within 1e4 of the others.
    d = np.maximum(g, 1e-16 * g.max()) ** -0.25
    return d[rows] * d[columns]


def _solve(a: Array, b: Array, S: Array) -> Array | None:
    """X for a positive definite β, by Clarabel on the problem scaled to O(1), then Newton; None when Clarabel fails."""
    k = len(a)
    q = S * _svec(a)
    P = S[:, None] * b * S
    size_a, size_b = np.abs(np.linalg.eigvalsh(_smat(q))).max(), np.linalg.eigvalsh(P)[-1]
    q, P = q / size_a, P / size_b
    cone = [clarabel.PSDTriangleConeT(k)]
    m = len(q)
    solver = clarabel.DefaultSolver(sparse.csc_matrix(np.triu(P)), q, _minus_identity(m), np.zeros(m), cone, _settings())
    result = solver.solve()
    x, z = np.array(result.x), np.array(result.z)
    if str(result.status) not in ("Solved", "AlmostSolved") or not np.isfinite(x).all():
        return None
    X = _polish(q, P, x, z)
    return (size_a / size_b) * _smat(S * X)


@lru_cache(maxsize=64)
def _minus_identity(m: int) -> sparse.csc_matrix:
    return sparse.csc_matrix(-np.eye(m))


@lru_cache(maxsize=1)
def _settings() -> clarabel.DefaultSettings:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1  # the workers own the threads
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    # Scaled already, dense, and no rows to remove: each of these would cost more than it saves.
    settings.equilibrate_enable = settings.presolve_enable = settings.chordal_decomposition_enable = False
    return settings


def _polish(q: Array, P: Array, x: Array, z: Array, steps: int = 12) -> Array:
    """Semismooth Newton on `G(Y) = q + P Π(Y) − Π(Y) + Y = 0`, Π the projection on the cone: then X = Π(Y), Z = Π(−Y).

    X and Z are PSD and complementary by construction (both come from Y's eigenvectors), so G alone measures the error.
    Started at Clarabel's X − Z; converges quadratically where one of X, Z is positive in every eigendirection, and
    never worsens G.
    """
    rows, columns, _, _ = tables(side(len(q)))
    identity = np.eye(len(q))
    unit = float(np.linalg.norm(x)) or 1.0  # X in units of its own size, so that Y = X − Z loses neither
    P, y = unit * P, x / unit - z

    def evaluate(y: Array) -> tuple[Array, Array, Array, Array, float]:
        values, vectors = np.linalg.eigh(_smat(y))
        x = _svec((vectors * np.maximum(values, 0.0)) @ vectors.T)
        G = q + P @ x - x + y
        return values, vectors, x, G, float(np.linalg.norm(G))

    values, vectors, x, G, error = evaluate(y)
    for _ in range(steps):
        if error <= 1e-14:
            break
        # In Y's eigenbasis the derivative of Π is diagonal in svec coordinates (Löwner): 1 on the face, 0 on its
        # complement, between across.
        K = _congruence(vectors.T)
        i, j = values[rows], values[columns]
        size = np.abs(i) + np.abs(j)
        slope = np.divide(np.maximum(i, 0) + np.maximum(j, 0), size, out=np.full_like(size, 0.5), where=size > 0)
        try:
            step = K.T @ np.linalg.solve(identity + (K @ P @ K.T - identity) * slope, -(K @ G))
        except np.linalg.LinAlgError:
            break
        for damping in (1.0, 0.5, 0.25, 0.125):
            new = evaluate(y + damping * step)
            if new[-1] < error:
                break
        else:
            break
        y = y + damping * step
        values, vectors, x, G, error = new
    return unit * x


def _answer(like: Tensor, X: Array | None, status: str, a: Array | None = None, b: Array | None = None) -> SDCPSolution:
    """The solution in `like`'s dtype and device, its residuals measured on X, and the status they allow."""
    if X is None or a is None or b is None or not np.isfinite(X).all():
        nan = dict.fromkeys(RESIDUALS, math.nan)
        return SDCPSolution(torch.full_like(like, torch.nan), "unbounded" if status == "unbounded" else "failed", nan)
    values, vectors = np.linalg.eigh(0.5 * (X + X.T))
    X = (vectors * np.maximum(values, 0.0)) @ vectors.T
    X = 0.5 * (X + X.T)
    Z = a + _smat(b @ _svec(X))
    size_a, size_x = np.abs(np.linalg.eigvalsh(a)).max() or 1.0, np.abs(values).max() or 1.0
    measured = (
        max(0.0, -values[0]) / size_x,
        max(0.0, -np.linalg.eigvalsh(Z)[0]) / size_a,
        np.linalg.norm(X @ Z) / ((np.linalg.norm(X) or 1.0) * size_a),
    )
    residuals = {name: float(value) for name, value in zip(RESIDUALS, measured, strict=True)}
    worst = max(residuals.values())
    if status == "solved":
        status = "solved" if worst <= SOLVED else "almost" if worst <= ALMOST else "failed"
    return SDCPSolution(torch.from_numpy(X).to(dtype=like.dtype, device=like.device), status, residuals)


def _svec(X: Array) -> Array:
    rows, columns, scale, _ = tables(len(X))
    return X[rows, columns] * scale


def _smat(v: Array) -> Array:
    _, _, scale, position = tables(side(len(v)))
    return (v / scale)[position]


def _congruence(R: Array) -> Array:
    """`svec.congruence` for a square array."""
    rows, columns, scale, _ = tables(len(R))
    A, B = R[rows], R[columns]
    return (A[:, rows] * B[:, columns] + A[:, columns] * B[:, rows]) * (0.5 * scale[:, None] * scale)
