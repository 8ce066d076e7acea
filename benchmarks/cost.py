"""What a step of each flow costs: in milliseconds on a small network, in gradients on a large one, and how it grows with k.

A gradient-equivalent (GE) is the wall time of one full-batch gradient of the same objective, measured here beside it.

make bench            or: python benchmarks/cost.py [small] [large] [modes]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.errors import DataError
from cflows_core.linalg.eigen import top_eigenpairs
from cflows_core.problems.build import build_problem
from cflows_core.problems.objective import Objective
from cflows_core.problems.replay import AFTER
from cflows_core.simulation import Simulation

RESULTS = Path(__file__).with_name("results")
SMALL_STEPS, LARGE_STEPS = 60, 20
# 3072-256-256-4: 853k weights.
PHOTOGRAPHS: dict[str, Any] = {"dataset": "cifar10", "classes": 4, "n_train": 1000, "width": 256, "activation": "gelu"}


def regression() -> tuple[Objective, Tensor]:
    """433 weights: 8-16-16-1, SiLU, 128 examples of a random teacher, squared error."""
    torch.manual_seed(0)
    layers = (nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1))
    inputs = torch.randn(128, 8, dtype=torch.float64)
    targets = torch.sin(2 * inputs @ torch.randn(8, 1, dtype=torch.float64))
    objective = Objective.from_module(nn.Sequential(*layers), inputs, targets, dtype=torch.float64)
    assert objective.weights is not None
    return objective, objective.weights


def seconds_each(work: Callable[[], object], least: float = 0.5) -> float:
    """Mean wall time of one call, once gradients are recorded (problems/replay.py)."""
    for _ in range(AFTER + 2 if least < 1 else 1):
        work()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < least:
        work()
        calls += 1
    return (time.perf_counter() - begin) / calls


def step_of(simulation: Simulation, flow: str, steps: int) -> tuple[float, float]:
    """(seconds, gradients counted) of one step of one flow alone, on from where the simulation is; the simulation stays there."""
    stepper, state = simulation.flow(flow), simulation.states[flow]
    spent, begin = simulation.objective.gradients_spent, time.perf_counter()
    for _ in range(steps):
        state = stepper.step(state)
    return (time.perf_counter() - begin) / steps, (simulation.objective.gradients_spent - spent) / steps


def small() -> list[tuple[str, str, str]]:
    """The 433-weight network with five eigenvalues: before the edge, and at it (a step size at which it starts above)."""
    rows = []
    objective, weights = regression()
    gradient = seconds_each(lambda: objective.loss_and_grad(weights))
    for title, lr, advance in (("below the edge, η = 0.1", 0.1, 40), ("at the edge, η = 1", 1.0, 400)):
        simulation = Simulation(RunConfig(lr=lr, n_eigs=5, steps=10_000, warm_start=0, observe=[]), objective, weights)
        simulation.advance(steps=advance)
        modes = len(simulation.states["central"].variances)
        times = {flow: step_of(simulation, flow, SMALL_STEPS)[0] for flow in simulation.states}
        whole = seconds_each(lambda simulation=simulation: simulation.advance(steps=1))
        rows.append((f"433 weights, {title}, k = {modes}: central", f"{1e3 * times['central']:.1f} ms", "3 ms"))
        rows.append(("  discrete, stable, central and rod, a whole step", f"{1e3 * whole:.1f} ms", "7 ms"))
    rows.append(("  one gradient", f"{1e3 * gradient:.2f} ms", ""))
    return rows


def large() -> list[tuple[str, str, str]]:
    """853k weights on CIFAR-10 photographs, a thousand examples: discrete and central flow below the edge."""
    config = RunConfig(**PHOTOGRAPHS, lr=0.005, steps=100, n_eigs=4, flows=["central"], observe=[])
    problem = build_problem(config)
    objective = problem.objective
    gradient = seconds_each(lambda: objective.loss_and_grad(problem.weights), 2.0)
    simulation = Simulation(config)
    simulation.advance(steps=12)
    rows = [(f"{objective.n_params:,} weights, one gradient", f"{1e3 * gradient:.0f} ms", "")]
    for flow, target in (("discrete", "3 GE"), ("central", "4 GE")):
        seconds, counted = step_of(simulation, flow, LARGE_STEPS)
        rows.append((f"  {flow}, below the edge ({counted:.1f} gradients counted)", f"{seconds / gradient:.1f} GE", target))
    return rows


def modes() -> list[tuple[str, str, str]]:
    """The same network held at an edge that is so low that k modes are at it."""
    rows = []
    problem = build_problem(RunConfig(**PHOTOGRAPHS))
    objective = problem.objective
    gradient = seconds_each(lambda: objective.loss_and_grad(problem.weights), 2.0)
    values = top_eigenpairs(objective, problem.weights, 12, tol=1e-3).values
    for k, target in ((1, ""), (2, "15 GE"), (4, ""), (10, "60 GE")):
        lr = 2 / float(values[k - 1] * values[k]) ** 0.5
        config = RunConfig(**PHOTOGRAPHS, lr=lr, n_eigs=min(32, k + 2), flows=["central"], observe=[])
        simulation = Simulation(config, objective, problem.weights)
        simulation.advance(steps=1)
        central = simulation.flow("central")
        for _ in range(60):
            if simulation.states["central"].settling:
                simulation.states["central"] = central.step(simulation.states["central"])
        seconds, counted = step_of(simulation, "central", 4)
        held = len(simulation.states["central"].variances)
        rows.append((f"  central at the edge, k = {held} ({counted:.0f} gradients counted)", f"{seconds / gradient:.0f} GE", target))
    return rows


def main(chosen: list[str]) -> None:
    from rich.table import Table

    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for heading in ("work", "measured", "target"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    kept = []
    for part in (small, large, modes):
        if chosen and part.__name__ not in chosen:
            continue
        try:
            rows = part()
        except DataError as error:
            rows = [(str(error), "", "")]
        for row in rows:
            table.add_row(*row)
        kept += rows
    console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost.json").write_text(json.dumps({"torch": torch.__version__, "rows": kept}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
