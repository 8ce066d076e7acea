"""How far each shortcut takes the central flow from the exact path, and what it saves.

A reference is run with every shortcut off; then each shortcut alone on; then all on, as the library is used. Compared with the reference
at the same step: the tracked eigenvalues and Σ's largest eigenvalue and trace. For each run also its distance to the optimizer, as a
share of the optimizer's path, and the gradients that a step cost.

python benchmarks/shortcuts.py            or, for less: --steps 60 --only gd
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from timing import Row, keep, row, shown

from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.presets import PRESETS
from cflows_core.simulation import Simulation


@dataclass(frozen=True)
class Shortcut:
    """A constant of a module of cflows_core, or a field of the configuration, and the value that switches the shortcut off."""

    name: str
    where: str  # "module:CONSTANT", or a field
    exact: Any


SHORTCUTS = (
    Shortcut("loose eigenpairs", "flows.base:EIGEN_TOLERANCE", 1e-6),
    Shortcut("narrow solves", "linalg.tracking:LOOK", 1),
    Shortcut("solves left out far below the edge", "linalg.tracking:FORESEEN", 0.0),
    Shortcut("β used again", "flows.central:REFRESH", 1),
    Shortcut("third derivatives used again", "flows.force:MISSED", -1.0),
    Shortcut("derivatives by differences", "derivatives", "exact"),
)
# Not a shortcut: how much of the distance is the time step's.
DISCRETISATION = ("eight substeps instead of two", {"substeps": 8})
# Presets that are at the edge when their flows start, and stay.
PROBLEMS = {"gd": "digits-mlp", "rmsprop": "rmsprop", "adam": "adam"}


@dataclass(frozen=True)
class Path:
    """What a run of the central flow left at each of its t steps.

    eigenvalues [t, k] of P⁻¹H, NaN where fewer are tracked; top, trace [t] of Σ's eigenvalues X, 0 where nothing oscillates. distance: to
    the optimizer at the end, as a share of its path. gradients: a step.
    """

    eigenvalues: np.ndarray
    top: np.ndarray
    trace: np.ndarray
    distance: float
    gradients: float
    stopped: bool


@contextmanager
def switched_off(shortcuts: tuple[Shortcut, ...]) -> Iterator[None]:
    """These shortcuts' constants at their exact values."""
    constants = []
    for shortcut in shortcuts:
        if ":" in shortcut.where:
            module, name = shortcut.where.split(":")
            constants.append((import_module(f"cflows_core.{module}"), name, shortcut.exact))
    former = [getattr(module, name) for module, name, _ in constants]
    try:
        for module, name, exact in constants:
            setattr(module, name, exact)
        yield
    finally:
        for (module, name, _), value in zip(constants, former, strict=True):
            setattr(module, name, value)


def walked(preset: str, steps: int, off: tuple[Shortcut, ...], started: dict[str, Simulation], fields: Mapping[str, Any] = {}) -> Path:
    """The central flow's path of so many steps without these shortcuts. started: simulations at the end of their warm start, by choice."""
    fields = {shortcut.where: shortcut.exact for shortcut in off if ":" not in shortcut.where} | dict(fields)
    config = PRESETS[preset].config.replace(flows=["discrete", "central"], observe=[], **fields)
    if (key := str(sorted(fields.items()))) not in started:
        started[key] = begun(config)
    simulation = started[key].fork()
    with switched_off(off):
        frames = simulation.advance(steps=steps + 1)
    series = [frame.flows["central"] for frame in frames[1:] if "central" in frame.flows]
    variances = np.array([np.nan_to_num(values.get("covariance_eigs", np.zeros(config.n_eigs))) for values in series])
    return Path(
        eigenvalues=np.array([values["effective_eigs"] for values in series]),
        top=variances.max(axis=1),
        trace=variances.sum(axis=1),
        distance=frames[-1].distance.get("central", np.nan) / float(frames[-1].flows["discrete"]["path_length"]),
        gradients=simulation.spent("central") / len(frames),
        stopped=frames[-1].status["central"] == "stopped",
    )


def begun(config: RunConfig) -> Simulation:
    """A simulation whose next step starts the flows."""
    simulation = Simulation(config)
    simulation.advance(steps=config.warm_start)
    return simulation


def deviation(exact: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """(largest, mean) of |other − exact| / |exact| where both are known and the exact one is not 0; the shorter length counts."""
    t = min(len(exact), len(other))
    exact, other = exact[:t], other[:t]
    known = np.isfinite(exact) & np.isfinite(other) & (exact != 0)
    if not known.any():
        return float("nan"), float("nan")
    relative = np.abs(other[known] - exact[known]) / np.abs(exact[known])
    return float(relative.max()), float(relative.mean())


def variants(shortcuts: tuple[Shortcut, ...]) -> list[tuple[str, tuple[Shortcut, ...], dict[str, Any]]]:
    """(title, shortcuts that are off, fields of the configuration), the exact run first."""
    alone = [(one.name, tuple(other for other in shortcuts if other != one), {}) for one in shortcuts]
    title, fields = DISCRETISATION
    return [("exact", shortcuts, {}), *alone, ("all of them", (), {}), (f"exact, {title}", shortcuts, fields)]


def measured(optimizer: str, steps: int) -> list[Row]:
    """Print the table of one optimizer, line by line; its rows."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=f"{optimizer}, preset {PROBLEMS[optimizer]}, {steps} steps", title_justify="left")
    headings = ("shortcut", "distance / path", "eigenvalues: max", "mean", "top of Σ: max", "mean", "trace of Σ: max", "mean", "gradients")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "shortcut" else "right")
    rows, exact, started = [], None, {}
    for title, off, fields in variants(SHORTCUTS):
        path = walked(PROBLEMS[optimizer], steps, off, started, fields)
        exact = exact or path
        name = f"{optimizer}, {title}"
        found = {
            "eigenvalues": deviation(exact.eigenvalues, path.eigenvalues),
            "top of Σ": deviation(exact.top, path.top),
            "trace of Σ": deviation(exact.trace, path.trace),
        }
        note = f"{np.mean(path.trace > 0):.0%} of the steps at the edge" + (", stopped" if path.stopped else "")
        rows.append(row(f"{name}: distance to the optimizer", "of the path", [path.distance], note=note))
        rows.append(row(f"{name}: gradients", "a step", [path.gradients]))
        if path is not exact:
            rows += [
                row(f"{name}: {what}, {which} deviation", "relative", [value])
                for what, pair in found.items()
                for which, value in zip(("largest", "mean"), pair, strict=True)
                if np.isfinite(value)
            ]
        cells = [shown(value) for pair in found.values() for value in pair] if path is not exact else [""] * 6
        table.add_row(title, shown(path.distance), *cells, shown(path.gradients))
        console().print(f"{name}: {path.gradients:.1f} gradients a step, {note}")
    console().print(table)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="steps of each run after its warm start (300)")
    parser.add_argument("--only", nargs="*", choices=[*PROBLEMS], default=[*PROBLEMS], help="optimizers; all without it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for optimizer in arguments.only:
        rows += measured(optimizer, arguments.steps)
        keep("shortcuts", rows)


if __name__ == "__main__":
    main()
