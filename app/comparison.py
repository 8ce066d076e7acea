"""What stored runs have in common and in what they differ: a sentence, and a table of their configurations and of what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cflows_app.form import CHOICES, GRID
from cflows_app.texts import SYMBOLS
from cflows_core.config import RunConfig
from cflows_core.rules import is_file
from cflows_core.written import to_text

NAMED = 3  # fields that the sentence names
NOTHING = "–"


@dataclass(frozen=True)
class Compared:
    """A run in the comparison. color: the palette's name of its colour. summary: as `Run.summary` gives it."""

    name: str
    label: str
    color: str
    config: RunConfig
    summary: dict[str, Any]


def sentence(runs: Sequence[Compared]) -> str:
    """What one looks at."""
    if not runs:
        return "Tick runs to lay them over one another."
    if len(runs) == 1:
        return f"{runs[0].label}: tick another run, to lay it over this one."
    fields = differing([run.config for run in runs])
    if not fields:
        return f"{len(runs)} runs of one configuration."
    names = [_called(field) for field in fields[:NAMED]]
    more = [f"{len(fields) - NAMED} more"] if len(fields) > NAMED else []
    return f"{len(runs)} runs, which differ in {_listed(names + more)}."


def in_words(config: RunConfig) -> str:
    """A run in a line: its optimizer, its step size and its problem."""
    optimizer = next(text for _, cells in GRID for name, text in cells if name == config.optimizer)
    model = "" if is_file(config.dataset) else f"{CHOICES[config.architecture]} on "
    data = Path(config.dataset).stem if is_file(config.dataset) else CHOICES[config.dataset].split(",")[0]
    return f"{optimizer}, η = {config.lr:g} · {model}{data}"


def differing(configs: Sequence[RunConfig]) -> list[str]:
    """The fields that have not the same value in all of them; of a single configuration those that are not the default."""
    plain = [config.to_dict() for config in configs]
    others = plain[1:] if len(plain) > 1 else [RunConfig().to_dict()]
    return [field for field in RunConfig.fields() if any(other[field] != plain[0][field] for other in others)]


def table(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """The table's groups: a title, and rows of a label, a unit and a cell a run."""
    configs = [run.config for run in runs]
    title = "What differs" if len(runs) > 1 else "What is not the default"
    fields = [
        {"label": RunConfig.param[field].label, "term": f"field.{field}", "cells": [_written(field, config) for config in configs]}
        for field in differing(configs)
    ]
    return [{"title": title, "rows": fields}, {"title": "What came out", "rows": outcomes([run.summary for run in runs])}]


def outcomes(summaries: Sequence[dict[str, Any]], keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What came out of runs: a row for each of the results named, or for all, that one of them has."""
    chosen = [result for result in RESULTS if not keys or result.key in keys]
    rows = [{"label": result.label, "term": "", "cells": [_told(result.read, summary) for summary in summaries]} for result in chosen]
    return [row for row in rows if any(cell != NOTHING for cell in row["cells"])]


def _called(field: str) -> str:
    return SYMBOLS.get(field, RunConfig.param[field].label.lower())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _written(field: str, config: RunConfig) -> str:
    value = getattr(config, field)
    return f"{value:g}" if isinstance(value, float) else to_text(field, config.to_dict()[field]) or "none"


def _told(read: Callable[[dict[str, Any]], str], summary: dict[str, Any]) -> str:
    try:
        return read(summary)
    except (KeyError, IndexError):  # the run has no such flow, or no such mode
        return NOTHING


def _number(value: float, form: str = ".4g") -> str:
    return format(value, form) if math.isfinite(value) else NOTHING


def _of(flow: str, name: str, form: str = ".4g") -> Callable[[dict[str, Any]], str]:
    return lambda summary: _number(summary["flows"][flow][name], form)


def _at_edge(flow: str) -> Callable[[dict[str, Any]], str]:
    return lambda summary: _number(summary["flows"][flow]["top_eigenvalue"], ".3f")


def _variance(summary: dict[str, Any]) -> str:
    return _number(summary["flows"]["central"]["variance"][0]["ratio"], ".3f")


@dataclass(frozen=True)
class Result:
    """A row of what came out. key: by which lessons name it. read: how it reads in a summary (store/summary.py)."""

    key: str
    label: str
    read: Callable[[dict[str, Any]], str]


RESULTS: tuple[Result, ...] = (
    Result("last-step", "Last step", lambda summary: f"{summary['last_step']:,}"),
    Result("edge-steps", "Steps at the edge", lambda summary: f"{summary['flows']['central']['edge_steps']:,}"),
    Result("loss", "Loss, optimizer", _of("discrete", "loss")),
    Result("loss-central", "Loss, central flow", _of("central", "loss")),
    Result("edge", "λ₁/c at the edge, optimizer", _at_edge("discrete")),
    Result("edge-central", "λ₁/c at the edge, central flow", _at_edge("central")),
    Result("distance-stable", "Distance / path, stable flow", _of("stable", "share_of_path", ".2%")),
    Result("distance-central", "Distance / path, central flow", _of("central", "share_of_path", ".2%")),
    Result("distance-rod", "Distance / path, rod flow", _of("rod", "share_of_path", ".2%")),
    Result("loss-error-central", "Error of predicted loss, central", _of("central", "loss_error", ".2%")),
    Result("loss-error-rod", "Error of predicted loss, rod", _of("rod", "loss_error", ".2%")),
    Result("sigma", "Σ predicted / measured, mode 1", _variance),
    Result("gradients", "Gradients spent", lambda summary: _number(summary["gradients"], ",.0f")),
    Result("rate", "Steps a second", lambda summary: _number(summary["steps_per_second"], ".1f")),
)
