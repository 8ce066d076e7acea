"""`top_eigenpairs` against dense eigensolvers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.eigen import top_eigenpairs, top_eigenpairs_of
from cflows_core.linalg.operator import SymmetricOperator


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """A dense symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(values)
    Q = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    A = (Q * values.double()) @ Q.T
    return 0.5 * (A + A.T)


def operator(A: Tensor) -> SymmetricOperator:
    return SymmetricOperator(lambda V: A @ V, len(A), A.dtype)


class Dense:
    """An objective with a given Hessian."""

    def __init__(self, H: Tensor) -> None:
        self.H, self.n_params, self.dtype, self.device = H, len(H), H.dtype, H.device

    def hvp(self, w: Tensor, V: Tensor) -> Tensor:
        return self.H @ V


line = torch.linspace(-1, 1, 195)
SPECTRA = {
    "line": torch.linspace(-1, 2, 200),
    "clustered": torch.cat([line, 2 + 1e-6 * torch.arange(5, dtype=torch.float64)]),
    "multiple": torch.cat([3 * line, torch.full((5,), 3.5)]),
    "more of one value than the block is wide": torch.cat([line[:-7], torch.full((12,), 2.0)]),
    "negative": -torch.linspace(0.1, 5, 200),
    "large and negative": torch.cat([-100 * torch.rand(197, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.2, 0.3])]),
    "power law, as Hessians are": 1 / torch.arange(1, 201) ** 1.5,
    "zero": torch.zeros(200),
    "identity": torch.ones(200),
    "one direction": torch.cat([torch.zeros(199), torch.ones(1)]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_spectra(name: str, dtype: torch.dtype) -> None:
    """Eigenvalues to the residual's square over the gap, here bounded by rounding in float64 and 1e-5 in float32."""
    A = with_spectrum(SPECTRA[name]).to(dtype)
    k, tol = 4, 1e-6
    pairs = top_eigenpairs_of(operator(A), k, tol=tol)
    scale = float(SPECTRA[name].abs().max())
    reference = torch.linalg.eigvalsh(A.double()).flip(0)[:k]
    assert pairs.converged
    assert pairs.values.dtype == dtype
    torch.testing.assert_close(pairs.values.double(), reference, rtol=0, atol=scale * (1e-10 if dtype == torch.float64 else 2e-5))
    # The residual is what it says, up to the rounding of measuring it.
    floor = 30 * torch.finfo(dtype).eps
    residual = torch.linalg.vector_norm(A @ pairs.vectors - pairs.vectors * pairs.values, dim=0) / (scale or 1.0)
    assert (residual <= 1.1 * max(tol, floor) + floor).all()
    assert (pairs.residuals <= max(tol, floor)).all()
    torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, torch.eye(k, dtype=dtype), rtol=0, atol=10 * floor)


