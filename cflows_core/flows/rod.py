"""The rod flow: centre and extent of the segment between consecutive iterates ([RF] eq. 6, 7), in the optimizer's phase space.

    dz̄/dt = ½(f₊ + f₋)     dΣ/dt = ¼(f₊f₊ᵀ + f₋f₋ᵀ) − 2Σ     dν/dt = (1 − β₂)(½(sq g₊ + sq g₋) − ν)     f± = f(z̄ ± ζ)

with z = w, or (w, m) with momentum; f(z) = z_{t+1} − z_t the optimizer's update and ζ the principal eigenvector of Σ times the root of
its eigenvalue. Both ends use P̃ at the updated mean β₂ν + (1 − β₂)½(sq g₊ + sq g₋): with the smooth ν alone the edge would shift (ours).
Σ is kept in low rank ([RF] App. G), truncated in balanced coordinates (P̃^½ w, P̃^−½ m) (ours), or in (w, m) itself as in [RF]:
`rod_coordinates="raw"`.

`rod_correction="backward_error"` ([RF] App. F) moves the centre by

    F̃ = F − ½(1 − dt) DF[F],   F = ½(f₊ + f₋);   gradient descent: F̃ = −η ḡ − ½(1 − dt) η² H̄ ḡ

so that one step's worth of Euler substeps dt (the exact flow: dt → 0) gives the difference equation z̄' − z̄ = F to second order instead of
first. With dt = 1 there is nothing to correct. ζ is held fixed in DF; ν moves along (ours).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.flows.base import Flow, Start, padded
from cflows_core.flows.discrete import DIVERGED
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.linalg.lowrank import LowRank
from cflows_core.optimizers import State


@dataclass(frozen=True)
class RodState:
    """Centre, extent and what is known at the centre and both ends.

    point: the centre, with ν before the update. extent: Σ of z in the coordinates (scale · w, m / scale) with `scale` [] or [p]; 1
    where they are raw. losses [3]: at the centre, at z̄ + ζ and at z̄ − ζ. gradients [3, p]: at their gradient points. ceiling: loss beyond
    which the flow has diverged.
    """

    point: State
    extent: LowRank
    scale: Tensor
    losses: Tensor
    gradients: Tensor
    ceiling: float
    eigen: EigenState
    values: Tensor
    stopped: str = ""

    @property
    def zeta(self) -> Tensor:
        """ζ's part in the weights, [p]."""
        return _parts(self.extent, self.scale, self.point)[0]

    @property
    def momentum_zeta(self) -> Tensor | None:
        """ζ's part in the momentum, [p]."""
        return _parts(self.extent, self.scale, self.point)[1]


