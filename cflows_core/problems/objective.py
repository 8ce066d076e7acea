"""`Objective`: the training loss as a function of flat weights, with its first three derivatives for blocks of directions.

    g = ∇L(w) [p],   H V [p, k],   T_ij = ∇_w (u_iᵀ H(w) u_j) [k(k+1)/2, p],   ∇⟨H, U diag(x) Uᵀ⟩ [p]

Two ways to each second and third derivative. *Exact*: nested reverse-mode differentiation. *Differences* of gradients
(`differences.py`), taken in one stacked call on small problems. Data is processed in chunks so that what is kept stays in `max_memory`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from cflows_core.errors import ConfigError, DataError, ModelError
from cflows_core.linalg.svec import triangle
from cflows_core.problems import checks, criteria, differences, kinks
from cflows_core.problems.checks import EXAMPLES
from cflows_core.problems.devices import usable
from cflows_core.problems.kinks import operations
from cflows_core.problems.memory import reuse_freed_memory, saved_bytes_per_example
from cflows_core.problems.modules import Arguments, Inputs, Network, placed
from cflows_core.problems.replay import Replay

logger = logging.getLogger("cflows")
# Nominal cost in gradients of one direction (measured on an 853k-parameter MLP: 2.1, 5.6 and 2); `gradients_spent` counts with these.
COST = {"exact": {2: 2.0, 3: 5.6}, "differences": {2: 2.0, 3: 2.0}}
# What a derivative of each order holds at its peak, in units of what one forward pass saves for its backward pass (measured on a ViT:
# benchmarks/memory.py).
KEPT = {0: 1.0, 1: 2.0, 2: 6.0, 3: 14.0}
# One stacked call beats a loop only while Python's overhead dominates: below so many bytes saved by one forward pass.
STACKED_BYTES = 4 * 2**20
# Nodes of a forward pass up to which gradients are recorded (problems/replay.py): an LSTM's 457 take seven seconds, and gain nothing.
LARGEST_RECORDING = 150
# Weights from which on fresh memory for their vectors costs time.
LARGE = 100_000
# So many points at most in one stacked call.
LARGEST_STACK = 64

Loss = Callable[..., Tensor]


class Objective:
    """A loss `L: R^p -> R` on flat weights.

    Make one with `from_module` or `from_function`. All methods take and return tensors of `dtype` on `device`; inner loops trust
    their shapes. `gradients_spent` counts the work done so far in full-batch gradients.
    """

    def __init__(
        self,
        loss: Loss,
        n_params: int,
        *,
        data: tuple[Tensor, ...] = (),
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        derivatives: str = "auto",
        max_memory: float = 2.0,
        bytes_per_example: float = 0.0,
        record: bool = True,
    ):
        if derivatives not in ("auto", "exact", "differences"):
            raise ConfigError(f"`derivatives` must be auto, exact or differences, got {derivatives!r}.")
        if derivatives == "differences" and dtype != torch.float64:
            raise ConfigError(
                f"`derivatives='differences'` needs float64, got {str(dtype)[6:]}: its round-off would hide the third derivative; "
                "use derivatives='exact' or dtype='float64'."
            )
        self.n_params, self.dtype, self.device = n_params, dtype, torch.device(device)
        self.gradients_spent = 0.0
        if derivatives == "auto":
            derivatives = "differences" if data and dtype == torch.float64 else "exact"
        self.derivatives = derivatives
        self.weights: Tensor | None = None
        self.notes: tuple[str, ...] = ()  # what a reader of the results should know, one sentence each
        self._stacks: bool | None = None
        self.n_examples = len(data[0]) if data else 1
        self._loss, self._data, self._bytes = loss, data, bytes_per_example
        self._budget = max_memory * 2**30
        self._network: Network | None = None
        if n_params >= LARGE and self.device.type == "cpu":
            reuse_freed_memory()
        whole = bytes_per_example * self.n_examples
        self._small = whole <= STACKED_BYTES and KEPT[1] * LARGEST_STACK * whole <= self._budget
        self._one, self._many = self._single, self._stacked
        if record:
            self._one, self._many = Replay(self._single, stacked=False), Replay(self._stacked, stacked=True)

    # Construction

    @classmethod
    def from_module(
        cls,
        module: torch.nn.Module,
        inputs: Inputs,
        targets: Tensor,
        criterion: str | Callable[[Tensor, Tensor], Tensor] = "mse",
        *,
        output: Callable[[Any], Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        derivatives: str = "auto",
        max_memory: float = 2.0,
        check: bool = True,
    ) -> Objective:
        """The mean loss of any `module` on all `inputs` and `targets` [n, ...]; docs/your-model.md has examples.

        inputs: a tensor [n, ...], a tuple of them (positional) or a dict of them (keywords). criterion: "mse" (½Σ(f − y)² an example),
        "cross_entropy", or a function (outputs, targets) -> losses [n]. output: from what the module returns to the tensor of outputs;
        without it a tensor, `logits`, or the first tensor of a tuple. The module is copied and put in evaluation mode; its parameters
        with `requires_grad`, in the order of `named_parameters`, are the flat weights, and `weights` holds their values. check: test
        on a few examples that the loss is a function of the weights with three right derivatives. Raises `ModelError`, `DataError`.
        """
        device = usable(device)
        network, arguments = Network(module, dtype=dtype, device=device, output=output), Arguments(inputs)
        tensors = tuple(placed(tensor, network.dtype, device) for tensor in arguments.tensors)
        targets = placed(targets, network.dtype, device)
        _check_data(tensors, targets)
        per_example = criteria.get(criterion) if isinstance(criterion, str) else criterion

        def loss(w: Tensor, *batch: Tensor) -> Tensor:
            return per_example(arguments.call(network, w, batch[:-1]), batch[-1]).mean()

        data = (*tensors, targets)
        few = tuple(tensor[:EXAMPLES] for tensor in data)
        if check:
            checks.check_function(network, arguments, few[:-1])
        found = operations(loss(network.weights.clone().requires_grad_(), *few))
        if any(name.startswith("ScaledDotProduct") for name in found):
            network.differentiable_kernels()
        if check:
            checks.check_derivatives(network, arguments, per_example, few[:-1], few[-1])
        jumps = kinks.kinks(found)
        objective = cls(
            loss,
            len(network.weights),
            data=data,
            dtype=network.dtype,
            device=device,
            derivatives="exact" if jumps and derivatives == "auto" else derivatives,
            max_memory=max_memory,
            bytes_per_example=saved_bytes_per_example(loss, network.weights, data),
            record=sum(map(len, found.values())) <= LARGEST_RECORDING,
        )
        objective.weights, objective._network = network.weights, network
        objective.notes = (*network.notes, *([kinks.note(jumps, objective.derivatives)] if jumps else []))
        return objective

    @classmethod
    def from_function(
        cls,
        loss: Callable[[Tensor], Tensor],
        n_params: int,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        derivatives: str = "auto",
    ) -> Objective:
        """Any scalar function of flat weights [p], written in differentiable PyTorch operations."""
        device = usable(device)
        probe = loss(torch.zeros(n_params, dtype=dtype, device=device))
        if not isinstance(probe, Tensor) or probe.numel() != 1:
            raise ModelError(f"A loss must return a scalar tensor, got {_describe(probe)}: end it with .sum() or .mean().")
        return cls(lambda w: loss(w).reshape(()), n_params, dtype=dtype, device=device, derivatives=derivatives)

    # Values and gradients

    def loss(self, w: Tensor) -> float:
        """L(w)."""
        if self._small:  # a recorded gradient takes less time than the function itself
            return float(self._one(w)[0])
        with torch.no_grad():
            return float(sum(share * self._loss(w, *batch) for share, batch in self._chunks(0)))

    def grad(self, w: Tensor) -> Tensor:
        """∇L(w), [p]."""
        return self.loss_and_grad(w)[1]

    def loss_and_grad(self, w: Tensor) -> tuple[float, Tensor]:
        """L(w) and ∇L(w) for the price of the gradient."""
        self.gradients_spent += 1
        value, gradient = self._one(w) if self._small else self._single(w)
        return float(value), gradient

    def losses_and_grads(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Losses [b] and gradients [b, p] at `points` [b, p], in one stacked call where that is faster."""
        if len(points) == 1:
            loss, gradient = self.loss_and_grad(points[0])
            return gradient.new_tensor([loss]), gradient[None]
        if not self._together(points):
            losses, gradients = torch.empty(len(points), dtype=self.dtype), torch.empty_like(points)
            for i, point in enumerate(points):
                losses[i], gradients[i] = self.loss_and_grad(point)
            return losses, gradients
        self.gradients_spent += len(points)
        if len(points) <= LARGEST_STACK:
            return self._many(points)
        parts = [self._many(part) for part in points.split(LARGEST_STACK)]
        return torch.cat([values for values, _ in parts]), torch.cat([gradients for _, gradients in parts])

    def _can_stack(self, points: Tensor) -> bool:
        """Whether the forward pass can be vectorised over weights, tried once: not every one can."""
        if self._stacks is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # such as that it will be a loop, and no faster
                    self._stacked(points[:2])
                self._stacks = True
            except Exception:  # as many kinds as there are modules: one by one still works
                logger.debug("gradients are taken one by one", exc_info=True)
                self._stacks = False
        return self._stacks

    def _single(self, w: Tensor) -> tuple[Tensor, Tensor]:
        total, gradient = w.new_zeros(()), None
        for share, batch in self._chunks(1):
            leaf = w.detach().requires_grad_()
            value = self._loss(leaf, *batch)
            part = torch.autograd.grad(value, leaf)[0]
            part = part if share == 1 else share * part
            gradient = part if gradient is None else gradient + part
            total += share * value.detach()
        assert gradient is not None
        return total, gradient

    def _stacked(self, points: Tensor) -> tuple[Tensor, Tensor]:
        leaf = points.detach().requires_grad_()
        # Only the forward pass is vectorised; plain reverse mode behind it is half as costly as vmap(grad).
        values = vmap(lambda w: self._loss(w, *self._data))(leaf)
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    # Second and third derivatives

    def hvp(self, w: Tensor, V: Tensor, gradient: Tensor | None = None) -> Tensor:
        """H(w) V, [p, k], for V [p, k].

        gradient: ∇L(w) if it is known; differences are then one-sided, for half the cost, with a relative error of about 1e-6 instead of
        1e-9.
        """
        if self.derivatives == "exact":
            return self._exact_hvp(w, V.T)[2].T
        if gradient is not None and not self._together(V.T):
            return differences.row_by_row(self.grad, w, V.T, gradient)[0].T
        return torch.cat([differences.products(self.losses_and_grads, w, rows, gradient) for rows in self._parts(V.T)]).T

    def expand(self, w: Tensor, V: Tensor, beside: Tensor | None = None, bent: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """L and ∇L at w and at the points `beside` [b, p]; H(w) V; ∇(vᵀHv) of the first `bent` columns v of V [p, k].

        As `losses_and_grads`, `hvp` with a known gradient and `third_along`, in one stacked call where that is faster: (losses [1 + b],
        gradients [1 + b, p], [p, k], [bent, p]). By differences the same two gradients give a column's product and its third derivative.
        """
        points = w[None] if beside is None else torch.cat([w[None], beside])
        if self.derivatives == "exact":
            loss, gradient, product = self._exact_hvp(w, V.T)
            losses, gradients = loss[None], gradient[None]
            if beside is not None:
                more = self.losses_and_grads(beside)
                losses, gradients = torch.cat([losses, more[0]]), torch.cat([gradients, more[1]])
            return losses, gradients, product.T, self.third_along(w, V[:, :bent])
        rows, gradients_at = V.T, self.losses_and_grads
        if self._together(points):
            losses, gradients, product, third = differences.expansion(gradients_at, w, points, rows, bent=bent)
            return losses, gradients, product.T, third
        losses, gradients = self.losses_and_grads(points)
        product, third = differences.row_by_row(self.grad, w, rows, gradients[0], bent)
        return losses, gradients, product.T, third

    def third(self, w: Tensor, U: Tensor) -> Tensor:
        """T_ij = ∇_w(u_iᵀ H(w) u_j), [k(k+1)/2, p], for U [p, k]; pairs (i ≤ j) in the order of `svec`, not scaled."""
        rows, columns = triangle(U.shape[1])
        first, second = U.T[rows], U.T[columns]
        if self.derivatives == "exact":
            self.gradients_spent += COST["exact"][3] * len(rows)
            return torch.stack([self._exact_third(w, a[None], b[None]) for a, b in zip(first, second, strict=True)])
        # Polarisation: 2 u_iᵀHu_j = (u_i+u_j)ᵀH(u_i+u_j) − u_iᵀHu_i − u_jᵀHu_j.
        off = rows != columns
        quadratic = self._thirds(w, torch.cat([U.T, (first + second)[off]]))
        own, mixed = quadratic[: U.shape[1]], quadratic[U.shape[1] :]
        result = own[rows]
        result[off] = 0.5 * (mixed - own[rows[off]] - own[columns[off]])
        return result

    def third_along(self, w: Tensor, V: Tensor, gradient: Tensor | None = None) -> Tensor:
        """T_aa = ∇_w(v_aᵀ H v_a) for each column v_a of V [p, k], [k, p]: linear in k.

        gradient: ∇L(w) if it is known, which saves one.
        """
        if self.derivatives == "exact":
            self.gradients_spent += COST["exact"][3] * V.shape[1]
            return torch.stack([self._exact_third(w, v[None], v[None]) for v in V.T]) if V.shape[1] else torch.zeros_like(V.T)
        return self._thirds(w, V.T, gradient)

    def curvature_gradient(self, w: Tensor, U: Tensor, weights: Tensor, gradient: Tensor | None = None) -> Tensor:
        """∇_w ⟨H(w), U diag(weights) Uᵀ⟩ = Σ_a weights_a ∇(u_aᵀ H u_a), [p]."""
        return weights @ self.third_along(w, U, gradient)

    def _exact_hvp(self, w: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L [], ∇L [p] and H d for each row d, [b, p]."""
        self.gradients_spent += COST["exact"][2] * len(directions)
        total, gradient, product = w.new_zeros(()), torch.zeros_like(w), torch.zeros_like(directions)
        for share, batch in self._chunks(2, len(directions)):
            leaf = w.detach().requires_grad_()
            value = self._loss(leaf, *batch)
            first = _gradient(value, leaf)
            total += share * value.detach()
            gradient += share * first.detach()
            if first.requires_grad:
                part = torch.autograd.grad(first, leaf, directions, is_grads_batched=True, allow_unused=True)[0]
                if part is not None:
                    product += share * part
        return total, gradient, product

    def _exact_third(self, w: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """∇_w Σ_a first_aᵀ H(w) second_a."""
        result = torch.zeros_like(w)
        for share, batch in self._chunks(3):
            for a, b in zip(first, second, strict=True):
                leaf = w.detach().requires_grad_()
                gradient = _gradient(self._loss(leaf, *batch), leaf)
                product = _gradient(gradient @ a, leaf) if gradient.requires_grad else gradient
                if product.requires_grad:
                    part = torch.autograd.grad(product @ b, leaf, allow_unused=True)[0]
                    if part is not None:
                        result += share * part
        return result

    def _thirds(self, w: Tensor, rows: Tensor, gradient: Tensor | None = None) -> Tensor:
        """∇(vᵀHv) for each row v, by differences, [b, p]."""
        if gradient is None and not self._together(rows):
            gradient = self.grad(w)
        return torch.cat([differences.thirds(self.losses_and_grads, w, part, gradient) for part in self._parts(rows)])

    def _together(self, points: Tensor) -> bool:
        """Whether gradients at several points are taken in one stacked call."""
        return self._small and self._can_stack(points if len(points) > 1 else points.repeat(2, 1))

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows to take derivatives along at once: all, or one by one where memory is what counts."""
        return (rows,) if len(rows) < 2 or self._together(rows) else rows.split(1)

    # The network behind the loss

    def outputs(self, w: Tensor, inputs: Inputs) -> Tensor:
        """The network's outputs on `inputs`, in any form that `from_module` takes, without gradients."""
        network, arguments = self._module("outputs"), Arguments(inputs)
        with torch.no_grad():
            return arguments.call(network, w, tuple(placed(tensor, self.dtype, self.device) for tensor in arguments.tensors))

    def parameters(self, w: Tensor) -> dict[str, Tensor]:
        """Name -> trained parameter in its own shape, for `module.load_state_dict(objective.parameters(w), strict=False)`."""
        return {name: value.clone() for name, value in self._module("parameters").parameters(w.detach()).items()}

    def _module(self, what: str) -> Network:
        if self._network is None:
            raise ModelError(f"Only an objective made from a module has {what}, got one made from a function: use Objective.from_module.")
        return self._network

    # Memory

    def _chunks(self, order: int, directions: int = 1) -> Iterator[tuple[float, tuple[Tensor, ...]]]:
        """Batches of the data with their share of all examples, small enough for `max_memory`."""
        if not self._data:
            yield 1.0, ()
            return
        each = self._bytes * KEPT[order] * directions
        size = self.n_examples if each <= 0 else max(1, min(self.n_examples, int(self._budget / each)))
        for start in range(0, self.n_examples, size):
            batch = tuple(tensor[start : start + size] for tensor in self._data)
            yield len(batch[0]) / self.n_examples, batch


def _gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """∇value with a graph for the next derivative; zeros where the value does not depend on the leaf."""
    gradient = torch.autograd.grad(value, leaf, create_graph=True, allow_unused=True)[0]
    return torch.zeros_like(leaf) if gradient is None else gradient


def _check_data(inputs: tuple[Tensor, ...], targets: Tensor) -> None:
    for values in inputs:
        if values.ndim == 0 or targets.ndim == 0 or len(values) != len(targets) or len(targets) == 0:
            counts = [len(value) if value.ndim else "a scalar" for value in (values, targets)]
            raise DataError(f"Inputs and targets must be equally many and at least one, got {counts[0]} and {counts[1]}.")
    for name, values in (*(("inputs", values) for values in inputs), ("targets", targets)):
        bad = int((~torch.isfinite(values)).sum()) if values.is_floating_point() else 0
        if bad:
            raise DataError(f"The {name} must be finite numbers, got {bad} that are NaN or infinite: remove or impute those examples.")


def _describe(value: object) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
