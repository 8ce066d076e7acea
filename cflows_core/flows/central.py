"""The central flow: the time average of an oscillating optimizer ([CF] 3.2.2), discretised as predict, then project (ours).

    dw/dt = −P̃⁻¹(c_m m + c_g ĝ)    dm/dt = (1 − β₁)(ĝ − m)    dν/dt = κ₂(sq(∇L) + diag(HΣH) − ν)    ĝ = ∇L + ½∇⟨H, Σ⟩
    0 ⪯ Σ ⊥ cP̃(ν) − H ⪰ 0

For gradient descent, Scalar RMSProp and RMSProp this is [CF]'s; for the six methods with momentum it is ours. H, ∇L and Σ are those of the
gradient point.

One substep: *predict* by the stable flow, with ν driven by the Σ₋ of the substep before; take there the eigenpairs `U, λ` of P̃⁻¹H that are
at the edge; with `Σ = U X Uᵀ`, `r = 1 − exp(−κ₂dt)` and `α = diag(c − λ) − c r Uᵀ diag(∂P̃/∂ν diag(HΣ₋H)) U` solve `0 ⪯ X ⊥ α + β[X] ⪰ 0`
(`sensitivity.py`); *project*: add to w, m and ν what Σ adds to their velocities, to ν the difference Σ − Σ₋. It equals [CF]'s linearised
step to O(dt²) and corrects its own drift, because α is measured anew (math.md 4). Σ₋ (ours) is there for small β₂, where ν is mostly made
of oscillations: from a ν predicted without them, the tangent of √ν in β would lead back to a wrong place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.flows import predictions
from cflows_core.flows.base import Flow, Start, padded
from cflows_core.flows.discrete import DIVERGED
from cflows_core.flows.force import Along, force
from cflows_core.flows.sensitivity import by_preconditioner, by_weights
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.linalg.operator import overlap
from cflows_core.linalg.sdcp import solve_sdcp
from cflows_core.linalg.svec import congruence, smat, svec
from cflows_core.optimizers import State

EDGE = 0.975  # modes with λ above this share of c take part in the complementarity problem
NEAR = 0.9  # below it no mode can reach the edge within a step, and one eigensolve a step is enough
# Settling begins with an eigenvalue above 1.02 c, lowers it by at most 5 % of c a substep, and ends after a projection that reached c:
# the next one starts at the edge, and only then is X free of the way down, which it would scale by 1/dt.
ABOVE, CAP, SETTLED = 1.02, 0.05, 1.001
REFRESH = 40  # substeps that β may be old: the loop closes through α (math.md 4, Cost)
# Where P̃ bends away from its tangent by more than this share of itself (ν mostly of oscillations, and these changing), the substep is done
# again, with ν predicted by the new Σ: Newton's method, at most so often.
BENT, CORRECTIONS = 1e-4, 5
# A ν that forgets more than this share of itself in a substep lets many modes rise between Σ₋ and Σ: so many times as many take part.
FORGETFUL, CROWD = 0.1, 2
NEGLIGIBLE = 1e-9  # eigenvalues of X below this share of the largest are the solver's round-off


@dataclass(frozen=True)
class CentralState:
    """The flow's point, the oscillations' covariance, and caches.

    values: eigenvalues of P⁻¹H at the point, descending. modes [p, k]: `v_i`, P-orthonormal eigenvectors of Σ, and variances [k]: its
    eigenvalues X, descending (Σ = Σ_i variances_i v_i v_iᵀ); none while the flow is settling or nothing oscillates. curvatures [p, k]:
    H v_i; rotation [j, j]: from the j first tracked eigenvectors to Σ's, the variances' first. along: third derivatives that the force is
    made of. sensitivity [m, m]: β per unit of time, in the basis `frame` [p, k], `age` substeps old. bend: error of P̃'s tangent in the
    last projection, as a share of it.
    """

    point: State
    loss: float
    gradient: Tensor
    ceiling: float
    eigen: EigenState
    values: Tensor
    modes: Tensor
    variances: Tensor
    curvatures: Tensor
    rotation: Tensor
    along: Along
    sensitivity: Tensor
    frame: Tensor
    age: int = 0
    bend: float = 0.0
    settling: bool = False
    sharpening: float = math.nan
    reduction: float = math.nan
    residual: float = math.nan
    stopped: str = ""


class Central(Flow[CentralState]):
    """Central flow of any of the optimizers."""

    name = "central"
    state_type = CentralState

    def init(self, start: Start) -> CentralState:
        w = start.state.w
        none, empty = w.new_zeros(len(w), 0), w.new_zeros(0)
        state = CentralState(
            start.state, loss=0.0, gradient=empty, ceiling=0.0, eigen=self.eigen_init(w), values=empty, modes=none, variances=empty,
            curvatures=none, rotation=none[:0], along=Along.none(w), sensitivity=w.new_zeros(0, 0), frame=none,
        )  # fmt: skip
        state = self.changed(state)
        return replace(state, ceiling=DIVERGED * max(1.0, state.loss))

    def changed(self, state: CentralState) -> CentralState:
        """Eigenvalues under the optimizer's present parameters; above the edge the flow settles first."""
        at = self.measure(state.point, state.eigen.due())
        settling = bool(len(at.values)) and float(at.values[0]) > ABOVE * self.optimizer.threshold
        none = state.point.w.new_zeros(len(state.point.w), 0)
        return replace(
            state, loss=at.loss, gradient=at.gradient, eigen=at.eigen, values=at.values, settling=settling, modes=none, curvatures=none,
            variances=none[0], rotation=none[:0], frame=none,
        )  # fmt: skip

    def status(self, state: CentralState) -> str:
        return "settling" if state.settling and not state.stopped else super().status(state)

    def step(self, state: CentralState) -> CentralState:
        substeps = self.options.substeps
        before = state
        sharpening, reduction, residual = 0.0, 0.0, 0.0
        for i in range(substeps):
            state = self._substep(state, 1 / substeps, solve=i == substeps - 1, anew=i == 0)
            if state.stopped:
                return replace(before, stopped=state.stopped)
            sharpening += state.sharpening / substeps
            reduction += state.reduction / substeps
            residual = max(residual, state.residual, state.bend)
        return replace(state, sharpening=sharpening, reduction=reduction, residual=residual)

    def _substep(self, state: CentralState, dt: float, solve: bool, anew: bool = True) -> CentralState:
        if not solve and float(state.values[0]) < NEAR * self.optimizer.threshold:
            point = self.optimizer.flow(state.point, state.gradient, dt)
            loss, gradient = self.loss_and_grad(point)
            return replace(state, point=point, loss=loss, gradient=gradient, sharpening=0.0, reduction=0.0, residual=0.0, bend=0.0)
        after = self._projected(state, self._held(state), dt, anew)
        for _ in range(CORRECTIONS):
            if after.stopped or after.settling or after.bend <= BENT:
                break
            after = self._projected(replace(state, along=after.along), self._held(after), dt, False)
        if not after.stopped and (not math.isfinite(after.loss) or after.loss > state.ceiling):
            reason = f"The central flow stopped: its loss rose to {after.loss:.3g}, so no oscillation holds its top eigenvalue."
            return replace(after, stopped=reason)
        return after

    def _projected(self, state: CentralState, held: Tensor | None, dt: float, anew: bool) -> CentralState:
        """The state after dt: predicted, with ν driven by `held`, and projected; `anew`: with third derivatives along its modes."""
        c = self.optimizer.threshold
        predicted = self.optimizer.flow(state.point, state.gradient, dt, held)
        crowd = CROWD if self.optimizer.relaxation(dt) > FORGETFUL else 1
        bent = self.bent(state) if anew else 0
        at = self.measure(predicted, state.eigen, n_max=crowd * self.options.n_eigs, rotation=state.rotation, bent=bent)
        # Not only from this substep's start: where solves were left out the eigenvalue has come a longer way.
        before = state.values
        release = self._release(predicted, at.vectors, held, dt)
        free = at.values + release.diagonal()  # the eigenvalues to first order, were there no oscillations any more
        state = replace(
            state, point=predicted, loss=at.loss, gradient=at.gradient, eigen=at.eigen, values=at.values,
            along=Along(at.directions, at.thirds) if anew else state.along,
            sharpening=float(free[0] - before[0]) / dt, reduction=0.0, residual=0.0, bend=0.0,
        )  # fmt: skip
        # By the eigenvalue before the predicted motion, which may take it above the edge by itself.
        if state.settling and float(before[0]) <= SETTLED * c:
            state = replace(state, settling=False)
        critical = (free > EDGE * c).nonzero()
        if len(critical):
            k = int(critical[-1]) + 1
            state = self._project(state, before, at.vectors[:, :k], release[:k, :k], held, dt)
        else:
            state = self._without_covariance(state, held, dt)
        if state.stopped or state.point is predicted:
            return state
        loss, gradient = self.loss_and_grad(state.point)
        return replace(state, loss=loss, gradient=gradient)

    def _held(self, state: CentralState) -> Tensor | None:
        """What the oscillations so far add to the squared gradients that ν follows: diag(HΣH), its sum for the scalar kind."""
        if state.point.nu is None or not len(state.variances):
            return None
        square = predictions.oscillation_squares(state.curvatures, state.variances)
        return square if state.point.nu.ndim else square.sum()

    def _release(self, point: State, U: Tensor, held: Tensor | None, dt: float) -> Tensor:
        """c r Uᵀ diag(∂P̃/∂ν held) U [k, k]: by how much P̃⁻¹H would grow, to first order, without what `held` added to ν in dt."""
        slope = self.optimizer.preconditioner_slope(point)
        if held is None or slope is None:
            return U.new_zeros(U.shape[1], U.shape[1])
        return self.optimizer.threshold * self.optimizer.relaxation(dt) * (U.T * (slope * held)) @ U

    def _bend(self, predicted: State, point: State, U: Tensor) -> float:
        """How far P̃ at the projected ν is from its tangent at the predicted one, on the critical space: max |UᵀΔU|."""
        slope = self.optimizer.preconditioner_slope(predicted)
        if slope is None or point.nu is None or predicted.nu is None:
            return 0.0
        tangent = self.optimizer.preconditioner(predicted) + slope * (point.nu - predicted.nu)
        return float(((U.T * (self.optimizer.preconditioner(point) - tangent)) @ U).abs().max())

    def _project(self, state: CentralState, before: Tensor, U: Tensor, release: Tensor, held: Tensor | None, dt: float) -> CentralState:
        """The point back at the edge, from the predicted one; `before`: the eigenvalues ahead of it."""
        c, k, values = self.optimizer.threshold, U.shape[1], state.values
        state = self._refreshed(state, U)
        target = torch.full_like(values[:k], c)
        if state.settling:
            # Against the eigenvalues before the predicted motion, which a projection has to undo first: capping the whole projection could
            # balance that motion above the edge for ever.
            known = min(k, len(before))
            target[:known] = (before[:known] - CAP * c).clamp_min(c)
        optimizer, predicted = self.optimizer, state.point
        beta = dt * state.sensitivity
        through_nu = by_preconditioner(optimizer, predicted, U, values[:k])
        if through_nu is not None:
            beta = beta + optimizer.relaxation(dt) * through_nu
        solution = solve_sdcp(torch.diag(target - values[:k]) - release, beta)
        if not solution.ok:
            return replace(state, stopped=self._unheld(solution.status, float(values[0])))
        lift = smat(beta @ svec(solution.X))  # β[X]: by how much the projection widens cP̃ − H, in the basis U
        variances, rotation = torch.linalg.eigh(solution.X)
        variances, rotation = variances.flip(0), rotation.flip(1)
        n = int((variances > NEGLIGIBLE * variances[0].clamp_min(torch.finfo(variances.dtype).tiny)).sum())
        variances = variances[:n]
        modes = (rotation.T[:n] @ U.T).T
        curvatures = self._curvatures(predicted, U, values[:k, None] * rotation[:, :n])
        point, along = self._pushed(state, modes, variances, curvatures, held, dt)
        # To first order in the correction, without another solve: H(w) = H(w*) − β[X] on the critical space.
        projected = torch.linalg.eigvalsh(torch.diag(values[:k]) + release - lift).flip(0)
        if state.settling:
            modes, curvatures, variances, rotation = modes[:, :0], curvatures[:, :0], variances[:0], rotation[:0, :0]
        return replace(
            state, point=point, values=torch.cat([projected, values[k:]]), modes=modes, variances=variances, curvatures=curvatures,
            rotation=rotation, along=along, reduction=-float(lift[0, 0]) / dt, residual=max(solution.residuals.values(), default=0.0),
            bend=self._bend(predicted, point, U),
        )  # fmt: skip

    def _pushed(
        self, state: CentralState, modes: Tensor, variances: Tensor, curvatures: Tensor, held: Tensor | None, dt: float
    ) -> tuple[State, Along]:
        """The point after what Σ adds in dt: s + dt·A[X] (math.md 4), of which ν has `held` already; and what its force was made of."""
        optimizer, point = self.optimizer, state.point
        if not len(variances):
            return self._released(point, held, dt), state.along
        force, along = self.force(state, modes, variances)
        w = point.w - dt * optimizer.mixture[1] * force / optimizer.preconditioner(point)
        m = None if point.m is None else point.m + dt * (1 - optimizer.beta1) * force
        nu = point.nu
        if nu is not None:
            square = predictions.oscillation_squares(curvatures, variances)
            nu = nu + optimizer.relaxation(dt) * (square if nu.ndim else square.sum())
        return self._released(State(w, point.tau, m, nu), held, dt), along

    def _curvatures(self, point: State, U: Tensor, C: Tensor) -> Tensor:
        """H U Λ⁻¹ C = P̃ U C [p, n], for eigenvectors U and C [k, n] with the eigenvalues in it."""
        P = self.optimizer.preconditioner(point)
        return (P * (C.T @ U.T)).T if P.ndim else ((P * C.T) @ U.T).T

    def bent(self, state: CentralState) -> int:
        """How many third derivatives along Σ's modes are to come with their Hessian products."""
        return len(state.variances)

    def force(self, state: CentralState, modes: Tensor, variances: Tensor) -> tuple[Tensor, Along]:
        """½∇⟨H, Σ⟩ [p] at the gradient point, what lets the oscillations lower the curvature; and what it was made of."""
        x = self.optimizer.gradient_point(state.point)
        P = self.optimizer.preconditioner(state.point)
        return force(state.along, P, modes, variances, lambda V: self.objective.third_along(x, V, state.gradient))

    def third(self, point: State, U: Tensor) -> Tensor:
        """T_ij = ∇(u_iᵀHu_j) [m, p] at the gradient point."""
        return self.objective.third(self.optimizer.gradient_point(point), U)

    def _released(self, point: State, held: Tensor | None, dt: float) -> State:
        """The point whose ν the former oscillations no longer drove."""
        if held is None or point.nu is None:
            return point
        return replace(point, nu=point.nu - self.optimizer.relaxation(dt) * held)

    def _refreshed(self, state: CentralState, U: Tensor) -> CentralState:
        """The state with its sensitivity in the basis U: rotated while it is young, computed anew otherwise."""
        P = self.optimizer.preconditioner(state.point)
        if state.frame.shape == U.shape and 0 < state.age < REFRESH:
            R = overlap(U, P, state.frame)
            # A rotation only while the space is nearly the same; a swapped mode needs its own third derivatives.
            if float((R @ R.T - torch.eye(len(R), dtype=R.dtype, device=R.device)).abs().max()) < 0.05:
                K = congruence(R)
                return replace(state, sensitivity=K @ state.sensitivity @ K.T, frame=U, age=state.age + 1)
        third = self.third(state.point, U)
        return replace(state, sensitivity=by_weights(self.optimizer, P, third), frame=U, age=1)

    def _without_covariance(self, state: CentralState, held: Tensor | None, dt: float) -> CentralState:
        point, none = self._released(state.point, held, dt), state.modes[:, :0]
        return replace(
            state, point=point, modes=none, curvatures=none, variances=none[0], rotation=none[:0], along=Along.none(point.w), age=0
        )  # fmt: skip

    def _unheld(self, status: str, value: float) -> str:
        if status == "unbounded":
            return (
                "The central flow stopped: no oscillation can hold its top eigenvalue at the edge, as on a quadratic beyond its threshold "
                f"(it is {value / self.optimizer.threshold:.3g} times the threshold); lower the learning rate."
            )
        return (
            "The central flow stopped: its complementarity problem could not be solved to 1e-4; a smaller learning rate or more "
            "substeps may help."
        )

    def series(self, state: CentralState) -> dict[str, Value]:
        n = self.options.n_eigs
        values: dict[str, Value] = {
            "loss": state.loss,
            "grad_norm_sq": float(state.gradient @ state.gradient),
            "effective_eigs": padded(state.values, n),
            "sharpening": state.sharpening,
            "sharpness_reduction": state.reduction,
            "sdcp_residual": state.residual,
        } | self.adaptive_series(state.point)
        if state.settling or math.isnan(state.reduction):
            return values
        return values | {
            "rank": float(len(state.variances)),
            "covariance_eigs": padded(state.variances, n),
            "covariance_eigs_weights": padded(predictions.weight_variances(state.modes, state.variances), n),
            "predicted_loss": predictions.loss(state.loss, self.optimizer.threshold, state.variances, self.optimizer.swing),
            "predicted_grad_norm_sq": float(self.squared_gradients(state).sum()),
        }

    def squared_gradients(self, state: CentralState) -> Tensor:
        return predictions.squared_gradients(state.gradient, state.curvatures, state.variances)

    def measured_variance(self, state: CentralState, displacements: Tensor) -> Tensor:
        """(v_iᵀ P (w_t − w(t)))² [k], averaged over the rows of `displacements` [b, p]: to be smoothed over steps."""
        P = self.optimizer.preconditioner(state.point)
        return (((P * displacements) @ state.modes) ** 2).mean(0)
