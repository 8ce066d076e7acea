"""`cflows table`: named configurations side by side, as a Markdown table: how far each flow is from its optimizer, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cflows_core.config import OPTIMIZER_NAMES
from cflows_core.presets import PRESETS, get
from cflows_core.running import run

FLOWS = ("stable", "rod", "central")
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


def one_each() -> list[str]:
    """The first preset of every optimizer, in the order of the table of nine."""
    first = {preset.config.optimizer: name for name, preset in reversed(PRESETS.items())}
    return [first[name] for name in OPTIMIZER_NAMES if name in first]


def write(names: Sequence[str], steps: int) -> None:
    """Run each preset for `steps` steps after its warm start and print its row as soon as it is known."""
    configs = {name: get(name).config.replace(steps=steps, observe=[]) for name in names}
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS))
    for name, config in configs.items():
        finished = run(config, progress=False)
        print("| " + " | ".join(_row(name, config.optimizer, finished)) + " |", flush=True)


def _row(name: str, optimizer: str, finished: Any) -> list[str]:
    from cflows_core.measure import period

    numbers = finished.summary()
    flows = numbers["flows"]
    distances = [f"{_text(flows[flow]['distance'], '.3g')} ({_text(100 * flows[flow]['share_of_path'], '.2g')} %)" for flow in FLOWS]
    variances = [f"{_text(mode['ratio'], '.2f')}" for mode in flows["central"]["variance"]]
    displacement = finished.series("discrete", "displacement")[-100:]
    known = displacement[[math.isfinite(value) for value in displacement]]
    return [
        optimizer,
        name,
        *distances,
        _text(flows["discrete"]["top_eigenvalue"], ".3f"),
        _text(flows["central"]["top_eigenvalue"], ".4f"),
        ", ".join(variances),
        f"{_text(100 * flows['central']['loss_error'], '.2g')} %",
        f"{_text(100 * flows['rod']['loss_error'], '.2g')} %",
        str(period(known) or "none") if len(known) > 20 else "",
        _text(numbers["wall_time"], ".0f"),
    ]


def _text(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else "–"
