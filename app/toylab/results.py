"""What is computed of a setting, each in a thread: the walk, its flows and cycles, orbit diagrams."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from cflows_app.mathml import mathml
from cflows_app.toylab.setting import FIRST, LENGTHS, Setting
from cflows_core.optimizers import State
from cflows_core.toylab import (
    Cycle,
    Walk,
    cycle,
    expectations,
    orbits,
    plane,
    settled,
    step_eigenvalues,
    swinging,
    walk,
)
from cflows_core.toylab.batch import gradient

SYMBOLS = {"lr": "η", "beta1": "β₁", "beta2": "β₂"}
COLUMNS, KEPT = 400, 400  # of a diagram
FAR = 8.0
SMALLEST = 1e-9  # half-length of a 2-cycle, below which it is a point at rest
SIDE = 160  # of a map: values of each of its two parameters
RANGE, RANGE_ADAPTIVE = (0.3, 2.4), (0.05, 10.0)  # of a diagram over η, as shares of the typical one


@dataclass(frozen=True)
class Scene:
    """A walk and what is known of it.

    flows: whether they are computed, too. period: of the iterates in the long run, None while it is not known. cycle: the 2-cycle near the
    end of the walk, None if there is none.
    """

    setting: Setting
    walk: Walk
    flows: bool = False
    period: int | None = None
    cycle: Cycle | None = None

    @property
    def last(self) -> int:
        return len(self.walk.w) - 1

    @property
    def one(self) -> bool:
        """Whether the loss has one weight."""
        return self.walk.w.shape[1] == 1

    def near(self, places: np.ndarray) -> np.ndarray:
        """Of places [m] of a walk that diverges those that are not far from its start; else all."""
        if len(self.walk.w) > LENGTHS[self.setting.length]:
            return places
        return places[np.abs(places) <= FAR * (np.abs(self.walk.w[0]).max() or 1.0)]

    def has(self, flow: str) -> bool:
        """Whether there is anything of a flow to draw."""
        return bool(np.isfinite(getattr(self.walk, flow)).any())

    @cached_property
    def rod_paths(self) -> tuple[np.ndarray, np.ndarray]:
        """The paths of the rod's two ends, [n+1, d] each."""
        return self.walk.rod - self.walk.half_difference, self.walk.rod + self.walk.half_difference

    def rod_ends(self, moment: int) -> np.ndarray | None:
        """The rod's two ends at a step, [2, d]."""
        ends = np.stack([path[moment] for path in self.rod_paths])
        return ends if np.isfinite(ends).all() else None

    @cached_property
    def preconditioners(self) -> np.ndarray:
        """P̃ of every step, [n+1, d]."""
        walk, optimizer = self.walk, self.walk.optimizer
        found = []
        gradients = gradient(self.setting.toy, torch.from_numpy(walk.x))
        for t in range(len(walk.w)):
            nu = None if walk.nu is None else torch.from_numpy(walk.nu[t])
            state = State(torch.from_numpy(walk.w[t]), float(t), None, nu if nu is None or optimizer.kind == "diagonal" else nu.reshape(()))
            found.append(optimizer.preconditioner(optimizer.updated(state, gradients[t])).expand(walk.w.shape[1]).numpy())
        return np.stack(found)

    def critical(self, moment: int) -> float:
        """The curvature at the edge: where L″ is larger, oscillations grow (one weight)."""
        return float(self.walk.threshold * self.preconditioners[moment, 0])

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of every step along the top mode of P̃⁻¹H at the gradient point, [n+1, k], complex; NaN where that is not finite."""
        effective = self.walk.eigenvalue
        known = np.isfinite(effective) & (np.abs(effective) < 1e12)
        found = step_eigenvalues(self.walk.optimizer, effective[known])
        values = np.full((len(effective), found.shape[1]), complex(math.nan, math.nan))
        values[known] = found
        return values

    @property
    def multipliers(self) -> np.ndarray:
        """Of the 2-cycle, complex; none if there is no cycle."""
        return np.empty(0, complex) if self.cycle is None else self.cycle.multipliers

    def spread(self, at: int) -> np.ndarray:
        """σ of a coordinate of the iterates about the central flow, [n+1]."""
        return np.sqrt(np.clip(self.walk.covariance[:, at, at], 0, None)) / self.walk.optimizer.swing

    @cached_property
    def edge_line(self) -> float | None:
        """In a valley with a constant preconditioner, the place u on its floor at which the walls are at the edge."""
        setting = self.setting
        if setting.loss != "valley" or setting.method.adaptive or not setting.rise:
            return None
        return (self.walk.threshold / setting.lr - setting.sharpness) / setting.rise


@dataclass(frozen=True)
class Diagram:
    """An orbit diagram over one parameter, or a map of periods over two.

    over: their names; values: [n] of each. points [n, kept], NaN where diverged; of a map none. period: [n] or [n, m]. seconds: it took.
    """

    over: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    points: np.ndarray
    period: np.ndarray
    seconds: float
    setting: Setting = field(repr=False, default_factory=Setting)

    @property
    def flat(self) -> bool:
        """Whether it is a map."""
        return len(self.over) == 2

    @property
    def count(self) -> int:
        return self.points.size if not self.flat else self.period.size

    def middle(self, period: int) -> float | None:
        """The middle of the widest range of values that have this period; None if fewer than two in a row have it."""
        inside = np.concatenate([[False], self.period == period, [False]])
        turns = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
        if not len(turns) or (turns[:, 1] - turns[:, 0]).max() < 2:
            return None
        first, end = turns[np.argmax(turns[:, 1] - turns[:, 0])]
        return float(self.values[0][(first + end - 1) // 2])


def walked(setting: Setting) -> Scene:
    """The iterates alone, at once: what a slider shows while it is dragged."""
    return Scene(setting, walk(setting.toy, setting.method, setting.start, LENGTHS[setting.length], flows=()))


@lru_cache(maxsize=32)
def followed(setting: Setting) -> Scene:
    """The iterates with their flows, and what becomes of them."""
    return judged(Scene(setting, walk(setting.toy, setting.method, setting.start, LENGTHS[setting.length]), flows=True))


def judged(scene: Scene) -> Scene:
    """With the period in the long run, and the 2-cycle."""
    setting = scene.setting
    ends = orbits(setting.toy, setting.method, "lr", [setting.lr], setting.start, _transient(setting))
    return replace(scene, period=int(ends.period[0]), cycle=_cycle(scene))


def _cycle(scene: Scene) -> Cycle | None:
    """The 2-cycle near the last iterates, None where there is none."""
    w = torch.from_numpy(scene.walk.w)
    if scene.walk.stopped or len(w) < 3 or scene.setting.loss == "linear":
        return None
    toy, optimizer = scene.setting.toy, settled(scene.walk.optimizer)
    centre = torch.from_numpy(scene.walk.centre[-2])
    guesses = [w[-1]]
    if optimizer.adaptive:  # whose iterates may swing far from an unstable cycle: its size is that of a parabola's, [RF] D.2
        guesses.append(centre + torch.sign(w[-1] - centre) * optimizer.lr / optimizer.threshold)
    for guess in guesses:
        found = cycle(toy, optimizer, swinging(toy, optimizer, guess, centre))
        if found.found and float(np.abs(found.half_difference).max()) > SMALLEST * (1 + float(centre.abs().max())):
            return found
    return None


def ranges(setting: Setting, name: str, count: int = COLUMNS) -> np.ndarray:
    """The values [count] of a parameter that a diagram goes over."""
    if name != "lr":
        return np.linspace(0.0, 0.98 if name == "beta1" else 0.999, count)
    least, most = RANGE_ADAPTIVE if setting.method.adaptive else RANGE
    return setting.typical * np.linspace(least, most, count)


def diagram(request: tuple[Setting, tuple[str, ...]]) -> Diagram:
    """The diagram or the map over these parameters."""
    setting, over = request
    return _diagram(general(setting, over), over)


def general(setting: Setting, over: tuple[str, ...]) -> Setting:
    """The setting without what a diagram over these parameters does not depend on, so that it is computed once."""
    free = replace(setting, length=FIRST.length, **{name: getattr(FIRST, name) for name in over if name != "lr"})
    return replace(free, lr=free.typical) if "lr" in over else free


def _transient(setting: Setting) -> int:
    """Steps before an orbit is looked at: ν takes its time."""
    return 2500 if setting.method.adaptive else 800


@lru_cache(maxsize=16)
def _diagram(setting: Setting, over: tuple[str, ...]) -> Diagram:
    begin = time.perf_counter()
    if len(over) == 1:
        found = orbits(setting.toy, setting.method, over[0], ranges(setting, over[0]), setting.start, _transient(setting), KEPT)
        return Diagram(over, (found.values,), found.points, found.period, time.perf_counter() - begin, setting)
    values = tuple(ranges(setting, name, SIDE) for name in over)
    period = plane(setting.toy, setting.method, (over[0], over[1]), (values[0], values[1]), setting.start)
    return Diagram(over, values, np.empty(0), period, time.perf_counter() - begin, setting)


def cost(found: Diagram | None) -> str:
    """How much a diagram is, and how long it took."""
    if found is None:
        return "being computed"
    what = f"{found.period.size:,} optimizers" if found.flat else f"{found.points.shape[0]} × {found.points.shape[1]} points"
    return f"{what} in {found.seconds:.2g} s"


def expected(setting: Setting) -> list[dict[str, Any]]:
    """The rows of the table of closed forms."""
    return _expected(replace(setting, length=FIRST.length))


@lru_cache(maxsize=16)
def _expected(setting: Setting) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name[0].upper() + entry.name[1:],
            "formula": mathml(entry.formula, display=False),
            "expected": in_figures(entry.expected),
            "measured": in_figures(entry.measured),
            "agrees": entry.agrees,
            "tolerance": f"{100 * entry.tolerance:.2g} %"
            if entry.tolerance >= 1e-4
            else f"{entry.tolerance:.0e}".replace("-0", "−")
            if entry.tolerance
            else "",
            "source": entry.source,
        }
        for entry in expectations(setting.toy, setting.method, setting.start)
    ]


def in_figures(value: float | str, figures: int = 5) -> str:
    """A number to so many figures, or a word as it is."""
    return value if isinstance(value, str) else f"{value:.{figures}g}".replace("-", "−")
