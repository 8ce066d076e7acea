"""The tables that `cflows run`, `resume` and `presets` print."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from cflows_core.facts import Facts

if TYPE_CHECKING:
    from rich.console import Console

    from cflows_core.store import Run

# Width where the output is no terminal, so that a table in a file or a pipe is not squeezed into 80 columns.
PLAIN_WIDTH = 132


def console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def summary(run: Run) -> None:
    """Print how each flow did: the numbers of `Run.summary`."""
    from rich.table import Table
    from rich.text import Text

    numbers = run.summary()
    out = console()
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\nflow", no_wrap=True)
    for heading in ("final\nloss", "\ndistance", "share\nof path", "λ₁ /\nedge", "Σ: predicted\n/ measured", "loss\nerror", "\ngradients"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for flow, entry in numbers["flows"].items():
        table.add_row(
            flow,
            _number(entry["loss"], ".4g"),
            _number(entry["distance"], ".3g"),
            _percent(entry["share_of_path"]),
            _number(entry["top_eigenvalue"], ".4g"),
            "\n".join(_variance(mode, short=out.width < 100) for mode in entry["variance"]),
            _percent(entry["loss_error"]),
            _number(entry["gradients"], ",.0f"),
            "" if entry["status"] == "running" else entry["status"],
        )
    out.print(table)
    out.print()
    where = f"stored in {run.path}" if run.path else "not stored (give --out PATH to keep it)"
    rate, gradients = _number(numbers["steps_per_second"], ".0f"), _number(numbers["gradients"], ",.0f")
    length = _number(numbers["path_length"], ".3g") or "unknown"
    spent = f"{numbers['last_step']:,} steps in {numbers['wall_time']:.1f} s ({rate} steps/s), {gradients} gradients"
    facts = Facts.from_plain(run.meta)
    what = ", ".join(filter(None, (f"{facts.parameters:,} weights", facts.how)))
    out.print(Text(f"{what}; {spent}, path length {length}; {where}."))
    for event in run.events:
        if event.kind in ("stopped", "settling", "settled", "note", "change"):
            out.print(Text(f"Step {event.step:,}: {event.message}"))


def presets() -> None:
    """Print the named configurations, with what to look at in each."""
    from rich.table import Table
    from rich.text import Text

    from cflows_core.presets import PRESETS

    out = console()
    for group in dict.fromkeys(preset.group for preset in PRESETS.values()):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=max(map(len, PRESETS)))
        for name, preset in PRESETS.items():
            if preset.group == group:
                table.add_row(Text(name), Text(f"{preset.title}. {preset.look_at} {preset.available()}".rstrip()))
        out.print(Text(group, style="bold"))
        out.print(table)
        out.print()
    out.print("Run one with: cflows run --preset NAME --out runs/NAME.zarr")


def _variance(mode: dict[str, Any], short: bool) -> str:
    ratio = _number(mode["ratio"], ".3g")
    return ratio if short else f"{mode['predicted']:.3g} / {mode['measured']:.3g} = {ratio}"


def _number(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else ""


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if math.isfinite(value) else ""
