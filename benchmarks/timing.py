"""What the benchmarks share: rows and their files, times taken beside a gradient's, networks, and flows held at the edge.

Machines are noisy: work and gradient are timed in turns, within the same seconds, and a figure is the median of the repeats' ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cflows_core import __version__
from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.errors import DataError
from cflows_core.flows import FLOWS
from cflows_core.flows.base import Options, Start
from cflows_core.linalg.eigen import top_eigenpairs
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.objective import Objective

RESULTS = Path(__file__).with_name("results")
CPU = torch.device("cpu")
# 3072-256-256-4: 853k weights.
PHOTOGRAPHS: dict[str, Any] = {"dataset": "cifar10", "classes": 4, "n_train": 1000, "width": 256, "activation": "gelu"}
CYCLE = 10  # steps of a repeat: what a flow does only now and then (β anew, a wide eigensolve) is in each in the same share
PATIENCE, AFTERWARDS = 60, 4  # steps that a flow has to come down to the edge, and that it stays there before anything is measured
LOWER, STAGES = 7 / 8, 40  # by what the edge comes down until as many modes as wanted are held, and how often at most


# Rows


@dataclass(frozen=True)
class Row:
    """A line of a table and of its file.

    measured: the median of the repeats; least: the smallest; spread: their range as a share of the median (None: measured once).
    public: the figure of public code; aim: what is wanted; note: what a reader of the figure should know. `name` and `unit` tell which
    row of another run is the same.
    """

    name: str
    unit: str
    measured: float
    least: float | None = None
    spread: float | None = None
    public: float | None = None
    aim: float | None = None
    note: str = ""


def row(name: str, unit: str, repeats: Sequence[float], *, public: float | None = None, aim: float | None = None, note: str = "") -> Row:
    """The row of a quantity that was measured once or several times."""
    middle, many = median(repeats), len(repeats) > 1
    spread = (max(repeats) - min(repeats)) / abs(middle) if many and middle else None
    return Row(name, unit, middle, min(repeats) if many else None, spread, public, aim, note)


def shown(value: float | None) -> str:
    """Three digits, without an exponent where that is readable."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def report(name: str, rows: Sequence[Row], title: str = "") -> None:
    """Print the rows, and keep them in results/NAME.json for compare.py."""
    show(rows, title)
    keep(name, rows)


def show(rows: Sequence[Row], title: str = "") -> None:
    """Print a table of the rows, with the columns that are known of any."""
    from rich.table import Table
    from rich.text import Text

    columns = ("least", "±", "public", "aim")
    values = [(r.least, None if r.spread is None else 50 * r.spread, r.public, r.aim) for r in rows]
    used = [i for i in range(len(columns)) if any(line[i] is not None for line in values)]
    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for heading in ("work", "measured", "", *(columns[i] for i in used), "note"):
        table.add_column(heading, justify="left" if heading in ("work", "", "note") else "right")
    for line, more in zip(rows, values, strict=True):
        texts = [shown(more[i]) + (" %" if columns[i] == "±" and more[i] is not None else "") for i in used]
        table.add_row(*map(Text, (line.name, shown(line.measured), line.unit, *texts, line.note)))
    console().print(table)