@pytest.mark.parametrize("p", [1, 2, 3, 5, 8, 17, 30, 32, 33, 40])
def test_small_problems_with_every_k(p: int) -> None:
    """Up to 32 weights exact; beyond, also k = p, where the whole space must be found."""
    A = with_spectrum(torch.randn(p, generator=torch.Generator().manual_seed(p)), seed=p)
    reference = torch.linalg.eigvalsh(A).flip(0)
    for k in sorted({1, 2, p // 2, p} - {0}):
        if k > p:
            continue
        pairs = top_eigenpairs_of(operator(A), k, tol=1e-9)
        assert pairs.converged
        torch.testing.assert_close(pairs.values, reference[:k], rtol=0, atol=1e-12)
        torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, torch.eye(k, dtype=A.dtype), rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [20, 150])
def test_generalised_eigenpairs_of_a_diagonal_preconditioner(p: int) -> None:
    """scipy solves `H u = λ P u` directly; here `UᵀPU = I` as well."""
    generator = torch.Generator().manual_seed(p)
    H = with_spectrum(torch.randn(p, generator=generator))
    P = 0.1 + 3 * torch.rand(p, generator=generator, dtype=torch.float64)
    pairs = top_eigenpairs(Dense(H), torch.zeros(p, dtype=torch.float64), 3, P, tol=1e-9)
    reference = scipy.linalg.eigh(H.numpy(), np.diag(P.numpy()), eigvals_only=True)[::-1][:3]
    np.testing.assert_allclose(pairs.values.numpy(), reference, rtol=0, atol=1e-12)
    torch.testing.assert_close(pairs.vectors.T @ (P[:, None] * pairs.vectors), torch.eye(3, dtype=H.dtype), rtol=0, atol=1e-12)
    # The residual 1e-9 is relative to the largest |λ| and in the coordinates of P^{1/2} u.
    residual = (H @ pairs.vectors - P[:, None] * pairs.vectors * pairs.values) / P.sqrt()[:, None]
    assert torch.linalg.vector_norm(residual, dim=0).max() < 1.1e-9 * np.abs(scipy.linalg.eigvalsh(H.numpy(), np.diag(P.numpy()))).max()


def test_scalar_preconditioner_divides_the_eigenvalues() -> None:
    H, eta = with_spectrum(SPECTRA["line"]), 0.25
    w = torch.zeros(200, dtype=torch.float64)
    effective = top_eigenpairs(Dense(H), w, 2, 1 / eta)
    torch.testing.assert_close(effective.values, eta * top_eigenpairs(Dense(H), w, 2).values, rtol=0, atol=1e-10)
    torch.testing.assert_close((effective.vectors**2).sum(0), torch.full((2,), eta).double(), rtol=1e-10, atol=0)


def test_start_saves_products_and_may_be_poor() -> None:
    A = with_spectrum(SPECTRA["line"])
    cold = top_eigenpairs_of(operator(A), 3)
    warm = top_eigenpairs_of(operator(A), 3, start=cold.vectors)
    assert warm.n_products < cold.n_products
    torch.testing.assert_close(warm.values, cold.values, rtol=0, atol=1e-11)
    for start in (
        torch.zeros(200, 3).double(),
        torch.ones(200, 3).double(),  # of rank one
        cold.vectors[:, [0, 0, 0]] + 1e-9 * torch.randn(200, 3).double(),  # nearly so
        1e150 * cold.vectors,
        1e-150 * cold.vectors,
    ):
        poor = top_eigenpairs_of(operator(A), 3, start=start)
        assert poor.converged
        torch.testing.assert_close(poor.values, cold.values, rtol=0, atol=1e-11)


def test_a_start_of_lower_eigenvectors_does_not_deceive() -> None:
    """Exact eigenvectors, of residual zero, but not the largest ones."""
    A = with_spectrum(SPECTRA["power law, as Hessians are"])
    values, vectors = torch.linalg.eigh(A)
    pairs = top_eigenpairs_of(operator(A), 3, start=vectors.flip(1)[:, 4:7])
    torch.testing.assert_close(pairs.values, values.flip(0)[:3], rtol=0, atol=1e-11)


def test_start_is_taken_in_weight_coordinates() -> None:
    H = with_spectrum(SPECTRA["line"])
    P = 0.5 + torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w = torch.zeros(200, dtype=torch.float64)
    cold = top_eigenpairs(Dense(H), w, 3, P)
    warm = top_eigenpairs(Dense(H), w, 3, P, start=cold.vectors)
    assert warm.n_calls < 0.7 * cold.n_calls  # what is left is the guard, which starts from random
    torch.testing.assert_close(warm.values, cold.values, rtol=0, atol=1e-11)


def test_the_answer_is_a_function_of_the_arguments() -> None:
    A = with_spectrum(SPECTRA["line"])
    first, second = (top_eigenpairs_of(operator(A), 3, seed=5) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.values, second.values)
    other = top_eigenpairs_of(operator(A), 3, seed=6)
    torch.testing.assert_close(other.values, first.values, rtol=0, atol=1e-11)


def test_too_little_work_is_told() -> None:
    pairs = top_eigenpairs_of(operator(with_spectrum(SPECTRA["line"])), 3, max_calls=2)
    assert not pairs.converged
    assert pairs.n_calls == 2
    assert pairs.residuals.max() > 1e-6
    assert torch.isfinite(pairs.values).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("n", [20, 100])
def test_a_product_that_is_not_finite(value: float, after: int, n: int) -> None:
    A, calls = with_spectrum(torch.linspace(-1, 2, n)), 0

    def apply(V: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return A @ V if calls <= after else torch.full_like(V, value)

    pairs = top_eigenpairs_of(SymmetricOperator(apply, n), 3)
    if n == 20 and after:  # exact after its single product
        assert pairs.converged
        return
    assert not pairs.converged
    assert torch.isnan(pairs.values).all()
    assert torch.isnan(pairs.residuals).all()
    assert pairs.vectors.shape == (n, 3)


def test_products_are_counted() -> None:
    op = operator(with_spectrum(SPECTRA["line"]))
    pairs = top_eigenpairs_of(op, 2)
    assert (pairs.n_products, pairs.n_calls) == (op.n_products, op.n_calls)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 0}, "between 1 and the number of weights, 10, got 0"),
        ({"k": 11}, "got 11"),
        ({"tol": 0.0}, "`tol` must be between 0 and 1, got 0"),
        ({"w": torch.zeros(9)}, r"flat tensor \[10\], got \[9\]"),
        ({"w": 1.0}, "got float"),
        ({"start": torch.zeros(10)}, r"\[10, j\], got \[10\]"),
        ({"preconditioner": -1.0}, "must be positive and finite, got -1"),
    ],
)
def test_arguments_are_checked(arguments: dict, words: str) -> None:
    given = {"w": torch.zeros(10, dtype=torch.float64), "k": 2} | arguments
    with pytest.raises(CflowsError, match=words):
        top_eigenpairs(Dense(torch.eye(10, dtype=torch.float64)), **given)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    A = with_spectrum(SPECTRA["line"])
    on_gpu = SymmetricOperator(lambda V: A.cuda() @ V, 200, device="cuda")
    pairs = top_eigenpairs_of(on_gpu, 3, tol=1e-9)
    assert pairs.values.is_cuda
    assert pairs.vectors.is_cuda
    torch.testing.assert_close(pairs.values.cpu(), torch.linalg.eigvalsh(A).flip(0)[:3], rtol=0, atol=1e-12)
