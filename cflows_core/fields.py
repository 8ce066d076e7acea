"""The configuration's fields in their groups; what a value must be to stand in one, and one sentence for what cannot."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import param

from cflows_core.errors import ConfigError

FILE = "file:"  # begins the name of a problem of one's own (problems/files.py)
_FILE_NAME = re.compile(FILE + r"[A-Za-z0-9_.-]+@[0-9a-f]{16}")

# In the order in which they are listed everywhere.
GROUPS: dict[str, tuple[str, ...]] = {
    "problem": (
        "dataset",
        "degree",
        "architecture",
        "width",
        "depth",
        "activation",
        "activation_mix",
        "criterion",
        "targets",
        "head_scale",
        "n_train",
        "classes",
    ),
    "optimizer": ("optimizer", "lr", "schedule", "beta1", "beta2", "eps", "bias_correction"),
    "flows": ("flows", "steps", "warm_start", "substeps", "n_eigs", "rod_rank", "rod_coordinates", "rod_correction", "derivatives"),
    "run": ("seed", "dtype", "device", "threads", "max_memory", "observe", "record_every", "checkpoint_every", "changes"),
}
# What can change while a run is on.
LIVE: tuple[str, ...] = ("lr", "beta1", "beta2", "eps", "substeps")
UNITS: dict[str, str] = {
    "lr": "step size",
    "steps": "steps",
    "warm_start": "steps",
    "substeps": "per step",
    "max_memory": "GiB",
    "record_every": "steps",
    "checkpoint_every": "steps",
}


class DataSelector(param.Selector):
    """One of its objects, or the name of a problem file, which need not be at hand: `file:NAME@DIGEST`."""

    def _validate(self, val: Any) -> None:
        if not (isinstance(val, str) and _FILE_NAME.fullmatch(val)):
            super()._validate(val)


def accepted(name: str, parameter: param.Parameter, value: Any) -> Any:
    """The value that a field takes for `value`: numbers as its kind of number, selections in its order. Raises `ConfigError`."""
    if isinstance(parameter, param.ListSelector):
        return _selection(name, parameter, value)
    if isinstance(parameter, param.Number) and isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = _number(name, parameter, value)
    try:
        if isinstance(value, bool):
            raise TypeError  # True is a number to Python, and a mistake here
        parameter._validate(value)
    except (ValueError, TypeError):
        raise ConfigError(f"`{name}` must be {_rule(parameter)}, got {value!r}.{_typical(parameter)}") from None
    return value


def accepted_changes(value: Any, live: tuple[str, ...], accept: Callable[[str, Any], Any]) -> tuple[tuple[int, str, Any], ...]:
    """Changes (step, field, value) of the `live` fields in the order of their steps; `accept` judges a field's value."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"`changes` must be a list of (step, field, value), got {value!r}.")
    entries = []
    for entry in value:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not isinstance(entry[0], int) or entry[0] < 0:
            raise ConfigError(f"A change must be (step, field, value) with a step of 0 or more, got {entry!r}.")
        step, field, new = entry
        if field not in live:
            raise ConfigError(f"A running simulation can change {', '.join(live)}, not {field!r}: start a new run for that.")
        entries.append((step, field, accept(field, new)))
    return tuple(sorted(entries, key=lambda change: change[0]))


def _number(name: str, parameter: param.Number, value: Any) -> Any:
    try:
        number = float(value)
    except OverflowError:  # an integer beyond every float
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"`{name}` must be a finite number, got {value}.{_typical(parameter)}")
    if not isinstance(parameter, param.Integer):
        return number
    return int(number) if number.is_integer() else value


def _selection(name: str, parameter: param.ListSelector, value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        chosen = list(value)
    except TypeError:
        chosen = [value]
    choices: Any = parameter.objects
    unknown = [entry for entry in chosen if entry not in choices]
    if unknown:
        raise ConfigError(f"`{name}` must be chosen from {', '.join(choices)}, got {unknown[0]!r}.")
    return [entry for entry in choices if entry in chosen]


def _rule(parameter: Any) -> str:
    if isinstance(parameter, param.Selector):
        return "one of " + ", ".join(map(str, parameter.objects))
    if isinstance(parameter, param.String):
        return "text"
    kind = "a whole number" if isinstance(parameter, param.Integer) else "a number"
    low, high = parameter.bounds or (0, None)
    if high is not None:
        return f"{kind} from {low:g} to {high:,}"
    return "positive" if low == 0 and not parameter.inclusive_bounds[0] else f"{kind} of at least {low:g}"


def _typical(parameter: Any) -> str:
    soft = getattr(parameter, "softbounds", None)
    return f" Typical: {soft[0]:g} to {soft[1]:g}." if soft else ""
