"""`cflows table`: named configurations side by side, as a Markdown table: how far each flow is from its optimizer, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.config import OPTIMIZER_NAMES
from cflows_core.errors import ConfigError
from cflows_core.frames import STATUSES
from cflows_core.measure import period
from cflows_core.presets import PRESETS, get
from cflows_core.running import run

if TYPE_CHECKING:
    from cflows_core.store import Run

FLOWS = ("stable", "rod", "central")
EARLY = 100  # steps after the start at which distances are given a first time: all flows are still there
HEADINGS = (
    "optimizer",
    "preset",
    *FLOWS,
    "λ₁/c: optimizer",
    "central",
    "Σ predicted / measured",
    "loss error: central",
    "rod",
    "period",
    "seconds",
)


def chosen(names: Sequence[str], which: str, steps: int) -> dict[str, int]:
    """Preset -> steps after its warm start: those named, or a set's. Raises `ConfigError` for a set that there is none of."""
    sets = {
        "mlp": (_one_each(), 300),
        "momentum": ([name for name in PRESETS if name.endswith("-long")], 1000),
        "cnn": ([name for name in PRESETS if name.startswith("cnn-")], 300),
    }
    if which not in sets:
        raise ConfigError(f"A table is of {', '.join(sets)}, got {which!r}: choose one, or name presets.")
    of_set, default = sets[which]
    return dict.fromkeys(names or of_set, steps or default)


def write(rows: dict[str, int]) -> None:
    """Run each preset for its steps after the warm start and print its row as soon as it is known."""
    configs = {name: get(name).config.replace(steps=steps, observe=[]) for name, steps in rows.items()}
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS))
    for name, config in configs.items():
        finished = run(config, progress=False)
        print("| " + " | ".join(_row(name, config.optimizer, finished)) + " |", flush=True)


def _one_each() -> list[str]:
    """The first preset of every optimizer, in the order of the table of nine."""
    first = {preset.config.optimizer: name for name, preset in reversed(PRESETS.items())}
    return [first[name] for name in OPTIMIZER_NAMES if name in first]


def _row(name: str, optimizer: str, finished: Run) -> list[str]:
    numbers = finished.summary()
    flows: dict[str, Any] = numbers["flows"]
    variances = [f"{_text(mode['ratio'], '.2f')}" for mode in flows["central"]["variance"]]
    displacement = finished.series("discrete", "displacement")[-100:]
    known = displacement[np.isfinite(displacement)]
    return [
        optimizer,
        name,
        *(_distances(finished, flow, flows[flow]["share_of_path"]) for flow in FLOWS),
        _text(flows["discrete"]["top_eigenvalue"], ".3f"),
        _text(flows["central"]["top_eigenvalue"], ".4f"),
        ", ".join(variances),
        f"{_text(100 * flows['central']['loss_error'], '.2g')} %",
        f"{_text(100 * flows['rod']['loss_error'], '.2g')} %",
        str(period(known) or "none") if len(known) > 20 else "",
        _text(numbers["wall_time"], ".0f"),
    ]


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
