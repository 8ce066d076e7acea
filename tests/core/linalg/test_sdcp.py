"""The SDCP against constructed answers, closed forms, and an independent conic solver (SCS)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.sdcp import SDCPSolution, solve_sdcp
from cflows_core.linalg.svec import congruence, smat, svec

fixed = settings(derandomize=True, deadline=None, max_examples=80)


def problem(k: int, rank_x: int, rank_z: int, seed: int, spread: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """(α, β, X): random complementary X and Z of given ranks, a random positive definite β, and `α = Z − β[X]`.

    X is then the answer, and the only one, to rounding times β's condition number. rank_x + rank_z < k is degenerate.
    """
    rng = np.random.default_rng(seed)
    m = k * (k + 1) // 2
    T = rng.normal(size=(m, m + 5)) * np.exp(spread * rng.normal(size=(m, 1)))
    Q = np.linalg.qr(rng.normal(size=(k, k)))[0]
    X = Q * np.r_[rng.uniform(0.5, 1, rank_x), np.zeros(k - rank_x)] @ Q.T
    Z = Q * np.r_[np.zeros(k - rank_z), rng.uniform(0.5, 1, rank_z)] @ Q.T
    beta, X, Z = (torch.from_numpy(array) for array in (T @ T.T / m, X, Z))
    return Z - smat(beta @ svec(X)), beta, X


def check(solution: SDCPSolution, alpha: Tensor, beta: Tensor, tolerance: float = 1e-9) -> None:
    """The three conditions, measured here, relative to the problem's scale."""
    assert solution.status in ("solved", "zero")
    X, Z = solution.X, alpha + smat(beta @ svec(solution.X))
    size_x, size_a = torch.linalg.matrix_norm(X, 2), torch.linalg.matrix_norm(alpha, 2)
    assert torch.equal(X, X.T)
    assert torch.linalg.eigvalsh(X)[0] >= -tolerance * size_x
    assert torch.linalg.eigvalsh(Z)[0] >= -tolerance * size_a
    assert torch.linalg.matrix_norm(X @ Z) <= tolerance * size_x * size_a
    assert max(solution.residuals.values()) <= tolerance
    assert set(solution.residuals) == {"primal", "dual", "complementarity"}


def by_scs(alpha: Tensor, beta: Tensor) -> np.ndarray:
    """The same programme by a first-order solver, in SCS's own order (lower triangle, column-major), at 1e-11."""
    k = len(alpha)
    pairs = [(i, j) for j in range(k) for i in range(j, k)]
    basis = []
    for i, j in pairs:
        E = torch.zeros(k, k, dtype=torch.float64)
        E[i, j] = E[j, i] = 1.0 if i == j else math.sqrt(0.5)
        basis.append(E)
    P = np.array([[float(torch.sum(a * smat(beta @ svec(b)))) for b in basis] for a in basis])
    q = np.array([float(torch.sum(alpha * E)) for E in basis])
    m = len(q)
    data = {"P": sparse.csc_matrix(np.triu(P)), "A": -sparse.identity(m, format="csc"), "b": np.zeros(m), "c": q}
    result = scs.SCS(data, {"s": [k]}, eps_abs=1e-11, eps_rel=1e-11, max_iters=100_000, verbose=False).solve()
    assert result["info"]["status"] == "solved"
    return sum(x * E.numpy() for x, E in zip(result["x"], basis, strict=True))


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("seed", range(3))
def test_against_an_independent_conic_solver(k: int, seed: int) -> None:
    """α = −(a random PSD matrix) plus noise, as after a predicting step: SCS agrees to its own accuracy, about 1e-9."""
    rng = np.random.default_rng(seed)
    m = k * (k + 1) // 2
    T = rng.normal(size=(m, m + 3))
    A = rng.normal(size=(k, k))
    alpha, beta = torch.from_numpy(-np.eye(k) + 0.7 * (A + A.T)), torch.from_numpy(T @ T.T / m)
    if torch.linalg.eigvalsh(alpha)[0] > 0:
        alpha = -alpha
    solution = solve_sdcp(alpha, beta)
    check(solution, alpha, beta, 1e-11)
    np.testing.assert_allclose(solution.X.numpy(), by_scs(alpha, beta), rtol=0, atol=1e-7 * max(1.0, float(solution.X.abs().max())))


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("strict", [True, False])
def test_constructed_answers(k: int, strict: bool) -> None:
    """Every rank of X, with Z of the complementary rank, and degenerate (neither has a direction): to 1e-10."""
    for rank in range(1, k + 1):
        alpha, beta, X = problem(k, rank, k - rank if strict else max(0, k - rank - 1), seed=rank, spread=0.5)
        solution = solve_sdcp(alpha, beta)
        check(solution, alpha, beta, 1e-10)
        torch.testing.assert_close(solution.X, X, rtol=0, atol=1e-8)


