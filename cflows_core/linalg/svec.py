"""Isometric half-vectorisation of symmetric matrices.

`svec` stacks the upper triangle of a symmetric `X [k, k]` column by column, off-diagonals times √2, so that
`svec(X)·svec(Y) = ⟨X, Y⟩ = tr(XY)` and linear maps that are symmetric in `⟨·,·⟩` become symmetric matrices `[m, m]`, `m
= k(k+1)/2`. The order is Clarabel's (`PSDTriangleConeT`):

    X[0,0], √2 X[0,1], X[1,1], √2 X[0,2], √2 X[1,2], X[2,2], ...

`Objective.third` gives its rows in the same order of pairs, without the √2.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cflows_core.errors import CflowsError

Array = NDArray[Any]


@lru_cache(maxsize=64)
def tables(k: int) -> tuple[Array, Array, Array, Array]:
    """(rows [m], columns [m], scale [m], position [k, k]), shared and not to be written to.

    `scale` is 1 on the diagonal and √2 off it; `position[i, j]` is the place of the pair in an svec.
    """
    pairs = [(i, j) for j in range(k) for i in range(j + 1)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    i, j = np.minimum(*np.indices((k, k))), np.maximum(*np.indices((k, k)))
    return rows, columns, np.where(rows == columns, 1.0, math.sqrt(2.0)), i + j * (j + 1) // 2


@lru_cache(maxsize=64)
def _tables(k: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`tables` as tensors on a device; only the scale takes the dtype."""
    rows, columns, scale, position = (torch.tensor(table, device=device) for table in tables(k))
    return rows, columns, scale.to(dtype), position


def triangle(k: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(rows, columns), int64 `[k(k+1)/2]`: the pairs `i ≤ j` of the upper triangle in svec's order."""
    rows, columns, _, _ = _tables(k, torch.float64, torch.device(device))
    return rows.clone(), columns.clone()  # copies: the cached ones serve every later call


def side(m: int) -> int:
    """The `k` with `k(k+1)/2 = m`; raises CflowsError when there is none."""
    k = (math.isqrt(8 * m + 1) - 1) // 2
    if k * (k + 1) // 2 != m:
        near = f"{k * (k + 1) // 2} and {(k + 1) * (k + 2) // 2}"
        raise CflowsError(f"The length of an svec must be k(k+1)/2 for an integer k, got {m}; the nearest are {near}.")
    return k


def svec(X: Tensor) -> Tensor:
    """Symmetric `X [..., k, k]` to `[..., k(k+1)/2]`; only the upper triangle is read."""
    rows, columns, scale, _ = _tables(X.shape[-1], X.dtype, X.device)
    return X[..., rows, columns] * scale


def smat(v: Tensor) -> Tensor:
    """The inverse of `svec`: `[..., k(k+1)/2]` to symmetric `[..., k, k]`; raises CflowsError for another length."""
    _, _, scale, position = _tables(side(v.shape[-1]), v.dtype, v.device)
    return (v / scale)[..., position]


def congruence(R: Tensor) -> Tensor:
    """`K [m', m]` with `svec(R X Rᵀ) = K svec(X)` for `R [k', k]`; orthogonal `R` gives orthogonal `K`.

    A quadratic form `β [m, m]` in svec coordinates moves to a new basis `U_new = U_old Rᵀ` as `K β Kᵀ`.
    """
    new, old = R.shape
    a, b, scale_new, _ = _tables(new, R.dtype, R.device)
    c, d, scale_old, _ = _tables(old, R.dtype, R.device)
    A, B = R[a], R[b]  # [m', k]
    return (A[:, c] * B[:, d] + A[:, d] * B[:, c]) * (0.5 * scale_new[:, None] * scale_old)
