"""`cflows table`: named configurations side by side, as a Markdown table: how far each flow is from its optimizer, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.config import OPTIMIZER_NAMES
from cflows_core.errors import ConfigError
from cflows_core.frames import STATUSES
from cflows_core.measure import period
from cflows_core.presets import PRESETS, get
from cflows_core.presets.architectures import SEVEN
from cflows_core.presets.narrow import CNN, LONG
from cflows_core.running import run
from cflows_core.store.summary import REACHED

if TYPE_CHECKING:
    from cflows_core.store import Run

FLOWS = ("stable", "rod", "central")
AROUND = 0.1  # of the threshold: an eigenvalue this near is at the edge
EARLY = 100  # steps after the start at which distances are given a first time: all flows are still there
_FLOWS = (*FLOWS, "λ₁/c: optimizer", "λ₁/c: central", "Σ predicted / measured")
_NINE = ("optimizer", "preset", *_FLOWS, "loss error: central", "loss error: rod", "period", "seconds")
_SEVEN = ("model", "loss", "data", "weights", "edge after", "steps at the edge", "k", *_FLOWS, "seconds")


@dataclass(frozen=True)
class Table:
    """A set of presets, the steps each goes after its warm start, and the headings of what is told of it."""

    presets: tuple[str, ...]
    steps: int
    headings: tuple[str, ...] = _NINE


def tables() -> dict[str, Table]:
    """By the name that `--of` takes."""
    return {
        "mlp": Table(_one_each(), 300),
        "momentum": Table(tuple(preset.name for preset in LONG), 1000),
        "cnn": Table(tuple(preset.name for preset in CNN), 300),
        "architectures": Table(SEVEN, 200, _SEVEN),
    }


def chosen(names: Sequence[str], which: str, steps: int) -> Table:
    """The set of that name, or its headings for the presets named. Raises `ConfigError` for a set that there is none of."""
    sets = tables()
    if which not in sets:
        raise ConfigError(f"A table is of {', '.join(sets)}, got {which!r}: choose one, or name presets.")
    return replace(sets[which], presets=tuple(names) or sets[which].presets, steps=steps or sets[which].steps)


def write(table: Table) -> None:
    """Run each preset for its steps after the warm start and print its row as soon as it is known."""
    configs = {name: get(name).config.replace(steps=table.steps, observe=[]) for name in table.presets}
    print("| " + " | ".join(table.headings) + " |")
    print("|" + "---|" * len(table.headings))
    for name, config in configs.items():
        cells = _cells(name, run(config, progress=False))
        print("| " + " | ".join(cells[heading] for heading in table.headings) + " |", flush=True)


def _one_each() -> tuple[str, ...]:
    """The first preset of every optimizer, in the order of the table of nine."""
    first = {preset.config.optimizer: name for name, preset in reversed(PRESETS.items())}
    return tuple(first[name] for name in OPTIMIZER_NAMES if name in first)


def _cells(name: str, finished: Run) -> dict[str, str]:
    """Heading -> what is told under it."""
    numbers, config = finished.summary(), finished.config
    flows: dict[str, Any] = numbers["flows"]
    displacement = finished.series("discrete", "displacement")[-100:]
    known = displacement[np.isfinite(displacement)]
    top = finished.series("discrete", "effective_eigs")[:, 0] / numbers["threshold"]
    rank = finished.series("central", "rank")
    return {
        "optimizer": config.optimizer,
        "preset": name,
        "model": config.architecture,
        "loss": config.criterion,
        "data": config.dataset,
        "weights": f"{finished.meta['parameters']:,}",
        "edge after": f"{finished.steps[np.argmax(top >= REACHED)]}" if (top >= REACHED).any() else "never",
        "steps at the edge": f"{np.count_nonzero(np.abs(top - 1) < AROUND)} of {len(top)}",
        "k": _text(np.nanmax(rank, initial=0), ".0f"),
        **{flow: _distances(finished, flow, flows[flow]["share_of_path"]) for flow in FLOWS},
        "λ₁/c: optimizer": _text(flows["discrete"]["top_eigenvalue"], ".3f"),
        "λ₁/c: central": _text(flows["central"]["top_eigenvalue"], ".4f"),
        "Σ predicted / measured": ", ".join(_text(mode["ratio"], ".2f") for mode in flows["central"]["variance"]),
        "loss error: central": f"{_text(100 * flows['central']['loss_error'], '.2g')} %",
        "loss error: rod": f"{_text(100 * flows['rod']['loss_error'], '.2g')} %",
        "period": str(period(known) or "none") if len(known) > 20 else "",
        "seconds": _text(numbers["wall_time"], ".0f"),
    }


def _distances(finished: Run, flow: str, share: float) -> str:
    """ "0.12 → 0.34 (5 %)": 100 steps after the start, and at the end with its share of the path; or where the flow stopped."""
    far, status = finished.series(flow, "distance"), finished.status(flow)
    start = int(np.flatnonzero(np.isfinite(far))[0]) if np.isfinite(far).any() else 0
    early = f"{_text(far[start + EARLY], '.3g')} → " if start + EARLY < len(far) - 1 else ""
    stopped = np.flatnonzero(status == STATUSES.index("stopped"))
    if len(stopped):
        return f"{early}stopped at +{finished.steps[stopped[0]] - finished.steps[start]}"
    return f"{early}{_text(far[-1], '.3g')} ({_text(100 * share, '.2g')} %)"


def _text(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else "–"
