"""The symmetric operator and the preconditioned Hessian, against dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.operator import SymmetricOperator, preconditioned_hessian

N = 7


class Quadratic:
    """L = ½ wᵀHw, whose Hessian products are those of the matrix."""

    def __init__(self, n: int = N, dtype: torch.dtype = torch.float64) -> None:
        A = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.H = (A + A.T).to(dtype)
        self.n_params, self.dtype, self.device = n, dtype, torch.device("cpu")

    def hvp(self, w: Tensor, V: Tensor) -> Tensor:
        return self.H @ V


@pytest.fixture
def quadratic() -> Quadratic:
    return Quadratic()


def test_product_and_count(quadratic: Quadratic) -> None:
    op = SymmetricOperator(lambda V: quadratic.H @ V, N)
    V = torch.randn(N, 3, dtype=torch.float64)
    torch.testing.assert_close(op @ V, quadratic.H @ V)
    torch.testing.assert_close(op @ V[:, 0], quadratic.H @ V[:, 0])
    assert (op.n_products, op.n_calls, op.shape) == (4, 2, (N, N))


@pytest.mark.parametrize(
    ("V", "words"),
    [
        (torch.zeros(N + 1, 2, dtype=torch.float64), r"\[7\] or \[7, k\], got \(8, 2\)"),
        (torch.zeros(N, 2, 1, dtype=torch.float64), r"got \(7, 2, 1\)"),
        (torch.zeros(N, 2), "got torch.float32 on cpu"),
        ([0.0] * N, "got list"),
    ],
)
def test_operand_is_checked(V: Tensor, words: str) -> None:
    with pytest.raises(CflowsError, match=words):
        SymmetricOperator(lambda V: V, N) @ V


def test_what_apply_returns_is_checked() -> None:
    with pytest.raises(CflowsError, match="A product must have the shape of its operand"):
        SymmetricOperator(lambda V: V[:-1], N) @ torch.zeros(N, dtype=torch.float64)


DIAGONAL = torch.linspace(0.5, 3.0, N, dtype=torch.float64)


@pytest.mark.parametrize("P", [None, 4.0, torch.tensor(4.0), DIAGONAL], ids=["identity", "float", "scalar", "diagonal"])
def test_preconditioned_hessian(quadratic: Quadratic, P: Tensor | float | None) -> None:
    op = preconditioned_hessian(quadratic, torch.zeros(N, dtype=torch.float64), P)
    dense = torch.diag(P if isinstance(P, Tensor) and P.ndim else torch.full((N,), 1.0 if P is None else float(P), dtype=torch.float64))
    root = dense.inverse().sqrt()
    torch.testing.assert_close(op @ torch.eye(N, dtype=torch.float64), root @ quadratic.H @ root, rtol=1e-14, atol=1e-14)
    V = torch.randn(N, 3, dtype=torch.float64)
    torch.testing.assert_close(op.to_weights(V), root @ V, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(op.from_weights(op.to_weights(V)), V, rtol=1e-14, atol=1e-14)


def test_infinite_entry_leaves_the_eigenproblem(quadratic: Quadratic) -> None:
    P = DIAGONAL.clone()
    P[2] = torch.inf
    op = preconditioned_hessian(quadratic, torch.zeros(N, dtype=torch.float64), P)
    dense = op @ torch.eye(N, dtype=torch.float64)
    assert not dense[2].any()
    assert not dense[:, 2].any()
    assert torch.isfinite(op.from_weights(torch.ones(N, 1, dtype=torch.float64))).all()


def test_a_cheaper_product_is_used(quadratic: Quadratic) -> None:
    w = torch.zeros(N, dtype=torch.float64)
    op = preconditioned_hessian(quadratic, w, 2.0, lambda V: 4 * V)
    torch.testing.assert_close(op @ torch.ones(N, dtype=torch.float64), torch.full((N,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("P", "words"),
    [
        (0.0, "must be positive and finite, got 0"),
        (-1.0, "got -1"),
        (float("nan"), "got nan"),
        (torch.tensor(float("inf")), "got inf"),
        (torch.ones(N + 1), r"one entry per weight, \[7\], got \[8\]"),
        (torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]), "got 0 at position 2"),
        (torch.tensor([1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0]), "got nan at position 1"),
    ],
)
def test_preconditioner_is_checked(quadratic: Quadratic, P: Tensor | float, words: str) -> None:
    with pytest.raises(CflowsError, match=words):
        preconditioned_hessian(quadratic, torch.zeros(N, dtype=torch.float64), P)
