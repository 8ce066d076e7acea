"""Every closed form that holds for a toy loss and an optimizer, beside what running them gives (math.md 7, [RF] C.3, D.2, E.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.toy import Linear, Loss, Quadratic, Quartic, Valley
from cflows_core.toylab.batch import gradient, start_weights
from cflows_core.toylab.cycles import Cycle, cycle, settled, swinging, swings
from cflows_core.toylab.measuring import bottom, dozat, edge, leaves, mirrored, rods
from cflows_core.toylab.walk import hessians, iterates, walk

EXACT, CLOSE, ROUGH = 1e-6, 1e-2, 0.1  # relative tolerances: to rounding and slow decay, of short runs, and of time averages
BESIDE = 1e-3  # of a guess, so that Newton's method has something to do, and no other 2-cycle is nearer
STAY = 400  # steps at the edge over which a variance is taken
BREAKS = 1.5  # times c/η: where the quartic's 2-cycle loses its stability


@dataclass(frozen=True)
class Expectation:
    """One claim: `formula` (LaTeX) from `source`, its value, and what was measured: numbers, or words such as "stable".

    tolerance: the relative difference up to which numbers agree (absolute where 0 is expected); 0 for words.
    """

    name: str
    formula: str
    source: str
    expected: float | str
    measured: float | str
    tolerance: float = 0.0

    @property
    def agrees(self) -> bool:
        if isinstance(self.expected, str) or isinstance(self.measured, str):
            return self.expected == self.measured
        return abs(self.measured - self.expected) <= self.tolerance * (abs(self.expected) or 1)


def expectations(loss: Loss, optimizer: Optimizer, w0: Any) -> list[Expectation]:
    """All closed forms for the loss and the optimizer, measured by running it from w0 [d] or from where the claim says.

    Raises `ConfigError` for a start that does not fit the loss.
    """
    w0 = start_weights(w0, loss)
    if isinstance(loss, Linear):
        claims = _linear(loss, optimizer, w0)
    elif isinstance(loss, Quartic):
        claims = _quartic(loss, optimizer)
    elif isinstance(loss, Valley):
        claims = _valley(loss, optimizer, w0)
    else:
        claims = _bowl(loss, optimizer, w0)
    return [*claims, *(_dozat(loss, optimizer, w0) if optimizer.name == "nesterov" else ())]


# A straight line


def _linear(loss: Linear, optimizer: Optimizer, w0: Tensor) -> Iterator[Expectation]:
    """Steady velocity −ηa, adaptive −η sign a (scalar: −η a/|a|), and a rod of half a step."""
    a = loss.a.to(w0.dtype)
    direction = {"identity": a, "scalar": a / a.norm(), "diagonal": a.sign()}[optimizer.kind]
    formula = {"identity": r"-\eta a", "scalar": r"-\eta\,a/|a|", "diagonal": r"-\eta\,\mathrm{sign}\,a"}[optimizer.kind]
    # What is left of the start's m after n steps is β₁ⁿ of it.
    path = iterates(loss, optimizer, optimizer.start(w0, a), _until(optimizer.beta1, 1e-9))
    step = path[-1].w - path[-2].w
    yield Expectation("steady velocity", formula, "[RF] C.3", _signed(-optimizer.lr * direction), _signed(step), EXACT)
    rod = rods(loss, optimizer, path[-2], path[-1], 20)
    half = optimizer.lr * float(direction.norm()) / 2
    yield Expectation("rod, half its length", r"\tfrac12\,|\dot w|", "[RF] C.3", half, float(rod[-1].zeta.norm()), 1e-3)


def _signed(v: Tensor) -> float:
    return float(v) if len(v) == 1 else float(v.norm())


def _until(decay: float, left: float) -> int:
    """Steps until a factor `decay` a step has left this share; at least 20, at most 2,000."""
    return max(20, min(2000, math.ceil(math.log(left) / math.log(decay)) if decay > 0 else 0))


# About a minimum


def _bowl(loss: Loss, optimizer: Optimizer, w0: Tensor) -> Iterator[Expectation]:
    """A quadratic, or any loss about the minimum that descent from w0 finds: nothing if it finds none."""
    quadratic = isinstance(loss, Quadratic)
    at = torch.zeros_like(w0) if quadratic else bottom(loss, w0)
    if at is None:
        return
    values, modes = torch.linalg.eigh(hessians(loss, at[None])[0])
    sharpness, mode = float(values[-1]), modes[:, -1]
    if optimizer.adaptive:
        if len(w0) == 1 or optimizer.kind == "scalar":
            yield from _adaptive_cycle(loss, optimizer, at, mode, quadratic)
        return
    if sharpness <= 0:
        return
    yield _onset(loss, optimizer, at, sharpness, "S")
    if quadratic:
        yield from _quadratic_rod(loss, optimizer, sharpness, mode)
        if optimizer.momentum != "none":
            yield from _at_the_edge(optimizer, float(w0 @ mode) or 1.0)


def _onset(loss: Loss, optimizer: Optimizer, at: Tensor, sharpness: float, symbol: str) -> Expectation:
    expected = optimizer.threshold / sharpness
    measured = edge(loss, optimizer, at, expected)
    return Expectation("swings grow from η", rf"\eta = c/{symbol}", "[RF] eq. 10, 47", expected, measured, CLOSE / 2)


def _along(optimizer: Optimizer, w: Tensor, centre: Tensor) -> State:
    """On the 2-cycle's direction (w, −2w/η) in phase space, for a constant preconditioner."""
    return State(w, 0.0, None if optimizer.momentum == "none" else -2 * (w - centre) / optimizer.lr)