@fixed
@given(st.floats(-12, 12), st.floats(-12, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_any_scale(log_alpha: float, log_beta: float, k: int, seed: int) -> None:
    """α and β in any units (dt, η): X scales as their quotient, and the residuals do not notice."""
    alpha, beta, X = problem(k, (k + 1) // 2, k // 2, seed)
    a, b = 10.0**log_alpha, 10.0**log_beta
    solution = solve_sdcp(a * alpha, b * beta)
    check(solution, a * alpha, b * beta, 1e-10)
    torch.testing.assert_close(solution.X * (b / a), X, rtol=0, atol=1e-7)


@pytest.mark.parametrize("log_scale", [-3.0, -1.5, 1.5, 3.0])
def test_modes_in_different_units(log_scale: float) -> None:
    """Congruence by `D = diag(1, 10^s, ...)`: β's entries spread over 10^(4s), twelve decades at most."""
    k = 3
    alpha, beta, X = problem(k, 2, 1, seed=4)
    d = 10.0 ** torch.linspace(0, log_scale, k, dtype=torch.float64)
    D, K = torch.diag(d), congruence(torch.diag(1 / d))
    solution = solve_sdcp(torch.linalg.inv(D) @ alpha @ torch.linalg.inv(D), K @ beta @ K.T)
    assert solution.status == "solved"
    torch.testing.assert_close(torch.linalg.inv(D) @ solution.X @ torch.linalg.inv(D), X, rtol=0, atol=1e-6)


@fixed
@given(st.floats(-5, 5), st.floats(1e-3, 1e3))
def test_one_mode_is_the_closed_form(alpha: float, beta: float) -> None:
    solution = solve_sdcp(torch.tensor([[alpha]], dtype=torch.float64), torch.tensor([[beta]], dtype=torch.float64))
    assert float(solution.X) == pytest.approx(max(0.0, -alpha / beta), rel=1e-12)
    assert solution.status == ("solved" if alpha < 0 else "zero")


@pytest.mark.parametrize("diagonal", [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]])
def test_nothing_is_above_the_edge(diagonal: list[float]) -> None:
    _, beta, _ = problem(4, 2, 2, seed=0)
    solution = solve_sdcp(torch.diag(torch.tensor(diagonal, dtype=torch.float64)), beta)
    assert solution.status == "zero"
    assert solution.ok
    assert not solution.X.any()


def test_modes_that_do_not_interact_are_closed_forms() -> None:
    """β diagonal and α diagonal, with repeated and zero entries: each mode by itself, k = 1."""
    k = 4
    a = torch.tensor([-2.0, -2.0, 0.0, 1.0], dtype=torch.float64)
    beta = torch.eye(k * (k + 1) // 2, dtype=torch.float64)
    solution = solve_sdcp(torch.diag(a), beta)
    check(solution, torch.diag(a), beta, 1e-12)
    torch.testing.assert_close(solution.X, torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0]).double()), rtol=0, atol=1e-10)


def test_zero_blocks() -> None:
    """α with a zero block beside a negative one: degenerate, X there is zero."""
    alpha = torch.zeros(5, 5, dtype=torch.float64)
    alpha[:2, :2] = torch.tensor([[-1.0, 0.3], [0.3, -0.5]])
    beta = torch.eye(15, dtype=torch.float64)
    solution = solve_sdcp(alpha, beta)
    check(solution, alpha, beta, 1e-9)
    torch.testing.assert_close(solution.X[:2, :2], -alpha[:2, :2], rtol=0, atol=1e-7)
    assert solution.X[2:].abs().max() < 1e-7


def trace_only(k: int) -> Tensor:
    """β[X] = tr(X) I: what a scalar preconditioner gives; of rank one."""
    identity = svec(torch.eye(k, dtype=torch.float64))
    return torch.outer(identity, identity)


@pytest.mark.parametrize("k", range(2, 7))
def test_the_answer_of_least_norm(k: int) -> None:
    """α = −I, β[X] = tr(X) I: every X of trace 1 solves it, I/k has the least norm."""
    alpha = -torch.eye(k, dtype=torch.float64)
    solution = solve_sdcp(alpha, trace_only(k))
    check(solution, alpha, trace_only(k), 1e-8)
    torch.testing.assert_close(solution.X, torch.eye(k, dtype=torch.float64) / k, rtol=0, atol=1e-7)


def test_the_answer_of_least_norm_on_a_face() -> None:
    """Only the two lowest modes of α can oscillate, and share the trace: X = diag(½, ½, 0)."""
    alpha = torch.diag(torch.tensor([-1.0, -1.0, -0.5])).double()
    solution = solve_sdcp(alpha, trace_only(3))
    check(solution, alpha, trace_only(3), 1e-8)
    torch.testing.assert_close(solution.X, torch.diag(torch.tensor([0.5, 0.5, 0.0])).double(), rtol=0, atol=1e-7)


