"""The nine optimizers as one update rule: what the discrete map, the stable, the central and the rod fields all derive from.

An optimizer is a momentum kind times a preconditioner kind (math.md 2). One step, with x the point where the gradient is taken:

    x_t = w_t − η β₁ m_t (look-ahead) or w_t        g_t = ∇L(x_t)
    ν_{t+1} = β₂ ν_t + (1 − β₂) sq(g_t)             m_{t+1} = β₁ m_t + (1 − β₁) g_t
    w_{t+1} = w_t − P̃(ν_{t+1}, t)⁻¹ (c_m m_t + c_g g_t)
    P̃(ν, τ) = ψ₁(τ) (√(ν/ψ₂(τ)) + ε) / η(τ)         or 1/η(τ) for the identity kind

Bias corrections ψ and a schedule η(τ) are folded into one preconditioner, which motion, constraint, eigenproblem and rods share. State in,
state out: an `Optimizer` holds parameters only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cflows_core.config import OPTIMIZER_NAMES, RunConfig
from cflows_core.errors import ConfigError
from cflows_core.schedules import Schedule, schedule_from

# Momentum kind and preconditioner kind of each name.
KINDS = {
    "gd": ("none", "identity"),
    "heavy_ball": ("heavy_ball", "identity"),
    "nesterov": ("look_ahead", "identity"),
    "scalar_rmsprop": ("none", "scalar"),
    "scalar_adam": ("heavy_ball", "scalar"),
    "scalar_nadam": ("dozat", "scalar"),
    "rmsprop": ("none", "diagonal"),
    "adam": ("heavy_ball", "diagonal"),
    "nadam": ("dozat", "diagonal"),
}


CORRECTS = {"auto": None, "on": True, "off": False}


@dataclass(frozen=True)
class State:
    """A point of the optimizer's phase space.

    w: weights [p]. tau: optimizer time in steps; t on iterates, real in the flows. m: momentum [p], None without. nu: average of squared
    gradients, [] for the scalar kind, [p] for the diagonal one, None for the identity; on iterates the value *before* the step's update, in
    stable and central flows after it ([CF] eq. 25), so that `Optimizer.preconditioner` is the step's own.
    """

    w: Tensor
    tau: float = 0.0
    m: Tensor | None = None
    nu: Tensor | None = None


class Optimizer:
    """One of the discrete optimizers.

    name: one of `OPTIMIZER_NAMES`. lr: step size η > 0. beta1, beta2: averaging of momentum and of squared gradients, where the kind has
    them. eps: added to the root of ν, outside it as in PyTorch ([CF] footnote 44 has it inside). bias_correction: None follows [RF] 6.1
    (on for Adam and NAdam kinds only). schedule: "constant", "warmup(50)", "cosine(300, 0.1)", "step(100, 0.5)", or a function from time
    in steps to a factor on η. Raises `ConfigError` for anything out of bounds.

    >>> Optimizer("adam", lr=1e-3, beta1=0.9, beta2=0.99).threshold
    38.0
    """

    def __init__(
        self,
        name: str = "gd",
        *,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.99,
        eps: float = 1e-8,
        bias_correction: bool | None = None,
        schedule: str | Schedule = "constant",
    ):
        if name not in OPTIMIZER_NAMES:
            raise ConfigError(f"`optimizer` must be one of {', '.join(OPTIMIZER_NAMES)}, got {name!r}.")
        self.name, self.lr = name, float(RunConfig.check("lr", lr))
        self.momentum, self.kind = KINDS[name]
        self.beta1 = float(RunConfig.check("beta1", beta1)) if self.momentum != "none" else 0.0
        self.beta2 = float(RunConfig.check("beta2", beta2)) if self.adaptive else 1.0
        self.eps = float(RunConfig.check("eps", eps))
        self.corrects = self.adaptive and (self.momentum != "none" if bias_correction is None else bias_correction)
        self._factor = schedule_from(schedule) if isinstance(schedule, str) else schedule

    @classmethod
    def of(cls, config: RunConfig, schedule: Schedule | None = None) -> Optimizer:
        """The optimizer that a configuration names; `schedule`: in place of the configuration's."""
        return cls(
            config.optimizer,
            lr=config.lr,
            beta1=config.beta1,
            beta2=config.beta2,
            eps=config.eps,
            bias_correction=CORRECTS[config.bias_correction],
            schedule=config.schedule if schedule is None else schedule,
        )

    # What the kind decides

    @property
    def adaptive(self) -> bool:
        """Whether the preconditioner follows the gradients."""
        return self.kind != "identity"

    @property
    def mixture(self) -> tuple[float, float]:
        """(c_m, c_g): the direction of a step is c_m m + c_g ∇L."""
        b = self.beta1
        return {"none": (0.0, 1.0), "heavy_ball": (b, 1 - b), "look_ahead": (b, 1 - b), "dozat": (b * b, 1 - b * b)}[self.momentum]

    @property
    def swing(self) -> float:
        """How many times as far as the iterate its gradient point swings on a period-2 orbit: 1 + 2β₁ for look-ahead, else 1."""
        return 1 + 2 * self.beta1 if self.momentum == "look_ahead" else 1.0

    @property
    def threshold(self) -> float:
        """c: oscillation sets in along modes of P̃⁻¹H whose eigenvalue exceeds it ([RF] eq. 10, 47, Table 2)."""
        heavy = 2 * (1 + self.beta1) / (1 - self.beta1)
        return heavy / (1 + 2 * self.beta1) if self.momentum in ("look_ahead", "dozat") else heavy

    @property
    def rate(self) -> float:
        """κ₂ = (1 − β₂)/β₂: how fast ν follows in stable and central flows, where it is the value after the update ([CF] eq. 25)."""
        return (1 - self.beta2) / self.beta2 if self.beta2 > 0 else math.inf

    # At a state

    def lr_at(self, tau: float) -> float:
        """η(τ)."""
        return self.lr * self._factor(tau)

    def gradient_point(self, state: State) -> Tensor:
        """x, where the optimizer takes its gradient, [p]."""
        if self.momentum != "look_ahead" or state.m is None:
            return state.w
        return state.w - self.lr_at(state.tau) * self.beta1 * state.m

    def preconditioner(self, state: State) -> Tensor:
        """P̃ at the state's ν and time: a scalar tensor, or the diagonal [p]."""
        if state.nu is None:
            return torch.full((), 1.0 / self.lr_at(state.tau), dtype=state.w.dtype, device=state.w.device)
        psi1, psi2 = self._corrections(state.tau)
        root = (state.nu / psi2).sqrt() + self.eps
        if not self.eps:  # any positive number where ν is 0: nothing moves there, and 0/0 must not
            root = torch.where(root > 0, root, torch.ones_like(root))
        return (psi1 / self.lr_at(state.tau)) * root

    def preconditioner_slope(self, state: State) -> Tensor | None:
        """∂P̃/∂ν, of ν's shape; 0 where ν is 0, which nothing moves, and None for the identity kind."""
        if state.nu is None:
            return None
        psi1, psi2 = self._corrections(state.tau)
        slope = psi1 / (2 * self.lr_at(state.tau)) / (state.nu * psi2).sqrt()
        return torch.where(state.nu > 0, slope, torch.zeros_like(slope))

    def square(self, gradient: Tensor) -> Tensor | None:
        """sq(g), which ν averages: |g|² [] for the scalar kind, g² [p] for the diagonal one, None for the identity."""
        if self.kind == "diagonal":
            return gradient * gradient
        return gradient @ gradient if self.kind == "scalar" else None

    def displacement(self, m: Tensor | None, gradient: Tensor, P: Tensor) -> tuple[Tensor, Tensor | None]:
        """(w, m) moved by in one unit of time: (−P̃⁻¹(c_m m + c_g g), (1 − β₁)(g − m))."""
        if m is None:
            return gradient / -P, None
        c_m, c_g = self.mixture
        return -(c_m * m + c_g * gradient) / P, (1 - self.beta1) * (gradient - m)

    def velocity(self, state: State, gradient: Tensor) -> Tensor:
        """dw/dt = −P̃⁻¹(c_m m + c_g g), [p] ([CF] eq. 6)."""
        return self.displacement(state.m, gradient, self.preconditioner(state))[0]

    # Motion

    def start(self, w: Tensor, gradient: Tensor) -> State:
        """The optimizer's state before its first step: m₀ = 0; ν₀ = 0 with bias correction, sq(∇L(w₀)) without or with β₂ = 1."""
        square = self.square(gradient)
        nu = torch.zeros_like(square) if square is not None and self.corrects and self.beta2 < 1 else square
        return State(w, 0.0, torch.zeros_like(w) if self.momentum != "none" else None, nu)

    def updated(self, state: State, gradient: Tensor) -> State:
        """The state with ν after this step's update, for `preconditioner`: P̃(ν_{t+1}, t)."""
        square = self.square(gradient)
        if square is None or state.nu is None:
            return state
        return replace(state, nu=torch.lerp(square, state.nu, self.beta2))

    def step(self, state: State, gradient: Tensor) -> State:
        """The discrete optimizer's step; `gradient` is ∇L at `gradient_point(state)`."""
        updated = self.updated(state, gradient)
        return self._moved(state, gradient, 1.0, replace(updated, tau=state.tau), state.tau + 1)

    def flow(self, state: State, gradient: Tensor, dt: float, oscillations: Tensor | None = None) -> State:
        """One Euler substep of the stable flow (math.md 3); `oscillations`: what ν follows beyond sq(g), of its shape.

        P̃ is that at the end of the substep, and ν relaxes by 1 − exp(−κ₂ dt), so that it never overshoots.
        """
        nu, tau = state.nu, state.tau + dt
        if nu is not None:
            target = self.square(gradient)
            assert target is not None
            nu = torch.lerp(nu, target if oscillations is None else target + oscillations, self.relaxation(dt))
        return self._moved(state, gradient, dt, State(state.w, tau, state.m, nu), tau)

    def relaxation(self, dt: float) -> float:
        """1 − exp(−κ₂ dt): the share by which ν comes nearer to what it follows."""
        return -math.expm1(-self.rate * dt)

    def relaxed(self, state: State, before: Tensor, after: Tensor, dt: float) -> State:
        """The state with ν a time dt later, if sq(∇L) goes along the line from `before`'s to `after`'s, both gradients [p].

        dν/dt = κ₂(sq(∇L) − ν) solved exactly, so a mean of the three with no negative weight, for any κ₂: ν itself at 0, sq(after) at ∞.
        """
        begin, end = self.square(before), self.square(after)
        if state.nu is None or begin is None or end is None:
            return state
        share = self.relaxation(dt)
        late = 1 - share / (self.rate * dt) if self.rate else 0.0
        return replace(state, nu=(1 - share) * state.nu + (share - late) * begin + late * end)

    def _moved(self, state: State, gradient: Tensor, dt: float, updated: State, tau: float) -> State:
        dw, dm = self.displacement(state.m, gradient, self.preconditioner(updated))
        m = None if dm is None or state.m is None else state.m + dt * dm
        return State(torch.add(state.w, dw, alpha=dt), tau, m, updated.nu)

    def _corrections(self, tau: float) -> tuple[float, float]:
        """(ψ₁, ψ₂) at time τ; Dozat's ψ₁ is ours: unbiased on constant gradients (math.md 2)."""
        if not self.corrects:
            return 1.0, 1.0
        steps = tau + (2 if self.momentum == "dozat" else 1)
        return 1 - self.beta1**steps, 1 - self.beta2 ** (tau + 1) if self.beta2 < 1 else 1.0
