"""The discrete optimizer itself, kept one step ahead so that midpoints and oscillations are known at every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.flows.base import Flow, Start, padded
from cflows_core.frames import Value
from cflows_core.linalg.eigen import EigenState
from cflows_core.measure import period
from cflows_core.optimizers import State

# The loss may rise so many times over its largest start value before the run counts as diverged.
DIVERGED = 1e6
REPORTED = 1e-3  # residual of the eigenpairs that are reported, where the solve looks beyond the known modes
# Below this share of the threshold the edge is left, and the next arrival fixes another reference mode.
LEFT = 0.9
WINDOW = 40  # steps over which the oscillation's period is taken
AVERAGED = 0.9  # share that the exponential moving average of the iterates keeps of itself in a step


@dataclass(frozen=True)
class DiscreteState:
    """Three consecutive iterates: before, point (this step's) and after.

    gradient: ∇L at the point. values: tracked eigenvalues of P⁻¹H at the midpoint; modes: their P-orthonormal eigenvectors [p, k].
    loss_midpoint: the loss there. reference: the top mode (unit length) as it was on reaching the edge; empty before. swings [≤ 40]: the
    last oscillations along it. ceiling: loss beyond which the run has diverged. average [p]: exponential moving average of the iterates.
    travelled: length of the midpoints' path since the flows started.
    """

    before: State
    point: State
    after: State
    loss: float
    gradient: Tensor
    ceiling: float
    eigen: EigenState
    values: Tensor
    modes: Tensor
    loss_midpoint: float
    reference: Tensor
    swings: Tensor
    average: Tensor
    travelled: float = 0.0
    stopped: str = ""

    @property
    def midpoint(self) -> State:
        """w* = (2w_t + w_{t+1} + w_{t−1})/4, and m* likewise: the period-2 oscillation and the drift both cancel (math.md 8)."""
        before, point, after = self.before, self.point, self.after
        m = None if point.m is None else _middle(before.m, point.m, after.m)
        return State(_middle(before.w, point.w, after.w), point.tau, m, after.nu)

    @property
    def centre(self) -> State:
        """Mean of this iterate and the next, half a step later; ν of both before their updates."""
        return _mean(self.point, self.after)

    @property
    def half_difference(self) -> Tensor:
        """(w_t − w_{t+1})/2, the discrete rod."""
        return (self.point.w - self.after.w) / 2

    @property
    def momentum_half_difference(self) -> Tensor | None:
        """(m_t − m_{t+1})/2."""
        return None if self.point.m is None or self.after.m is None else (self.point.m - self.after.m) / 2

    @property
    def oscillation(self) -> Tensor:
        """(2w_t − w_{t+1} − w_{t−1})/4: the displacement from the midpoint, without drift (math.md 9)."""
        return (2 * self.point.w - self.after.w - self.before.w) / 4


class Discrete(Flow[DiscreteState]):
    """The optimizer's own iterates (math.md 2)."""

    name = "discrete"
    state_type = DiscreteState

    def init(self, start: Start) -> DiscreteState:
        w = start.state.w
        loss, gradient = self.objective.loss_and_grad(w)
        first = self.optimizer.start(w, gradient)
        after = self.optimizer.step(first, gradient)
        empty = w.new_zeros(0)
        state = DiscreteState(
            before=first, point=first, after=after, loss=loss, gradient=gradient, ceiling=DIVERGED * max(1.0, loss),
            eigen=self.eigen_init(w), values=empty, modes=w.new_zeros(len(w), 0), loss_midpoint=loss, reference=empty,
            swings=empty, average=w,
        )  # fmt: skip
        return self._measured(state)

    def step(self, state: DiscreteState) -> DiscreteState:
        loss, gradient = self.loss_and_grad(state.after)
        after = self.optimizer.step(state.after, gradient)
        midpoint = state.midpoint.w
        state = replace(state, before=state.point, point=state.after, after=after, loss=loss, gradient=gradient)
        average = torch.lerp(state.point.w, state.average, AVERAGED)
        state = replace(state, average=average, travelled=state.travelled + float((state.midpoint.w - midpoint).norm()))
        if not math.isfinite(loss) or loss > state.ceiling or not math.isfinite(float(after.w.sum())):
            reason = (
                f"The optimizer diverged: its loss rose to {loss:.3g}; lower the learning rate, now {self.optimizer.lr:g}, and start again."
            )
            return replace(state, stopped=reason)
        return self._measured(state)

    def _measured(self, state: DiscreteState) -> DiscreteState:
        # Between looks the Ritz values of the known modes do: what is beyond `EIGEN_TOLERANCE` of their residual, squared, no plot shows.
        measured = self.measure(state.midpoint, state.eigen, tol=REPORTED if state.eigen.looks else 0.0, gradient=False)
        values, modes, reference, swings = measured.values, measured.vectors, state.reference, state.swings
        ratio = float(values[0]) / self.optimizer.threshold
        if ratio < LEFT:
            reference, swings = reference[:0], swings[:0]
        elif not len(reference) and ratio >= 1:
            reference = modes[:, 0] / modes[:, 0].norm()
        if len(reference):
            swings = torch.cat([swings, (reference @ state.oscillation)[None]])[-WINDOW:]
        return replace(
            state, eigen=measured.eigen, values=values, modes=modes, loss_midpoint=measured.loss, reference=reference, swings=swings
        )

    def start(self, state: DiscreteState, between: bool) -> Start:
        """Where flows start: at the present iterate, or between it and the next (math.md 9)."""
        after = state.after
        rod = state.centre
        if not between:
            point = replace(state.point, nu=after.nu)
        elif after.nu is None:
            point = rod
        else:
            beyond = self.optimizer.updated(after, self.loss_and_grad(after)[1])
            point = replace(rod, nu=_mean(after, beyond).nu)
        return Start(point, rod, state.half_difference, state.momentum_half_difference)

    def series(self, state: DiscreteState) -> dict[str, Value]:
        n = self.options.n_eigs
        values: dict[str, Value] = {
            "loss": state.loss,
            "grad_norm_sq": float(state.gradient @ state.gradient),
            "path_length": state.travelled,
            "half_difference": float(state.half_difference.norm()),
            "period": float(period(state.swings.numpy(force=True), fading=False)) if len(state.swings) == WINDOW else math.nan,
        } | self.adaptive_series(self.adapted(state))
        if state.momentum_half_difference is not None:
            values["momentum_half_difference"] = float(state.momentum_half_difference.norm())
        if state.stopped:
            return values
        length = (state.modes * state.modes).sum(0)
        values |= {
            "loss_midpoint": state.loss_midpoint,
            "effective_eigs": padded(state.values, n),
            "hessian_eigs": padded(state.values / length, n),
            "grad_projection_sq": padded((state.gradient @ state.modes) ** 2 / length, n),
            "displacement": float(state.swings[-1]) if len(state.swings) else math.nan,
        }
        return values

    def adapted(self, state: DiscreteState) -> State:
        return replace(state.point, nu=state.after.nu)


def _middle(before: Tensor | None, now: Tensor, after: Tensor | None) -> Tensor:
    assert before is not None
    assert after is not None
    return torch.add(before, after).add_(now, alpha=2).mul_(0.25)  # one new tensor: it is read at every step


def _mean(one: State, other: State) -> State:
    m = None if one.m is None or other.m is None else (one.m + other.m) / 2
    nu = None if one.nu is None or other.nu is None else (one.nu + other.nu) / 2
    return State((one.w + other.w) / 2, (one.tau + other.tau) / 2, m, nu)
