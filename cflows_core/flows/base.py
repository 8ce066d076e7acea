"""What every flow is: `init(start) -> state`, `step(state) -> state`, `series(state) -> values`; all data in, all data out.

A flow object holds what does not change (objective, optimizer, options); everything that moves is in its state, a frozen dataclass of
tensors and numbers. So forking a run is copying references, a checkpoint is the states alone, and a change of the learning rate is
another flow
object on the same state.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from cflows_core.flows.force import Along
from cflows_core.frames import Value
from cflows_core.linalg.eigen import NEAR, EigenState, track
from cflows_core.linalg.lowrank import LowRank
from cflows_core.linalg.operator import preconditioned_hessian
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.objective import Objective

# Relative residual of the eigenpairs. The eigenvalue's error is its square over the gap, about 1e-5. docs/measured.md holds this and the
# other shortcuts against the exact path.
EIGEN_TOLERANCE = 5e-3


@dataclass(frozen=True)
class Options:
    """Numerical options of the flows: the fields of `RunConfig` that they read."""

    substeps: int = 2
    n_eigs: int = 6
    rod_rank: int = 4
    rod_coordinates: str = "balanced"
    rod_correction: str = "none"


@dataclass(frozen=True)
class Start:
    """Where flows start (math.md 9): at two consecutive iterates' centre, or at the first iterate itself.

    state: with ν after the update, for stable and central flows. rod: the centre with ν before the update. half_difference: of the
    weights [p]; momentum_half_difference: of the momentum [p], or None.
    """

    state: State
    rod: State
    half_difference: Tensor
    momentum_half_difference: Tensor | None = None


class FlowState(Protocol):
    """Every flow's state carries at least its position and why it stopped ("" while it runs)."""

    @property
    def point(self) -> State: ...
    @property
    def stopped(self) -> str: ...


S = TypeVar("S", bound=FlowState)


class Flow(ABC, Generic[S]):
    """A flow of one optimizer on one objective."""

    name: ClassVar[str]
    state_type: ClassVar[type]

    def __init__(self, objective: Objective, optimizer: Optimizer, options: Options):
        self.objective, self.optimizer, self.options = objective, optimizer, options

    @abstractmethod
    def init(self, start: Start) -> S:
        """The state at the start."""

    @abstractmethod
    def step(self, state: S) -> S:
        """The state one optimizer step later."""

    @abstractmethod
    def series(self, state: S) -> dict[str, Value]:
        """The flow's own series at the state (`frames.SERIES`), none of which costs a derivative."""

    def squared_gradients(self, state: Any) -> Tensor:
        """What the flow predicts of the time average of each coordinate's squared gradient, [p]; its own where it predicts nothing."""
        return state.gradient * state.gradient

    def adapted(self, state: Any) -> State:
        """The flow's point with ν as the step's P̃ takes it: after its update."""
        return state.point

    def changed(self, state: S) -> S:
        """The state after a parameter changed: caches that depend on it are dropped."""
        return dataclasses.replace(state, eigen=state.eigen.due())  # type: ignore[attr-defined, type-var]

    def status(self, state: S) -> str:
        return "stopped" if state.stopped else "running"

    def eigen_init(self, w: Tensor) -> EigenState:
        """A cold start for the tracker."""
        return EigenState.init(len(w), dtype=w.dtype, device=w.device)

    def measure(
        self,
        point: State,
        eigen: EigenState,
        *,
        n_max: int | None = None,
        beside: Tensor | None = None,
        rotation: Tensor | None = None,
        bent: int = 0,
        tol: float = 0.0,
        known: tuple[float, Tensor] | None = None,
        gradient: bool = True,
    ) -> Measured:
        """Loss, gradient and tracked eigenpairs of P̃⁻¹H at a point, and losses and gradients at the weights `beside` [b, p].

        Far below the edge the eigenpairs are not solved for at every step: values are then those expected, vectors the last. At most n_max
        modes, by default `n_eigs`; where a crowd may come to the edge at once, more than that, all are solved for every time.

        The gradient and H are those at the optimizer's gradient point, the loss is that of the iterate. rotation [j, j], bent: third
        derivatives along the first `bent` of the j first tracked eigenvectors, rotated, come with their products. tol: of the
        eigenpairs' residuals, by default what a flow needs. known: L and ∇L at the point, of an adaptive optimizer, whose P̃ they may
        have been needed for; then nothing else comes with the products. gradient: whether it is wanted where no product brings it.
        """
        x = self.optimizer.gradient_point(point)
        apart = x is not point.w
        points = [point.w[None]] if apart else []
        points += [] if beside is None else [beside]
        around = _Expansion(self.objective, x, torch.cat(points) if points else None, bent, known)
        P = self.optimizer.preconditioner(point)
        if point.nu is not None and point.nu.ndim:  # coordinates that never had a gradient leave the eigenproblem (math.md 4)
            P = torch.where(point.nu > 0, P, math.inf)
        operator = preconditioned_hessian(self.objective, x, P, around.product)
        if eigen.wait > 0:  # too far below the edge to reach it before the next solve
            around.alone(gradient)
            eigen = eigen.waited()
            values = eigen.expected()
            vectors = operator.to_weights(eigen.vectors.T)
        else:
            threshold, n_max = self.optimizer.threshold, n_max or self.options.n_eigs
            near = NEAR if n_max <= self.options.n_eigs else 0.0
            tol = tol or EIGEN_TOLERANCE
            pairs, eigen = track(operator, eigen, threshold=threshold, n_max=n_max, tol=tol, near=near, rotation=rotation)
            values, vectors = pairs.values, pairs.vectors
        loss = float(around.losses[1 if apart else 0])
        others = slice(2 if apart else 1, None)
        losses, gradients = around.losses[others], around.gradients[others]
        return Measured(loss, around.gradients[0], losses, gradients, values, vectors, eigen, around.directions, around.thirds)

    def adaptive_series(self, point: State) -> dict[str, Value]:
        """Series of adaptive optimizers at a point with ν as P̃ takes it; none of the others."""
        if point.nu is None:
            return {}
        steps = 1 / self.optimizer.preconditioner(point)
        return {
            "nu_norm": float(point.nu.norm()),
            "effective_step_size": float(steps.mean()),
            "effective_step_size_harmonic": float(1 / (1 / steps).mean()),
        }

    def loss_and_grad(self, point: State) -> tuple[float, Tensor]:
        """L at the iterate, and ∇L at its gradient point."""
        x = self.optimizer.gradient_point(point)
        loss, gradient = self.objective.loss_and_grad(x)
        return (loss if x is point.w else self.objective.loss(point.w)), gradient


