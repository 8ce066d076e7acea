"""Symmetric linear operators on blocks of vectors, with the products counted.

The public `@` checks its operand and computes in `apply`; solvers call `product`, which only counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from cflows_core.errors import CflowsError

Preconditioner = Tensor | float | None


class HasHvp(Protocol):
    """What the eigensolver needs of an objective: where it lives, and `hvp(w [p], V [p, k]) -> H(w) V [p, k]`.

    Members are read-only properties here, so that plain attributes fit as well.
    """

    @property
    def n_params(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> Any: ...
    @property
    def hvp(self) -> Callable[..., Tensor]: ...


class SymmetricOperator:
    """A symmetric `A [n, n]` known by its products: `op @ V` is `A V` for `V [n, k]` or `[n]`.

    Args: `apply` maps `[n, k]` to `A V [n, k]` and is trusted to be linear and symmetric; `n`, `dtype`, `device` of its
    vectors. `inverse_root` is `P^{-1/2}` (None: identity; a number; or the diagonal `[n]`) where `A = P^{-1/2} H
    P^{-1/2}`: see `to_weights`. `n_products` counts columns, `n_calls` counts blocks, both since construction.
    """

    def __init__(
        self,
        apply: Callable[[Tensor], Tensor],
        n: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        inverse_root: Tensor | float | None = None,
    ) -> None:
        self.apply = apply
        self.n = int(n)
        self.dtype = dtype
        self.device = torch.device(device)
        self.inverse_root = inverse_root
        self.n_products = 0
        self.n_calls = 0

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, n)`."""
        return (self.n, self.n)

    def __matmul__(self, V: Tensor) -> Tensor:
        """`A V`, of V's shape; raises CflowsError for a wrong shape, dtype or device of V, or a wrong shape
        returned."""
        if not isinstance(V, Tensor) or V.ndim not in (1, 2) or V.shape[0] != self.n:
            given = tuple(V.shape) if isinstance(V, Tensor) else type(V).__name__
            raise CflowsError(f"The operator acts on tensors [{self.n}] or [{self.n}, k], got {given}; pass one column per vector.")
        if V.dtype != self.dtype or V.device.type != self.device.type:
            raise CflowsError(
                f"The operator acts on {self.dtype} tensors on {self.device}, got {V.dtype} on {V.device}; convert with .to(dtype, device)."
            )
        block = V if V.ndim == 2 else V[:, None]
        out = self.product(block)
        if out.shape != block.shape:
            raise CflowsError(
                f"A product must have the shape of its operand, got {tuple(out.shape)} for {tuple(block.shape)}; check `apply`."
            )
        return out if V.ndim == 2 else out[:, 0]

    def product(self, V: Tensor) -> Tensor:
        """`A V` for `V [n, k]`, counted and not checked: the inner loops' way in."""
        self.n_products += V.shape[1]
        self.n_calls += 1
        return self.apply(V)

    def to_weights(self, V: Tensor) -> Tensor:
        """`U = P^{-1/2} V`: eigenvectors of `A`, `VᵀV = I`, to those of `(H, P)`, `UᵀPU = I`. Without P the
        identity."""
        return _scale(self.inverse_root, V)

    def from_weights(self, U: Tensor) -> Tensor:
        """`V = P^{1/2} U`, the inverse of `to_weights`; coordinates with infinite `P` give 0."""
        root = self.inverse_root
        if root is None:
            return U
        if not isinstance(root, Tensor) or root.ndim == 0:
            return U / root
        return torch.where(root > 0, U.T / root, 0.0).T


def _scale(factor: Tensor | float | None, V: Tensor) -> Tensor:
    if factor is None:
        return V
    if isinstance(factor, Tensor) and factor.ndim == 1 and V.ndim == 2:
        return factor[:, None] * V
    return factor * V


def overlap(A: Tensor, P: Tensor, B: Tensor) -> Tensor:
    """AᵀPB [i, j] for A [p, i], B [p, j] and P a number [] or a diagonal [p]."""
    return A.T @ (P[:, None] * B) if P.ndim else P * (A.T @ B)


def preconditioned_hessian(
    objective: HasHvp, w: Tensor, preconditioner: Preconditioner = None, product: Callable[[Tensor], Tensor] | None = None
) -> SymmetricOperator:
    """The operator `A = P^{-1/2} H(w) P^{-1/2}` with the eigenvalues of the effective Hessian `P^{-1} H` (math.md 2,
    8).

    Args: `objective` with `hvp(w, V [p, k]) -> [p, k]`; `w [p]`; `preconditioner` `P`: None (identity), a positive
    number or 0-dim tensor (gradient descent: `1/η`), or the positive diagonal `[p]`. An infinite entry takes its
    coordinate out of the eigenproblem. `product`: `V -> H(w) V` where the caller has a cheaper way to it.
    Raises CflowsError for an entry that is not positive or a wrong shape.
    """
    p = objective.n_params
    root = _inverse_root(preconditioner, p, w)
    hessian = product or partial(objective.hvp, w)

    if root is None:

        def apply(V: Tensor) -> Tensor:
            return hessian(V)

    elif not isinstance(root, Tensor):
        inverse = root * root

        def apply(V: Tensor) -> Tensor:
            return hessian(V).mul_(inverse)  # its own tensor: another one of a large network's would cost a fifth of a gradient

    else:
        column = root[:, None]

        def apply(V: Tensor) -> Tensor:
            return column * hessian(column * V)

    return SymmetricOperator(apply, p, objective.dtype, objective.device, root)


def _inverse_root(preconditioner: Preconditioner, p: int, w: Tensor) -> Tensor | float | None:
    """`P^{-1/2}` checked: None, a float, or `[p]` of w's dtype and device."""
    if preconditioner is None:
        return None
    if not isinstance(preconditioner, Tensor) or preconditioner.ndim == 0:
        value = float(preconditioner)
        if not (value > 0 and math.isfinite(value)):
            raise CflowsError(f"A scalar preconditioner must be positive and finite, got {value:g}; gradient descent uses 1/lr.")
        return value**-0.5
    if preconditioner.shape != (p,):
        raise CflowsError(
            f"A diagonal preconditioner must have one entry per weight, [{p}], got {list(preconditioner.shape)}; "
            "flatten it in the weights' order."
        )
    positive = preconditioner > 0
    if not bool(positive.all()):
        i = int((~positive).nonzero()[0, 0])
        raise CflowsError(
            f"The entries of a preconditioner must be positive, got {float(preconditioner[i]):g} at position {i}; "
            "add eps to the root of nu."
        )
    return preconditioner.to(dtype=w.dtype, device=w.device).rsqrt()
