"""Period 2 in one's hand: the matrix of a step near a minimum, the 2-cycle in full phase space, and what Adam does instead of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jacrev

from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.toy import Loss

TOLERANCE, ITERATIONS = 1e-12, 60  # of Newton's method: residual over the size of the phase point
ALIKE = 1e-6  # a 2-cycle's points are at least this share of their size apart, else it is a fixed point


# The matrix of one step


def transition_matrix(optimizer: Optimizer, state: State, hessian: Tensor) -> Tensor:
    """∂(w, m)_{t+1}/∂(w, m)_t with P̃ frozen at the state's, where ∇L = H x ([RF] 4, App. B), by differentiating the step itself.

    state: with ν as P̃ takes it, after the update. hessian: H [d, d]. Returns [2d, 2d], without momentum [d, d]. One of its eigenvalues
    leaves the unit circle at −1 when the top eigenvalue of P̃⁻¹H passes c.
    """
    P, d = optimizer.preconditioner(state), len(state.w)

    def step(z: Tensor) -> Tensor:
        w, m = (z[:d], z[d:]) if state.m is not None else (z, None)
        x = optimizer.gradient_point(State(w, state.tau, m))
        dw, dm = optimizer.displacement(m, hessian @ x, P)
        return w + dw if m is None or dm is None else torch.cat([w + dw, m + dm])

    matrix: Any = jacrev(step)(state.w if state.m is None else torch.cat([state.w, state.m]))
    return matrix


def step_eigenvalues(optimizer: Optimizer, effective: Any) -> np.ndarray:
    """Eigenvalues [n, 2] (without momentum [n, 1]) of a step along a mode of P̃⁻¹H with the eigenvalues `effective` [n], complex.

    Sorted so that each column is one of them followed along `effective`, as far as they do not meet.
    """
    one = torch.ones(1, dtype=torch.float64)
    state = State(one, 0.0, one if optimizer.momentum != "none" else None, one if optimizer.adaptive else None)
    H = optimizer.preconditioner(state).reshape(1, 1)
    free, bound = (transition_matrix(optimizer, state, share * H).numpy() for share in (0.0, 1.0))
    # H enters a step once, so its matrix is a straight line in λ.
    effective = np.asarray(effective, dtype=float).reshape(-1, 1, 1)
    values = np.linalg.eigvals(free + effective * (bound - free)).astype(complex)
    order = np.lexsort((values.imag, values.real), axis=-1)
    return np.take_along_axis(values, order, axis=-1)


# The 2-cycle


@dataclass(frozen=True)
class Cycle:
    """A 2-cycle of the optimizer, bias corrections at their limit 1.

    found: whether Newton's method came to one; note: a sentence if it did not. w, x: iterates and gradient points at both ends, [2, d].
    m: [2, d] or None. nu: [2], [2, d] or None, before the step's update. multipliers: eigenvalues of the Jacobian of two steps in
    (w, m, ν), the largest first: beyond 1 in size, the iterates leave it. residual: of the last Newton step, relative.
    """

    found: bool
    w: np.ndarray
    x: np.ndarray
    m: np.ndarray | None
    nu: np.ndarray | None
    multipliers: np.ndarray
    residual: float
    note: str = ""

    @property
    def multiplier(self) -> float:
        """Size of the largest multiplier."""
        return float(np.abs(self.multipliers[0]))

    @property
    def stable(self) -> bool:
        return self.found and self.multiplier < 1

    @property
    def half_difference(self) -> np.ndarray:
        """(w₀ − w₁)/2, [d]."""
        return (self.w[0] - self.w[1]) / 2


def settled(optimizer: Optimizer) -> Optimizer:
    """The optimizer as it is after many steps: its bias corrections are 1."""
    optimizer = copy.copy(optimizer)
    optimizer.corrects = False
    return optimizer


def swinging(loss: Loss, optimizer: Optimizer, w: Tensor, centre: Tensor | None = None) -> State:
    """The state that swings between w and its image across `centre` (0), if that is a 2-cycle: with the momentum and ν of one.

    On a 2-cycle m = (β₁g + g′)/(1 + β₁) with the gradients g here and g′ at the other end, and ν before the update = (β₂ν₀ + ν₁)/(1 + β₂)
    likewise.
    """
    centre = torch.zeros_like(w) if centre is None else centre
    half, b, c = optimizer.swing * (w - centre), optimizer.beta1, optimizer.beta2
    here, there = (grad(loss.loss)(centre + side * half) for side in (1, -1))
    m = (b * here + there) / (1 + b) if optimizer.momentum != "none" else None
    one, other = optimizer.square(here), optimizer.square(there)
    return State(w, 0.0, m, None if one is None or other is None else (c * one + other) / (1 + c))


def cycle(loss: Loss, optimizer: Optimizer, start: State) -> Cycle:
    """The 2-cycle near `start`, by Newton's method on z ↦ F(F(z)) − z, z = (w, m, ν), and whether it is stable.

    start: a guess such as `swinging(...)` or a late state of a run. Unstable cycles are found as stable ones are.
    """
    optimizer = settled(optimizer)

    def step(z: Tensor) -> Tensor:
        state = _state(z, start)
        return _flat(optimizer.step(state, grad(loss.loss)(optimizer.gradient_point(state))))

    def twice(z: Tensor) -> Tensor:
        return step(step(z))

    z = _flat(start)
    residual = math.inf
    for _ in range(ITERATIONS):
        off = twice(z) - z
        residual = float(off.norm() / z.norm().clamp_min(1e-300))
        if not math.isfinite(residual) or residual < TOLERANCE:
            break
        slope: Any = jacrev(twice)(z)
        if not bool(torch.isfinite(slope).all()):
            break
        move = torch.linalg.lstsq(slope - torch.eye(len(z), dtype=z.dtype), -off[:, None], driver="gelsd").solution[:, 0]
        z = _damped(twice, z, move, float(off.norm()), start)
    other = step(z)
    matrix: Any = jacrev(twice)(z)
    one, two = _state(z, start), _state(other, start)
    apart = float((one.w - two.w).norm()) > ALIKE * float(one.w.norm() + two.w.norm())
    found = residual < 1e3 * TOLERANCE and apart
    known = bool(torch.isfinite(matrix).all())
    multipliers = np.linalg.eigvals(matrix.numpy()).astype(complex) if known else np.array([complex(math.nan)])
    reason = "the optimizer rests there." if residual < 1e3 * TOLERANCE else "Newton's method found none."
    note = "" if found else f"No 2-cycle is near this start: {reason}"
    return Cycle(
        found,
        _both(one.w, two.w),
        _both(optimizer.gradient_point(one), optimizer.gradient_point(two)),
        None if one.m is None or two.m is None else _both(one.m, two.m),
        None if one.nu is None or two.nu is None else _both(one.nu, two.nu),
        multipliers[np.argsort(-np.abs(multipliers))],
        residual,
        note,
    )


def _damped(twice: Any, z: Tensor, move: Tensor, size: float, like: State) -> Tensor:
    """z after the Newton step, or a part of it that brings the residual down and keeps ν positive."""
    part = 1.0
    for _ in range(12):
        tried = z + part * move
        nu = _state(tried, like).nu
        if (nu is None or bool((nu > 0).all())) and float((twice(tried) - tried).norm()) < size:
            return tried
        part /= 2
    return z + part * move


def _flat(state: State) -> Tensor:
    return torch.cat([part.reshape(-1) for part in (state.w, state.m, state.nu) if part is not None])


def _state(z: Tensor, like: State) -> State:
    d = len(like.w)
    rest = z[d:] if like.m is None else z[2 * d :]
    return State(z[:d], 0.0, None if like.m is None else z[d : 2 * d], None if like.nu is None else rest.reshape(like.nu.shape))


def _both(one: Tensor, other: Tensor) -> np.ndarray:
    return np.stack([one.detach().numpy(), other.detach().numpy()])


# What iterates do


@dataclass(frozen=True)
class Swings:
    """How a series of iterates swings about its centre.

    rms: root of the mean square of δ_t = (2w_t − w_{t+1} − w_{t−1})/4. least, most: of |δ_t| after the fast oscillation is averaged out.
    modulation: period in steps of the slow change of |δ_t|; NaN if there is none.
    """

    rms: float
    least: float
    most: float
    modulation: float


STEADY = 0.02  # |δ_t| that varies by less than this share of itself is not modulated


def swings(w: Any) -> Swings:
    """Amplitude and modulation of iterates w [n], n ≥ 8, of which the transient is cut off."""
    w = np.asarray(w, dtype=float)
    delta = (2 * w[1:-1] - w[2:] - w[:-2]) / 4
    size = np.abs(delta)
    envelope = (size[1:] + size[:-1]) / 2
    rms, least, most = float(np.sqrt(np.mean(delta**2))), float(envelope.min()), float(envelope.max())
    if not math.isfinite(rms) or most - least <= STEADY * rms:
        return Swings(rms, least, most, math.nan)
    power = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope)))) ** 2
    top = 1 + int(np.argmax(power[1:]))
    lower, upper = max(top - 2, 1), min(top + 3, len(power))
    frequency = float(np.average(np.arange(lower, upper), weights=power[lower:upper])) / len(envelope)
    return Swings(rms, least, most, 1 / frequency)
