"""svec: isometry, order, inverse, congruence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.svec import congruence, side, smat, svec, triangle

sizes = st.integers(1, 8)
seeds = st.integers(0, 2**31)
fixed = settings(derandomize=True, deadline=None, max_examples=60)


def symmetric(k: int, seed: int, *batch: int) -> Tensor:
    A = torch.randn(*batch, k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return A + A.mT


@fixed
@given(sizes, seeds)
def test_isometry(k: int, seed: int) -> None:
    X, Y = symmetric(k, seed), symmetric(k, seed + 1)
    torch.testing.assert_close(svec(X) @ svec(Y), torch.trace(X @ Y), rtol=1e-13, atol=1e-12)


@fixed
@given(sizes, seeds)
def test_smat_inverts_svec(k: int, seed: int) -> None:
    X = symmetric(k, seed, 2, 3)
    assert svec(X).shape == (2, 3, k * (k + 1) // 2)
    torch.testing.assert_close(smat(svec(X)), X, rtol=1e-15, atol=1e-15)


@fixed
@given(sizes, sizes, seeds)
def test_congruence(new: int, old: int, seed: int) -> None:
    X = symmetric(old, seed)
    R = torch.randn(new, old, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    torch.testing.assert_close(congruence(R) @ svec(X), svec(R @ X @ R.T), rtol=1e-12, atol=1e-12)


@fixed
@given(sizes, seeds)
def test_congruence_with_a_rotation_is_a_rotation(k: int, seed: int) -> None:
    R = torch.linalg.qr(symmetric(k, seed))[0]
    K = congruence(R)
    torch.testing.assert_close(K @ K.T, torch.eye(len(K), dtype=K.dtype), rtol=0, atol=1e-13)


def test_order_is_clarabels() -> None:
    """Upper triangle column by column, off-diagonals times √2, as Clarabel documents for PSDTriangleConeT."""
    X = torch.tensor([[1.0, 2.0, 4.0], [2.0, 3.0, 5.0], [4.0, 5.0, 6.0]])
    r = math.sqrt(2)
    torch.testing.assert_close(svec(X), torch.tensor([1.0, 2 * r, 3.0, 4 * r, 5 * r, 6.0]))


def test_triangle_pairs_the_entries_of_svec() -> None:
    rows, columns = triangle(4)
    X = symmetric(4, 0)
    scale = torch.where(rows == columns, 1.0, math.sqrt(2)).double()
    torch.testing.assert_close(svec(X), X[rows, columns] * scale)
    assert rows.dtype == torch.int64
    rows += 1  # a caller's own copy: the next one is not disturbed
    assert triangle(4)[0].tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]


def test_dtype_is_kept() -> None:
    X = symmetric(3, 0).float()
    assert svec(X).dtype == smat(svec(X)).dtype == congruence(X).dtype == torch.float32


def test_length_that_is_no_triangle() -> None:
    assert [side(m) for m in (1, 3, 6, 36)] == [1, 2, 3, 8]
    with pytest.raises(CflowsError, match=r"got 5; the nearest are 3 and 6\."):
        smat(torch.zeros(5))
