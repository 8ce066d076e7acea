"""Peak memory: of each derivative of a million-parameter network on a thousand examples under two memory bounds, and of a central step.

Each figure is the peak of a fresh process beyond what it held before the call: weights, data and PyTorch itself are not counted. On Linux,
whose /proc tells what a process holds.

make bench            or: python benchmarks/memory.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import torch
from timing import PHOTOGRAPHS, at_edge, keep, row, trained

from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.problems import models
from cflows_core.problems.build import build_problem
from cflows_core.problems.datasets import find_cifar10
from cflows_core.problems.objective import Objective
from cflows_core.problems.signature import Signature

BUDGETS = (0.25, 1.0)  # GiB
DERIVATIVES = {
    "gradient": lambda objective, w, u: objective.grad(w),
    "one Hessian product": lambda objective, w, u: objective.hvp(w, u),
    "one third derivative": lambda objective, w, u: objective.third(w, u),
}
EXAMPLES = 1000
STEP = "central step at the edge"


def network() -> torch.nn.Module:
    """A ViT of 1.0 million weights for images of 3 × 32 × 32: its activations, not its weights, are what takes memory."""
    return models.build("vit", Signature((3, 32, 32), 10), width=128, depth=5, activation="gelu")


def peak() -> float:
    """The most this process ever held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def held() -> float:
    """What this process holds now, GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


def measure(name: str, budget: float) -> dict[str, float]:
    """Peak beyond the start in GiB, and seconds, of one derivative in this process. On one thread, exact derivatives, float64."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(EXAMPLES, 3, 32, 32, generator=generator)
    targets = torch.randn(EXAMPLES, 10, generator=generator)
    objective = Objective.from_module(network(), inputs, targets, derivatives="exact", max_memory=budget)
    w = objective.weights
    assert w is not None
    u = torch.randn(len(w), 1, generator=generator, dtype=w.dtype)
    before, begin = held(), time.perf_counter()
    DERIVATIVES[name](objective, w, u / u.norm())
    return {"peak": peak() - before, "seconds": time.perf_counter() - begin, "parameters": objective.n_params}


def measure_step(budget: float) -> dict[str, float]:
    """Peak beyond the start in GiB, and seconds, of a step of the central flow with two modes at the edge, 853k weights."""
    torch.set_num_threads(1)
    problem = build_problem(RunConfig(**PHOTOGRAPHS, max_memory=budget))
    objective = problem.objective
    w = trained(objective, problem.weights)
    walk = at_edge(RunConfig(), objective, w, 2)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, begin = held(), time.perf_counter()
    walk()
    return {"peak": peak() - before, "seconds": time.perf_counter() - begin, "parameters": objective.n_params}


def main() -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=f"{models.count_parameters(network()):,} weights, {EXAMPLES:,} examples")
    for heading in ("work", "bound, GiB", "peak, GiB", "peak / bound", "seconds"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    rows = []
    for name, budget in ((STEP, BUDGETS[-1]), *product(DERIVATIVES, BUDGETS)):
        if name == STEP and find_cifar10() is None:
            continue
        command = [sys.executable, __file__, name, str(budget)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        title = f"{name}, {found['parameters']:,} weights" if name == STEP else name
        table.add_row(title, f"{budget:g}", f"{found['peak']:.2f}", f"{found['peak'] / budget:.2f}", f"{found['seconds']:.0f}")
        title = f"{title}, bound {budget:g} GiB"
        rows += [row(f"{title}: peak", "GiB", [found["peak"]]), row(f"{title}: time", "s", [found["seconds"]])]
        keep("memory", rows)
    console().print(table)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        name, budget = sys.argv[1], float(sys.argv[2])
        print(json.dumps(measure_step(budget) if name == STEP else measure(name, budget)))
    else:
        main()
