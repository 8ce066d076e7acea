"""Where the time of a step goes: gradients, Hessian products, third derivatives, the complementarity problem, the eigensolver, the rest.

Measured from outside, by wrapping the objective's methods and a few functions while the steps run. A stacked call that serves several
purposes is divided by its points. The rest is what Python and small tensors take in the flow itself (and, in a whole step, in everything
beside the flows).

make bench            or: python benchmarks/shares.py [small] [large] [preset] [--repeats N]
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from cost import photographs
from timing import CYCLE, Row, Walk, at_edge, regression, row, run, trained, warm
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.presets import DEFAULT, PRESETS
from cflows_core.problems.objective import COST, Objective
from cflows_core.simulation import Simulation

GRADIENTS, PRODUCTS, THIRDS, SDCP, SOLVER, REST = KINDS = (
    "gradients",
    "Hessian products",
    "third derivatives",
    "SDCP",
    "eigensolver's own algebra",
    "the rest (Python)",
)
Mix = dict[str, float]  # kind -> points, or any share


def expanded(objective: Objective, spent: float, w: Tensor, V: Tensor, beside: Tensor | None = None, *_: Any, **__: Any) -> Mix:
    """Of a call for gradients and products at once; points beyond these are third derivatives'."""
    exact = objective.derivatives == "exact"
    known = {GRADIENTS: 1.0 + (0 if beside is None else len(beside)), PRODUCTS: (COST["exact"][2] if exact else 1.0) * V.shape[1]}
    return known | {THIRDS: max(0.0, spent - sum(known.values()))}


def all_for(kind: str) -> Callable[..., Mix]:
    return lambda *_, **__: {kind: 1.0}


# Method of the objective -> what its time was for, from (objective, gradients spent in it, *its arguments).
METHODS: dict[str, Callable[..., Mix]] = {
    "loss": all_for(GRADIENTS),
    "loss_and_grad": all_for(GRADIENTS),
    "losses_and_grads": all_for(GRADIENTS),
    "hvp": all_for(PRODUCTS),
    "expand": expanded,
    "third": all_for(THIRDS),
    "curvature_gradient": all_for(THIRDS),
}
# Function, under its name in any of the flows' modules -> what its own time is for.
FUNCTIONS = {"track": SOLVER, "solve_sdcp": SDCP}


class Meter:
    """Seconds by kind. Time counts for the innermost wrapped function; within an objective's method, for that method."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._kinds, self._inside = [REST], False
        self._since = time.perf_counter()

    def _elapsed(self) -> float:
        since, self._since = self._since, time.perf_counter()
        return self._since - since

    def restart(self) -> None:
        self.seconds.clear()
        self._elapsed()

    def total(self) -> float:
        """Seconds since the restart, the last of them counted for what is at work now."""
        self.seconds[self._kinds[-1]] += self._elapsed()
        return sum(self.seconds.values())

    def function(self, work: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.seconds[self._kinds[-1]] += self._elapsed()
            self._kinds.append(kind)
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[self._kinds.pop()] += self._elapsed()

        return timed

    def method(self, objective: Objective, name: str) -> Callable[..., Any]:
        work, mix_of = getattr(objective, name), METHODS[name]

        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return work(*args, **kwargs)
            self.seconds[self._kinds[-1]] += self._elapsed()
            self._inside, spent = True, objective.gradients_spent
            try:
                return work(*args, **kwargs)
            finally:
                self._inside = False
                mix = mix_of(objective, objective.gradients_spent - spent, *args, **kwargs)
                seconds, points = self._elapsed(), sum(mix.values())
                for kind, share in mix.items():
                    self.seconds[kind] += seconds * share / points

        return timed


@contextmanager
def metered(objective: Objective) -> Iterator[Meter]:
    """A meter of all that is done with the objective; what it wraps is put back at the end."""
    meter, former = Meter(), []
    for name, module in list(sys.modules.items()):
        if name.startswith("cflows_core.flows."):
            former += [(module, called, getattr(module, called)) for called in FUNCTIONS if callable(getattr(module, called, None))]
    wrapped = [name for name in METHODS if hasattr(objective, name)]
    try:
        for module, called, work in former:
            setattr(module, called, meter.function(work, FUNCTIONS[called]))
        for name in wrapped:
            setattr(objective, name, meter.method(objective, name))
        yield meter
    finally:
        for module, called, work in former:
            setattr(module, called, work)
        for name in wrapped:
            objective.__dict__.pop(name, None)


def shares(title: str, objective: Objective, step: Callable[[], object], repeats: int, calls: int = CYCLE) -> list[Row]:
    """Rows of a step: milliseconds, and the share of each kind in them."""
    times, parts = [], []
    with metered(objective) as meter:
        for _ in range(repeats):
            meter.restart()
            for _ in range(calls):
                step()
            times.append(meter.total())
            parts.append({kind: meter.seconds[kind] / times[-1] for kind in KINDS})
    rows = [row(f"{title}: a step", "ms", [1e3 * seconds / calls for seconds in times])]
    return rows + [row(f"{title}: {kind}", "%", [100 * part[kind] for part in parts]) for kind in KINDS]


def small(repeats: int) -> list[Row]:
    """The central flow of the 433-weight network at the edge."""
    objective, w = regression()
    simulation = Simulation(RunConfig(lr=1.0, n_eigs=5, steps=10_000, observe=[], flows=["central"]), objective, w)
    simulation.advance(steps=400)
    walk = Walk(simulation.flow("central"), simulation.states["central"])
    warm(walk)
    return shares("433 weights, central at the edge", objective, walk, repeats, 40)


def large(repeats: int) -> list[Row]:
    """The central flow of the 853k-weight network with two modes at the edge."""
    objective, w = photographs()
    w = trained(objective, w)
    walk = at_edge(RunConfig(), objective, w, 2)
    return shares("853k weights, central at the edge", objective, walk, max(2, repeats - 1))


def preset(repeats: int) -> list[Row]:
    """A whole step of the default preset with all its flows."""
    config = PRESETS[DEFAULT].config
    simulation = Simulation(config)
    simulation.advance(steps=config.warm_start + 100)
    return shares(f"{DEFAULT}, a whole step", simulation.objective, lambda: simulation.advance(steps=1), repeats, 20)


PARTS = {part.__name__: part for part in (small, large, preset)}


if __name__ == "__main__":
    run("shares", PARTS, __doc__)