def keep(name: str, rows: Iterable[Row]) -> None:
    """Write results/NAME.json: the rows, the versions, the machine, the date."""
    RESULTS.mkdir(exist_ok=True)
    content = {"name": name, **circumstances(), "rows": [asdict(line) for line in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(name: str, parts: Mapping[str, Callable[[int], Iterable[Row]]], doc: str | None) -> None:
    """The command line of a benchmark in parts, each a function from a number of repeats to its rows: on one thread.

    Each row is printed and kept as soon as it is measured.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all without one")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each measurement (3)")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: take {', '.join(parts)}")
    torch.set_num_threads(1)
    rows: list[Row] = []
    for part in arguments.parts or parts:
        before = len(rows)
        try:
            for line in parts[part](arguments.repeats):
                console().print(f"{line.name}: {shown(line.measured)} {line.unit}", style="dim")
                rows.append(line)
                keep(name, rows)
        except DataError as error:
            console().print(f"{part}: {error}")
            continue
        show(rows[before:], part)


def circumstances() -> dict[str, Any]:
    """Versions, machine and date."""
    versions = {"cflows": __version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    machine = {"cpu": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions, "machine": machine}


def _processor() -> str:
    """The processor's model, where the system tells."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """a of cost ∝ size^a, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


# Times


def seconds_of(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Wall time of one call, with what it left to do on a GPU."""
    _finish(device)
    begin = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - begin


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def warm(work: Callable[[], object], seconds: float = 1.0, calls: int = 200) -> None:
    """Call until the gradients of a small network are recorded (problems/replay.py), or for so long."""
    begin = time.perf_counter()
    for _ in range(calls):
        work()
        if time.perf_counter() - begin > seconds:
            break


@dataclass(frozen=True)
class Repeat:
    """Mean seconds of one call of the work and of one gradient, taken in turns."""

    work: float
    gradient: float

    @property
    def ratio(self) -> float:
        """Gradient-equivalents (GE): the work's wall time in gradients of the same objective."""
        return self.work / self.gradient


def beside_gradients(
    work: Callable[[], object], gradient: Callable[[], object], *, repeats: int, calls: int = CYCLE, device: torch.device = CPU
) -> list[Repeat]:
    """`repeats` times `calls` calls of the work, each after a gradient."""
    found = []
    for _ in range(repeats):
        pairs = [(seconds_of(gradient, device), seconds_of(work, device)) for _ in range(calls)]
        found.append(Repeat(sum(pair[1] for pair in pairs) / calls, sum(pair[0] for pair in pairs) / calls))
    return found


# Networks and flows


def regression() -> tuple[Objective, Tensor]:
    """433 weights: 8-16-16-1, SiLU, 128 examples of a random teacher, squared error."""
    torch.manual_seed(0)
    layers = (nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1))
    inputs = torch.randn(128, 8, dtype=torch.float64)
    targets = torch.sin(2 * inputs @ torch.randn(8, 1, dtype=torch.float64))
    objective = Objective.from_module(nn.Sequential(*layers), inputs, targets, dtype=torch.float64)
    assert objective.weights is not None
    return objective, objective.weights


@dataclass
class Walk:
    """One flow alone, stepped from where it is. spent: gradients counted of each step; held: its modes at the edge, if it knows any."""

    flow: Any
    state: Any
    spent: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    @classmethod
    def begin(cls, name: str, config: RunConfig, objective: Objective, w: Tensor) -> Walk:
        """A flow of that name that starts at the weights w."""
        flow = make_flow(name, config, objective)
        return cls(flow, flow.init(Start(State(w), State(w), torch.zeros_like(w))))

    def __call__(self) -> None:
        objective = self.flow.objective
        before = objective.gradients_spent
        self.state = self.flow.step(self.state)
        if self.state.stopped:
            raise RuntimeError(self.state.stopped)
        self.spent.append(objective.gradients_spent - before)
        self.held.append(len(getattr(self.state, "variances", ())))

    def forget(self) -> None:
        """What was counted so far; and a central flow's β is computed anew in the next step, so that what follows pays for all of it."""
        self.spent, self.held = [], []
        if hasattr(self.state, "age"):
            self.state = replace(self.state, age=0)

    @property
    def note(self) -> str:
        """Gradients counted a step, and how many modes were held."""
        counted = f"{sum(self.spent) / len(self.spent):.1f} gradients counted"
        least, most = min(self.held), max(self.held)
        held = f"{most}" if least == most else f"{least} to {most}"
        return f"{counted}, k = {held}" if most else counted


def make_flow(name: str, config: RunConfig, objective: Objective) -> Any:
    """The flow object of a name under a configuration."""
    return FLOWS[name](objective, Optimizer.of(config), Options(substeps=config.substeps, n_eigs=config.n_eigs))


def top_value(objective: Objective, w: Tensor) -> float:
    """The largest eigenvalue at the weights."""
    return float(top_eigenpairs(objective, w, 1, tol=1e-2).values[0])


def at_edge(config: RunConfig, objective: Objective, w: Tensor, k: int, walk: Walk | None = None) -> Walk:
    """The central flow of gradient descent with k modes at its edge; from a walk at a higher edge, or from the weights w.

    The edge comes down by an eighth at a time, and the flow follows, until it holds as many modes; where several come to it at once they
    may be more (`Walk.held` tells).
    """
    edge = top_value(objective, w) if walk is None else walk.flow.optimizer.threshold / walk.flow.optimizer.lr
    for _ in range(STAGES):
        if walk is None or len(walk.state.variances) < k:
            edge *= LOWER
            config = config.replace(optimizer="gd", lr=2 / edge, n_eigs=k + 2)
            if walk is None:
                walk = Walk.begin("central", config, objective, w)
            else:
                flow = make_flow("central", config, objective)
                walk = Walk(flow, flow.changed(walk.state))
        for _ in range(PATIENCE):
            walk()
            if not walk.state.settling:
                break
        for _ in range(AFTERWARDS):
            walk()
        if len(walk.state.variances) >= k:
            break
    assert walk is not None
    walk.forget()
    return walk


def trained(objective: Objective, w: Tensor, steps: int = 300) -> Tensor:
    """The weights after gradient descent below its edge: past the first steps, in which the largest eigenvalues fall; later they press."""
    lr = 1 / top_value(objective, w)
    for _ in range(steps):
        w = w - lr * objective.grad(w)
    return w