def _grows(sizes: list[float]) -> bool:
    return sizes[-1] > sizes[len(sizes) // 3]


def _quadratic_rod(loss: Loss, optimizer: Optimizer, sharpness: float, mode: Tensor) -> Iterator[Expectation]:
    expected = "decays" if sharpness < optimizer.threshold / optimizer.lr else "grows"
    begin = _along(optimizer, mode, torch.zeros_like(mode))
    rod = [float(state.zeta.norm()) for state in rods(loss, optimizer, begin, mirrored(begin, torch.zeros_like(mode)), 60)]
    path = [float(state.w.norm()) for state in iterates(loss, optimizer, begin, 60)]
    for name, sizes in (("rod from the 2-cycle's direction", rod), ("iterates from there", path)):
        yield Expectation(name, r"S < c/\eta \iff \text{decays}", "[RF] C.3", expected, "grows" if _grows(sizes) else "decays")


def _at_the_edge(optimizer: Optimizer, x0: float) -> Iterator[Expectation]:
    """On a parabola exactly at the edge, from (x₀, m₀ = 0): the 2-cycle's size and how fast the rest decays."""
    b, edge_loss = optimizer.beta1, Quadratic(torch.tensor([[optimizer.threshold / optimizer.lr]], dtype=torch.float64))
    heavy = optimizer.momentum == "heavy_ball"
    size, other = ((1 + b) / (1 - b), -b) if heavy else ((1 + b) / (1 + 3 * b), b / (1 + 2 * b))
    start = torch.tensor([x0], dtype=torch.float64)
    n = 2 * _until(abs(other), 1e-13)
    w = np.array([float(s.w) for s in iterates(edge_loss, optimizer, optimizer.start(start, gradient(edge_loss, start)), n)])
    rest = w - (-1.0) ** np.arange(n + 1) * w[n]
    formula = r"x_0\frac{1+\beta_1}{1-\beta_1}" if heavy else r"x_0\frac{1+\beta_1}{1+3\beta_1}"
    yield Expectation("2-cycle at S = c/η from (x₀, 0)", formula, "[RF] C.3", abs(x0) * size, abs(float(w[n])), EXACT)
    if other:
        formula = r"-\beta_1" if heavy else r"\frac{\beta_1}{1+2\beta_1}"
        yield Expectation("second eigenvalue at S = c/η", formula, "[RF] 4", other, float(rest[2] / rest[1]), EXACT)


def _adaptive_cycle(loss: Loss, optimizer: Optimizer, at: Tensor, mode: Tensor, quadratic: bool) -> Iterator[Expectation]:
    """The fixed point |δ*| = η/c: where it is, whether iterates stay, and their mean square; about another minimum to leading order."""
    size, calm = optimizer.lr / optimizer.threshold, settled(optimizer)
    guess = swinging(loss, calm, at + size * mode, at)
    found = cycle(loss, optimizer, guess)
    exact, source = (EXACT, "[RF] D.2") if quadratic else (ROUGH, "ours, for small η")
    formula = r"|\delta^*| = \eta/c"
    if not found.found:
        yield Expectation("2-cycle, half its length", formula, source, size, "none", exact)
        return
    yield Expectation("2-cycle, half its length", formula, source, size, float(np.linalg.norm(found.half_difference)), exact)
    begin = _state(found, 0)
    if quadratic:
        rod = rods(loss, calm, begin, _state(found, 1), 5)
        yield Expectation("rod that starts on it", formula, "[RF] D.2", size, float(rod[-1].zeta.norm()), CLOSE)
    yield _stays(loss, calm, found)
    if not found.stable and optimizer.beta2 < 0.99:
        return
    path = iterates(loss, calm, _beside(begin, at), 4000 if not found.stable else 1200)
    if len(path) < 1000:
        return
    w = torch.stack([state.w for state in path[len(path) // 4 :]]) - at
    measured = swings((w @ mode).numpy())
    yield Expectation("root mean square of the swings", r"\sqrt{E\,\delta^2} \approx \eta/c", "ours", size, measured.rms, ROUGH)


def _state(found: Cycle, end: int) -> State:
    m, nu = (None if part is None else torch.as_tensor(part[end]) for part in (found.m, found.nu))
    return State(torch.as_tensor(found.w[end]), 0.0, m, nu)


def _beside(state: State, centre: Tensor) -> State:
    return State(centre + 1.01 * (state.w - centre), 0.0, state.m, state.nu)


def _stays(loss: Loss, optimizer: Optimizer, found: Cycle) -> Expectation:
    rate = math.sqrt(found.multiplier)  # a step
    steps = max(40, min(3000, round(abs(6 / math.log(rate))) if rate not in (0.0, 1.0) else 3000))
    measured = "unstable" if leaves(loss, optimizer, _state(found, 0), steps) else "stable"
    formula = r"\max|\mathrm{eig}\, D(F\circ F)| < 1 \iff \text{stable}"
    return Expectation("2-cycle of the iterates", formula, "ours", "stable" if found.stable else "unstable", measured)


# The quartic


def _quartic(loss: Quartic, optimizer: Optimizer) -> Iterator[Expectation]:
    at = torch.zeros(1, dtype=torch.float64)
    if optimizer.adaptive:
        yield from _adaptive_cycle(loss, optimizer, at, torch.ones_like(at), quadratic=False)
        return
    edge_at, swing = optimizer.threshold / optimizer.lr, optimizer.swing
    yield _onset(loss, optimizer, at, loss.S0, "S_0")
    if edge_at >= loss.S0:
        begin = _along(optimizer, at + 0.2 * math.sqrt(loss.S0 / loss.gamma) / swing, at)
        rod = [float(state.zeta.norm()) for state in rods(loss, optimizer, begin, mirrored(begin, at), 60)]
        yield Expectation("rod", r"S_0 < c/\eta \implies \text{decays}", "[RF] C.3", "decays", "grows" if _grows(rod) else "decays")
        return
    x = math.sqrt((loss.S0 - edge_at) / loss.gamma)
    found = cycle(loss, optimizer, swinging(loss, optimizer, at + (1 + BESIDE) * x / swing))
    formula = r"x^* = \sqrt{(S_0 - c/\eta)/\gamma}"
    if found.found:
        points = float(abs(found.x[0] - found.x[1])[0]) / 2
        yield Expectation("2-cycle of the gradient point", formula, "[RF] C.3", x, points, EXACT)
        if swing != 1:
            half = float(abs(found.half_difference)[0])
            yield Expectation("2-cycle of the iterate", r"x^*/(1 + 2\beta_1)", "[RF] E.3", x / swing, half, EXACT)
    begin = _along(optimizer, at + 1.1 * x / swing, at)
    rod = rods(loss, optimizer, begin, mirrored(begin, at), 60)
    formula = r"S_0 > c/\eta \implies |\zeta| \to x^*" if swing == 1 else r"S_0 > c/\eta \implies |\zeta| \to x^*/(1 + 2\beta_1)"
    yield Expectation("rod at rest", formula, "[RF] C.3", x / swing, float(rod[-1].zeta.norm()), CLOSE)
    expected = "stable" if BREAKS * edge_at > loss.S0 else "unstable"
    if found.found:
        measured = _stays(loss, optimizer, found).measured
        yield Expectation("2-cycle of the iterates", r"S_0 < \tfrac32\, c/\eta \iff \text{stable}", "[RF] C.3", expected, measured)


# The valley


def _valley(loss: Valley, optimizer: Optimizer, w0: Tensor) -> Iterator[Expectation]:
    """Gradient descent from the valley's floor: when it comes to the edge, where it goes along it, how far it swings."""
    if optimizer.name != "gd":
        return
    lr, u0, c = optimizer.lr, w0[1:], optimizer.threshold
    time = loss.time_to_edge(u0, lr)
    end = math.ceil(time + 5 / (lr * loss.h)) if math.isfinite(time) else math.ceil(3 / (lr * loss.h))
    run = walk(loss, optimizer, w0, min(end, 2000), ("central",))
    sharpness = loss.s0 + run.central[:, 1:] @ loss.a.numpy()
    if math.isfinite(time):
        near = sharpness * lr / c >= 1 - 1e-6
        measured = float(np.argmax(near)) if near.any() else math.nan
        formula = r"\frac{1}{\eta h}\ln\frac{S(u^*) - S(u_0)}{S(u^*) - 2/\eta}"
        yield Expectation("steps to the edge, of the central flow", formula, "[CF] eq. 15", time, measured, CLOSE)
    n = len(run.w) - 1
    if not np.isfinite(run.central[n]).all() or run.stopped:
        return
    u = loss.central_flow(u0, lr, float(n))
    formula = r"\min(S(u(t)), 2/\eta)"
    yield Expectation("sharpness at the central flow's end", formula, "[CF] eq. 15", loss.sharpness(u), float(sharpness[n]), CLOSE)
    if not math.isfinite(time):
        return
    variance, formula = loss.variance(u), r"\sigma^2 = 2h\langle a, u^* - u\rangle/|a|^2"
    yield Expectation("variance across the valley, Σ", formula, "[CF] eq. 13", variance, float(run.covariance[n, 0, 0]), CLOSE)
    # From the floor the swing would begin with next to nothing, and long after the edge.
    begin = torch.cat([torch.tensor([math.sqrt(variance)], dtype=u.dtype), u])
    path = iterates(loss, optimizer, State(begin), STAY)
    swing = swings(torch.stack([state.w[0] for state in path]).numpy()).rms ** 2 if len(path) > STAY else math.inf
    # By how much the bend of the walls, which the central flow does not see, changes the rest of the way to the minimum.
    bent = loss.bend * variance * loss.sharpness(u) / (loss.sharpness(loss.target) - loss.sharpness(u))
    yield Expectation("variance across the valley, iterates", formula, "[CF] eq. 13", variance, swing, max(ROUGH, bent))


# Any loss


def _dozat(loss: Loss, optimizer: Optimizer, w0: Tensor) -> Iterator[Expectation]:
    """Nesterov's gradient point moves as the iterate of Dozat's form does."""
    path = iterates(loss, optimizer, optimizer.start(w0, gradient(loss, w0)), 30)
    other = iterates(loss, dozat(optimizer), path[0], 30)
    n = min(len(path), len(other))
    x, w = (torch.stack(points[:n]) for points in ([optimizer.gradient_point(state) for state in path], [state.w for state in other]))
    apart = float((x - w).abs().max() / x.abs().max().clamp_min(1e-300))
    yield Expectation("gradient point, Nesterov against Dozat's form", r"x_t = w_t^{\text{Dozat}}", "ours", 0.0, apart, 1e-9)