class Rod(Flow[RodState]):
    """Rod flow of any of the optimizers, by Euler substeps."""

    name = "rod"
    state_type = RodState

    def init(self, start: Start) -> RodState:
        point = start.rod
        # ν has seen no gradient between the iterates yet: P̃ of its next update sets the coordinates.
        _, gradient = self.loss_and_grad(point)
        scale = self._scale(self.optimizer.updated(point, gradient))
        column = _joined(start.half_difference, start.momentum_half_difference, scale)
        extent = LowRank.from_columns(column[:, None], self.options.rod_rank)
        return self._measured(point, extent, scale, None, self.eigen_init(point.w))

    def step(self, state: RodState) -> RodState:
        dt = 1 / self.options.substeps
        point, extent, scale, gradients = state.point, state.extent, state.scale, state.gradients[1:]
        for i in range(self.options.substeps):
            if i > 0:
                _, gradients = self.objective.losses_and_grads(self._ends(point, extent, scale))
            point, extent, scale = self._substep(point, extent, scale, gradients, dt)
        after = self._measured(point, extent, scale, state.ceiling, state.eigen)
        if not bool((after.losses <= state.ceiling).all()):
            return replace(state, stopped=f"The rod flow diverged: the loss at its centre or ends rose to {float(after.losses.max()):.3g}.")
        return after

    def _substep(self, point: State, extent: LowRank, scale: Tensor, gradients: Tensor, dt: float) -> tuple[State, LowRank, Tensor]:
        """Centre, extent and coordinates after dt; `gradients` [2, p] at both ends, from ζ before the decay."""
        optimizer = self.optimizer
        ends = self._updated(point, gradients)
        P = optimizer.preconditioner(ends)
        _, dm = _parts(extent, scale, point)
        plus = optimizer.displacement(None if dm is None or point.m is None else point.m + dm, gradients[0], P)
        minus = optimizer.displacement(None if dm is None or point.m is None else point.m - dm, gradients[1], P)
        motion = (plus[0] + minus[0]) / 2, None if plus[1] is None or minus[1] is None else (plus[1] + minus[1]) / 2
        if self.options.rod_correction == "backward_error" and dt < 1:
            motion = self._corrected(motion, point, ends, self._ends(point, extent, scale), gradients, dt)
        new_scale = self._scale(ends)
        columns = math.sqrt(dt / 4) * torch.stack([_joined(*plus, new_scale), _joined(*minus, new_scale)], dim=1)
        ratio = None if scale.ndim == 0 and bool(scale == new_scale) else new_scale / scale
        change = None if ratio is None else _joined(torch.ones_like(point.w), None if dm is None else torch.ones_like(dm), ratio)
        # Decay and growth are one Euler step: an exponential decay would move the edge by 10 % (math.md 6).
        extent = extent.update(1 - 2 * dt, columns, change)
        w = point.w + dt * motion[0]
        m = None if point.m is None or motion[1] is None else point.m + dt * motion[1]
        nu = None if point.nu is None or ends.nu is None else torch.lerp(point.nu, ends.nu, dt)
        return State(w, point.tau + dt, m, nu), extent, new_scale

    def _corrected(
        self, motion: tuple[Tensor, Tensor | None], point: State, ends: State, at: Tensor, gradients: Tensor, dt: float
    ) -> tuple[Tensor, Tensor | None]:
        """F − h DF[F] with h = ½(1 − dt), for the centre's `motion` F; `ends`: the centre with their ν, `at` [2, p]: their gradient points.

        With d = c_m m + c_g ḡ, so that F = (−P̃⁻¹d, (1 − β₁)(ḡ − m)), and ẋ the motion of the gradient points:

            ḡ' = ½(H₊ + H₋)ẋ     d' = c_m F_m + c_g ḡ'     ν₊' = β₂(1 − β₂)(½(sq g₊ + sq g₋) − ν) + (1 − β₂)(g₊⊙H₊ẋ + g₋⊙H₋ẋ)
            F̃_w = −P̃(ν₊, τ − h)⁻¹ (d − h(d' + ∂P̃/∂ν ν₊' F_w))     F̃_m = F_m − h(1 − β₁)(ḡ' − F_m)

        ζ is held fixed, as in [RF]. ν is not (ours): once it has settled it changes as fast as g does, and holding P̃ fixed is worse than no
        correction. Time in P̃ is set back by h rather than differentiated: a schedule may jump. Costs a Hessian-vector product an end.
        """
        optimizer, h = self.optimizer, 0.5 * (1 - dt)
        dw, dm = motion
        along = optimizer.gradient_point(State(dw, point.tau, dm))[:, None]  # linear in (w, m)
        rates = torch.stack([self.objective.hvp(x, along, g)[:, 0] for x, g in zip(at, gradients, strict=True)])
        P = optimizer.preconditioner(replace(ends, tau=ends.tau - h))
        m = None if point.m is None or dm is None else point.m - h * dm
        moved_w, moved_m = optimizer.displacement(m, (gradients - h * rates).mean(0), P)
        slope = optimizer.preconditioner_slope(ends)
        if slope is not None and ends.nu is not None and point.nu is not None:
            change = 2 * (gradients * rates).mean(0)
            nu_rate = torch.lerp(change if point.nu.ndim else change.sum(), ends.nu - point.nu, optimizer.beta2)
            moved_w = moved_w + h * slope * nu_rate * dw / P
        return moved_w, moved_m

    def _updated(self, point: State, gradients: Tensor) -> State:
        """The centre with the ν that both ends' steps use."""
        if point.nu is None:
            return point
        square = (gradients * gradients).mean(0)
        return replace(point, nu=torch.lerp(square if point.nu.ndim else square.sum(), point.nu, self.optimizer.beta2))

    def _scale(self, ends: State) -> Tensor:
        """P̃^½: what makes positions and momenta comparable; coordinates that nothing moves keep theirs. 1 in raw coordinates."""
        alike = ends.m is None and ends.nu is None
        if alike or self.options.rod_coordinates == "raw":
            return ends.w.new_ones(())
        P = self.optimizer.preconditioner(ends)
        return torch.where(P > 0, P, torch.ones_like(P)).sqrt()

    def _ends(self, point: State, extent: LowRank, scale: Tensor) -> Tensor:
        """Gradient points of both ends, [2, p]."""
        dw, dm = _parts(extent, scale, point)
        ends = [State(point.w + s * dw, point.tau, None if dm is None or point.m is None else point.m + s * dm) for s in (1, -1)]
        return torch.stack([self.optimizer.gradient_point(end) for end in ends])

    def _measured(self, point: State, extent: LowRank, scale: Tensor, ceiling: float | None, eigen: EigenState) -> RodState:
        ends = self._ends(point, extent, scale)
        if point.nu is None:
            at = self.measure(point, eigen, beside=ends)
            losses, gradients = at.losses, at.gradients
        else:  # P̃ is known only with the gradients at the ends
            losses, gradients = self.objective.losses_and_grads(ends)
            at = self.measure(self._updated(point, gradients), eigen)
        if self.optimizer.swing != 1:  # the ends' losses are those of the iterates
            dw, _ = _parts(extent, scale, point)
            losses = torch.tensor([self.objective.loss(point.w + s * dw) for s in (1, -1)], dtype=losses.dtype)
        losses = torch.cat([torch.tensor([at.loss], dtype=losses.dtype, device=losses.device), losses])
        if ceiling is None:
            ceiling = DIVERGED * max(1.0, float(losses.max()))
        return RodState(point, extent, scale, losses, torch.cat([at.gradient[None], gradients]), ceiling, at.eigen, at.values)

    def series(self, state: RodState) -> dict[str, Value]:
        centre, n = state.gradients[0], self.options.n_eigs
        values: dict[str, Value] = {
            "loss": float(state.losses[0]),
            "grad_norm_sq": float(centre @ centre),
            "effective_eigs": padded(state.values, n),
            "predicted_loss": float(state.losses[1:].mean()),
            "predicted_grad_norm_sq": float(self.squared_gradients(state).sum()),
            "extent": float(state.zeta.norm()),
            "extent_eigs": padded(state.extent.eigenvalues, n),
        } | self.adaptive_series(self.adapted(state))
        if state.momentum_zeta is not None:
            values["momentum_extent"] = float(state.momentum_zeta.norm())
        return values

    def squared_gradients(self, state: RodState) -> Tensor:
        return (state.gradients[1:] ** 2).mean(0)

    def adapted(self, state: RodState) -> State:
        return self._updated(state.point, state.gradients[1:])


def _joined(w: Tensor, m: Tensor | None, scale: Tensor) -> Tensor:
    """z in the extent's coordinates: (scale · w, m / scale), or scale · w."""
    return scale * w if m is None else torch.cat([scale * w, m / scale])


def _parts(extent: LowRank, scale: Tensor, point: State) -> tuple[Tensor, Tensor | None]:
    """ζ's parts in the weights and in the momentum, in their own units."""
    zeta, p = extent.principal(), len(point.w)
    return zeta[:p] / scale, None if point.m is None else zeta[p:] * scale
