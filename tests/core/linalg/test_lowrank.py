"""LowRank against the dense covariance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cflows_core.linalg.lowrank import LowRank

fixed = settings(derandomize=True, deadline=None, max_examples=80)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best(dense: Tensor, r: int) -> Tensor:
    """The best PSD approximation of rank r."""
    values, vectors = torch.linalg.eigh(dense)
    values = values.clamp(min=0)
    values[:-r] = 0
    return (vectors * values) @ vectors.T


def check(sigma: LowRank, p: int, r: int) -> None:
    assert sigma.rank == min(p, r)
    torch.testing.assert_close(sigma.Q.T @ sigma.Q, torch.eye(min(p, r), dtype=torch.float64), rtol=0, atol=1e-13)
    assert (sigma.eigenvalues >= 0).all()
    assert (sigma.eigenvalues.diff() <= 0).all()


@fixed
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 3), st.floats(-1.0, 1.0), st.integers(0, 2**31))
def test_one_update_against_dense(p: int, r: int, c: int, decay: float, seed: int) -> None:
    """Also p < r, more columns than coordinates, and the negative decay of a whole-step rod."""
    sigma = LowRank.from_columns(normal(p, 2, seed=seed), r)
    check(sigma, p, r)
    columns = normal(p, c, seed=seed + 1)
    new = sigma.update(decay, columns)
    check(new, p, r)
    # A truncated tie could differ, but random eigenvalues do not tie; the tolerance is rounding.
    torch.testing.assert_close(new.dense(), best(decay * sigma.dense() + columns @ columns.T, min(p, r)), rtol=0, atol=1e-11)


def test_a_rod_of_rank_two_stays_exact_over_many_updates() -> None:
    """f± in a fixed plane: rank 2 holds it, and 200 substeps agree with the dense recursion to rounding."""
    p, dt = 30, 0.25
    plane = torch.linalg.qr(normal(p, 2))[0]
    sigma = LowRank.from_columns(0.1 * plane[:, :1], rank=4)
    dense = sigma.dense()
    for t in range(200):
        f = plane @ normal(2, 2, seed=t + 1)
        sigma = sigma.update(1 - 2 * dt, math.sqrt(dt / 4) * f)
        dense = (1 - 2 * dt) * dense + dt / 4 * f @ f.T
    check(sigma, p, 4)
    torch.testing.assert_close(sigma.dense(), dense, rtol=0, atol=1e-13)
    assert (sigma.eigenvalues[2:] < 1e-15).all()


def test_unused_columns_are_orthonormal_with_eigenvalue_zero() -> None:
    zeta = normal(12)
    sigma = LowRank.from_columns(zeta[:, None], rank=4)
    check(sigma, 12, 4)
    assert sigma.eigenvalues[0] == pytest.approx(float(zeta @ zeta), rel=1e-14)
    assert sigma.eigenvalues[1:].abs().max() < 1e-14
    assert (sigma.principal() - zeta).norm() < 1e-13 or (sigma.principal() + zeta).norm() < 1e-13


def test_nothing_at_all() -> None:
    sigma = LowRank.from_columns(torch.zeros(6, 1, dtype=torch.float64), rank=3)
    check(sigma, 6, 3)
    assert not sigma.dense().any()
    assert not sigma.principal().any()
    assert not sigma.update(0.5, torch.zeros(6, 2, dtype=torch.float64)).dense().any()


def test_principal_part_keeps_its_sign_and_is_the_best_rank_one() -> None:
    sigma = LowRank.from_columns(normal(10, 3), rank=4)
    for t in range(50):
        new = sigma.update(0.9, 0.2 * normal(10, 2, seed=t + 5))
        assert torch.dot(new.Q[:, 0], sigma.Q[:, 0]) >= 0
        sigma = new
    zeta = sigma.principal()
    torch.testing.assert_close(torch.outer(zeta, zeta), best(sigma.dense(), 1), rtol=0, atol=1e-12)


def test_product_and_trace() -> None:
    sigma = LowRank.from_columns(normal(8, 2), rank=3)
    V = normal(8, 5, seed=3)
    torch.testing.assert_close(sigma @ V, sigma.dense() @ V)
    torch.testing.assert_close(sigma @ V[:, 0], sigma.dense() @ V[:, 0])
    torch.testing.assert_close(sigma.trace(), torch.trace(sigma.dense()))


def test_float32_keeps_its_dtype() -> None:
    sigma = LowRank.from_columns(normal(20, 2).float(), rank=4).update(0.5, normal(20, 2, seed=2).float())
    assert sigma.Q.dtype == sigma.eigenvalues.dtype == torch.float32
    torch.testing.assert_close(sigma.Q.T @ sigma.Q, torch.eye(4), rtol=0, atol=1e-6)


def test_what_is_not_finite_gives_nan() -> None:
    columns = normal(6, 2)
    columns[0, 0] = torch.inf
    sigma = LowRank.from_columns(normal(6, 1), rank=3).update(0.5, columns)
    assert torch.isnan(sigma.eigenvalues).all()
    assert torch.isnan(sigma.principal()).all()