def test_unique_though_beta_is_singular() -> None:
    """With distinct entries in α only the lowest oscillates: X = diag(1, 0), whatever the regularisation."""
    alpha = torch.diag(torch.tensor([-1.0, -0.5])).double()
    solution = solve_sdcp(alpha, trace_only(2))
    check(solution, alpha, trace_only(2), 1e-8)
    torch.testing.assert_close(solution.X, torch.diag(torch.tensor([1.0, 0.0])).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("rank", [1, 2, 4, 5])
def test_fewer_parameters_than_pairs(rank: int) -> None:
    """β = TᵀT with T of few rows (p < m): singular, yet solvable where α lies in β's range."""
    rng = np.random.default_rng(rank)
    k, m = 3, 6
    # One row near svec(I), so that no X ⪰ 0 but 0 is in β's kernel and the problem is bounded.
    T = rng.normal(size=(rank, m)) * 0.2
    T[0] += svec(torch.eye(k, dtype=torch.float64)).numpy()
    beta = torch.from_numpy(T.T @ T)
    A = rng.normal(size=(k, k))
    alpha = torch.from_numpy(-np.eye(k) + 0.1 * (A + A.T))
    solution = solve_sdcp(alpha, beta)
    check(solution, alpha, beta, 1e-8)


@pytest.mark.parametrize("k", range(1, 6))
def test_nothing_can_hold_a_quadratic(k: int) -> None:
    """β = 0: no third derivative."""
    m = k * (k + 1) // 2
    solution = solve_sdcp(-torch.eye(k, dtype=torch.float64), torch.zeros(m, m, dtype=torch.float64))
    assert solution.status == "unbounded"
    assert not solution.ok
    assert torch.isnan(solution.X).all()


def test_a_direction_that_cannot_be_held() -> None:
    """β acts on the first mode only, and α is negative along the second."""
    beta = torch.zeros(3, 3, dtype=torch.float64)
    beta[0, 0] = 1.0
    assert solve_sdcp(-torch.eye(2, dtype=torch.float64), beta).status == "unbounded"
    held = solve_sdcp(torch.diag(torch.tensor([-1.0, 1.0])).double(), beta)
    check(held, torch.diag(torch.tensor([-1.0, 1.0])).double(), beta, 1e-8)
    torch.testing.assert_close(held.X, torch.diag(torch.tensor([1.0, 0.0])).double(), rtol=0, atol=1e-7)


def test_noise_in_beta_can_be_declared_negligible() -> None:
    noise = 1e-13 * torch.eye(3, dtype=torch.float64)
    alpha = -torch.eye(2, dtype=torch.float64)
    assert solve_sdcp(alpha, noise).status == "solved"
    assert solve_sdcp(alpha, noise, negligible=1e-12).status == "unbounded"
    assert solve_sdcp(alpha[:1, :1], noise[:1, :1], negligible=1e-12).status == "unbounded"


@pytest.mark.parametrize("where", ["alpha", "beta"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_input_that_is_not_finite(where: str, value: float) -> None:
    alpha, beta, _ = problem(3, 2, 1, seed=0)
    (alpha if where == "alpha" else beta)[0, 0] = value
    solution = solve_sdcp(alpha, beta)
    assert solution.status == "failed"
    assert torch.isnan(solution.X).all()
    assert all(math.isnan(residual) for residual in solution.residuals.values())


def test_round_off_that_makes_beta_indefinite_is_ignored() -> None:
    alpha, beta, X = problem(3, 2, 1, seed=1)
    rough = beta + 1e-9 * torch.randn(6, 6, dtype=torch.float64)
    solution = solve_sdcp(alpha, rough)
    assert solution.status == "solved"
    torch.testing.assert_close(solution.X, X, rtol=0, atol=1e-6)
    singular = trace_only(2) - 1e-12 * torch.eye(3, dtype=torch.float64)  # eigenvalues −1e-12
    assert solve_sdcp(-torch.eye(2, dtype=torch.float64), singular).ok


def test_float32_goes_in_and_comes_out() -> None:
    alpha, beta, X = problem(3, 2, 1, seed=2)
    solution = solve_sdcp(alpha.float(), beta.float())
    assert solution.X.dtype == torch.float32
    torch.testing.assert_close(solution.X, X.float(), rtol=0, atol=1e-5)


def test_same_input_same_answer() -> None:
    alpha, beta, _ = problem(5, 3, 2, seed=3)
    assert torch.equal(solve_sdcp(alpha, beta).X, solve_sdcp(alpha.clone(), beta.clone()).X)


def test_shapes_are_checked() -> None:
    with pytest.raises(CflowsError, match=r"got \[3, 3\] and \[3, 3\]; write beta in svec coordinates"):
        solve_sdcp(torch.eye(3), torch.eye(3))
    with pytest.raises(CflowsError, match=r"got \[3\] and \[6, 6\]"):
        solve_sdcp(torch.ones(3), torch.eye(6))