class Measured(NamedTuple):
    """What `Flow.measure` finds.

    loss: L at the iterate. gradient [p]: at its gradient point. losses [b], gradients [b, p]: at the points beside. values [k]
    descending, vectors [p, k]: `H U = P̃ U diag(values)`, UᵀP̃U = I (math.md 8). eigen: the tracker's state. directions D [p, j], thirds
    [j, p]: ∇(d_aᵀHd_a) where they were asked for and a product was taken.
    """

    loss: float
    gradient: Tensor
    losses: Tensor
    gradients: Tensor
    values: Tensor
    vectors: Tensor
    eigen: EigenState
    directions: Tensor
    thirds: Tensor


class _Expansion:
    """Products with the Hessian at a point, the first of which brings losses, gradients and third derivatives along in the same call."""

    def __init__(
        self,
        objective: Objective,
        w: Tensor,
        beside: Tensor | None,
        bent: int,
        known: tuple[float, Tensor] | None = None,
    ):
        self._objective, self._w, self._beside, self._bent = objective, w, beside, bent
        self.losses = self.gradients = w.new_zeros(0)
        if known is not None:
            self.losses, self.gradients = w.new_tensor([known[0]]), known[1][None]
        self.directions, self.thirds = w.new_zeros(len(w), 0), w.new_zeros(0, len(w))

    def product(self, V: Tensor) -> Tensor:
        if len(self.losses):
            return self._objective.hvp(self._w, V, self.gradients[0])
        bent = min(self._bent, V.shape[1])
        self.losses, self.gradients, product, self.thirds = self._objective.expand(self._w, V, self._beside, bent)
        self.directions = V[:, :bent]
        return product

    def alone(self, gradient: bool) -> None:
        """Losses without a product, and gradients [n, p] unless they are not wanted: then [n, 0]."""
        if len(self.losses):
            return
        points = self._w[None] if self._beside is None else torch.cat([self._w[None], self._beside])
        if gradient:
            self.losses, self.gradients = self._objective.losses_and_grads(points)
        else:
            self.losses = points.new_tensor([self._objective.loss(point) for point in points])
            self.gradients = points[:, :0]


def padded(values: Any, length: int) -> np.ndarray:
    """The first `length` values as float64, NaN where there are fewer."""
    result = np.full(length, math.nan)
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)
    count = min(length, len(array))
    result[:count] = array[:count]
    return result


def to_plain(value: Any) -> Any:
    """A state as nested dictionaries of tensors, numbers and strings, which load without executing code."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    return value


def from_plain(kind: type, plain: dict[str, Any], nested: dict[str, type] | None = None) -> Any:
    """The dataclass that `to_plain` took apart; `nested`: which dataclass a field holds, by its name (default: `NESTED`)."""
    nested = NESTED if nested is None else nested
    fields = {}
    for entry in dataclasses.fields(kind):
        value = plain[entry.name]
        fields[entry.name] = from_plain(nested[entry.name], value, nested) if isinstance(value, dict) else value
    return kind(**fields)


# Which dataclass a field of a state holds, by the field's name: states keep to these names.
NESTED: dict[str, type] = {"before": State, "point": State, "after": State, "eigen": EigenState, "extent": LowRank, "along": Along}
