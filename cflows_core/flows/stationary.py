"""The stationary flows of RMSProp: flows of the weights alone, with ν at rest at every moment ([CF] 5.3; math.md 5).

    dw/dt = −P̄(w)⁻¹ [∇L + ½∇⟨Σ, H⟩]             (37), Σ by the complementarity problem at (w, ν̄(w))
    dw/dt = −P̂(w)⁻¹ [∇L + (η²/4) ∇tr P̂(w)]      (38), its limit for large η and small β₂

P̄ and P̂ are the solutions of (35) and (36), `stationary_dual.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cflows_core.errors import ConfigError
from cflows_core.flows import predictions
from cflows_core.flows.base import Flow, Options, Start, padded
from cflows_core.flows.discrete import DIVERGED
from cflows_core.flows.sensitivity import by_preconditioner, by_weights
from cflows_core.flows.stationary_dual import (
    StationaryPreconditioner,
    minimal_trace_preconditioner,
    over,
    stationary_nu,
    stationary_preconditioner,
)
from cflows_core.frames import Value
from cflows_core.linalg.sdcp import solve_sdcp
from cflows_core.linalg.svec import smat, triangle
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.objective import Objective

NEGLIGIBLE = 1e-9  # eigenvalues of Σ below this share of the largest are the solvers' round-off
UNSOLVED = 1e-2  # a preconditioner this far from optimal, relatively, is no longer the flow's


@dataclass(frozen=True)
class StationaryState:
    """The flow's point (its ν is ν̄(w)), the preconditioner there, and the oscillations' covariance.

    P [p]. factor [p, r]: of the dual solution, from which the next solve starts. values: eigenvalues of P⁻¹H, descending. modes [p, k] and
    variances [k]: P-orthonormal eigenvectors and eigenvalues of Σ, descending. gap: P's relative duality gap. residual: the
    complementarity problem's.
    """

    point: State
    loss: float
    gradient: Tensor
    P: Tensor
    factor: Tensor
    values: Tensor
    modes: Tensor
    variances: Tensor
    ceiling: float = math.inf
    gap: float = math.nan
    residual: float = 0.0
    stopped: str = ""


class Stationary(Flow[StationaryState]):
    """dw/dt = −P̄⁻¹[∇L + ½∇⟨Σ, H⟩] ([CF] eq. 37), by Euler substeps.

    Σ = U X Uᵀ on the modes U at the edge of P̄, with `0 ⪯ X ⊥ Uᵀ(2Ṗ − Ḣ)U ⪰ 0` at the velocities of the central flow in (w, ν̄(w)): H and P
    are at the edge by construction, so no distance to it enters. With β₂ = 0, ν̇ alone decides and Σ = (η²/2)Y. (The appendix with [CF]'s
    Definition 10 was not to be had: this is our reading of it.) Raises ConfigError for any optimizer but RMSProp without bias correction.
    """

    name = "stationary"
    state_type = StationaryState

    def __init__(self, objective: Objective, optimizer: Optimizer, options: Options):
        if optimizer.name != "rmsprop" or optimizer.corrects:
            given = f"{optimizer.name} with bias correction" if optimizer.name == "rmsprop" else optimizer.name
            raise ConfigError(f"A stationary flow needs the optimizer rmsprop without bias correction, got {given}; use the central flow.")
        super().__init__(objective, optimizer, options)

    def init(self, start: Start) -> StationaryState:
        state = self._at(replace(start.state, m=None), None)
        return replace(state, ceiling=DIVERGED * max(1.0, state.loss))

    def changed(self, state: StationaryState) -> StationaryState:
        return replace(self._at(state.point, state.factor), ceiling=state.ceiling)

    def step(self, state: StationaryState) -> StationaryState:
        before, substeps = state, self.options.substeps
        for _ in range(substeps):
            point = state.point
            w, tau = point.w + self.velocity(state) / substeps, point.tau + 1 / substeps
            state = replace(self._at(State(w, tau), state.factor), ceiling=before.ceiling)
            if state.stopped:
                return replace(before, stopped=state.stopped)
            if not state.loss <= state.ceiling:
                return replace(before, stopped=f"The {self.name} flow stopped: its loss rose to {state.loss:.3g}; lower the learning rate.")
        return state

    def velocity(self, state: StationaryState) -> Tensor:
        """dw/dt [p]; 0 along weights that neither gradient nor curvature of the averaged loss moves."""
        direction = state.gradient
        if len(state.variances):
            direction = direction + 0.5 * self.objective.curvature_gradient(state.point.w, state.modes, state.variances, state.gradient)
        return -over(direction, state.P)

    def precondition(self, w: Tensor, gradient: Tensor, lr: float, start: Tensor | None) -> StationaryPreconditioner:
        """P̄(w), eq. 35."""
        return stationary_preconditioner(partial(self.objective.hvp, w), gradient, lr, start=start)

    def covariance(self, point: State, gradient: Tensor, at: StationaryPreconditioner) -> tuple[Tensor, Tensor, float] | str:
        """Σ as (modes [p, k], variances [k], residual), or why there is none."""
        if self.optimizer.rate == math.inf:
            return self._resting(point, at)
        U = at.edge_modes
        if not U.shape[1]:
            return U, at.values[:0], 0.0
        third = self.objective.third(point.w, U)
        rows, columns = triangle(U.shape[1], U.device)
        scale = torch.where(rows == columns, 1.0, math.sqrt(2.0)).to(U)
        slope, nu = self.optimizer.preconditioner_slope(point), point.nu
        assert slope is not None
        assert nu is not None
        drift = smat(scale * (third @ -over(gradient, at.P)))  # UᵀḢU, were there no oscillations
        easing = slope * self.optimizer.rate * (gradient * gradient - nu)  # Ṗ, likewise
        through_nu = by_preconditioner(self.optimizer, point, U, at.values[: U.shape[1]])
        assert through_nu is not None
        solution = solve_sdcp(2 * (U.T * easing) @ U - drift, by_weights(self.optimizer, at.P, third) + self.optimizer.rate * through_nu)
        if not solution.ok:
            return f"The {self.name} flow stopped: its complementarity problem was not solved ({solution.status}); lower the learning rate."
        variances, rotation = torch.linalg.eigh(solution.X)
        return *_kept(U @ rotation, variances), max(solution.residuals.values(), default=0.0)

    def _resting(self, point: State, at: StationaryPreconditioner) -> tuple[Tensor, Tensor, float]:
        """Σ = (η²/2) Y, which keeps ν at rest, with VᵀPV diagonalised."""
        V = at.factor * (self.optimizer.lr_at(point.tau) / math.sqrt(2))
        variances, rotation = torch.linalg.eigh((V.T * at.P) @ V)
        return *_kept(V @ (rotation / variances.clamp_min(torch.finfo(V.dtype).tiny).sqrt()), variances), 0.0

    def _at(self, point: State, start: Tensor | None) -> StationaryState:
        """Everything at the weights of `point`; its ν is replaced by the stationary one."""
        loss, gradient = self.objective.loss_and_grad(point.w)
        none, empty = point.w.new_zeros(len(point.w), 0), point.w.new_zeros(0)
        failed = StationaryState(point, loss, gradient, empty, none, empty, none, empty)
        if not math.isfinite(loss) or not bool(torch.isfinite(gradient).all()):
            return replace(failed, stopped=f"The {self.name} flow stopped: its loss is no longer a finite number.")
        lr = self.optimizer.lr_at(point.tau)
        at = self.precondition(point.w, gradient, lr, start)
        if not at.gap <= UNSOLVED:
            reason = f"The {self.name} flow stopped: its preconditioner was found only to {at.gap:.1e} of the optimum."
            return replace(failed, gap=at.gap, stopped=reason)
        point = replace(point, nu=stationary_nu(at.P, lr))
        covariance = self.covariance(point, gradient, at)
        if isinstance(covariance, str):
            return replace(failed, gap=at.gap, stopped=covariance)
        modes, variances, residual = covariance
        stopped = ""
        if bool(((at.P == 0) & (gradient != 0)).any()):
            stopped = f"The {self.name} flow stopped: along some weights nothing bounds its step, because their curvature is negative."
        return StationaryState(
            point, loss, gradient, at.P, at.factor, at.values, modes, variances, gap=at.gap, residual=residual, stopped=stopped
        )

    def series(self, state: StationaryState) -> dict[str, Value]:
        n = self.options.n_eigs
        gradient, variances = state.gradient, state.variances
        return {
            "loss": state.loss,
            "grad_norm_sq": float(gradient @ gradient),
            "effective_eigs": padded(state.values, n),
            "rank": float(len(variances)),
            "covariance_eigs": padded(variances, n),
            "covariance_eigs_weights": padded(predictions.weight_variances(state.modes, variances), n),
            "predicted_loss": predictions.loss(state.loss, self.optimizer.threshold, variances),
            "predicted_grad_norm_sq": float(self.squared_gradients(state).sum()),
            "sdcp_residual": state.residual,
        } | self.adaptive_series(state.point)

    def squared_gradients(self, state: StationaryState) -> Tensor:
        # H v = 2P v at the edge
        return predictions.squared_gradients(state.gradient, 2 * (state.P * state.modes.T).T, state.variances)


class StationaryLimit(Stationary):
    """dw/dt = −P̂⁻¹[∇L + (η²/4)∇tr P̂] ([CF] eq. 38): P̂ does not depend on η, and Σ = (η²/2)Y because ∇tr P̂ = ∇⟨Y, H⟩ at the optimal Y."""

    name = "stationary_limit"

    def precondition(self, w: Tensor, gradient: Tensor, lr: float, start: Tensor | None) -> StationaryPreconditioner:
        """P̂(w), eq. 36."""
        return minimal_trace_preconditioner(partial(self.objective.hvp, w), gradient, start=start)

    def covariance(self, point: State, gradient: Tensor, at: StationaryPreconditioner) -> tuple[Tensor, Tensor, float] | str:
        """(η²/2) Y."""
        return self._resting(point, at)


def _kept(modes: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenpairs of Σ in descending order, given in ascending order, without those that are round-off."""
    modes, variances = modes.flip(1), variances.flip(0)
    kept = variances > NEGLIGIBLE * variances[0].clamp_min(torch.finfo(variances.dtype).tiny)
    return modes[:, kept], variances[kept]
