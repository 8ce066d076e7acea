"""A sweep as its user writes it:

    preset: digits-mlp               # what to start from; without it, the defaults of RunConfig
    base: {steps: 200, threads: 1}   # fields of all configurations
    axes:                            # crossed with one another
      optimizer, lr:                 # two fields that change together
        - [gd, 0.3]
        - [adam, 0.002]
      beta2: [0.9, 0.99]             # a list
      head_scale: {log: {from: 0.1, to: 1, points: 4}}   # or linear
      width: {times: [1, 2]}         # factors on the value that the field has otherwise
    configs:                         # single configurations besides
      - {optimizer: gd, lr: 0.5}

`preset` may be an axis too. A file has at most `MOST` configurations.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cflows_core import presets
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.sweep.document import load
from cflows_core.sweep.grid import PRESET, Axis, Case, Sweep, crossed

MOST = 2000  # configurations
_KEYS = ("name", PRESET, "base", "axes", "configs")
_RANGES: dict[str, Callable[[float, float, int], np.ndarray]] = {"linear": np.linspace, "log": np.geomspace}
_LIMITS = ("from", "to", "points")
_TIMES = "times"


def read(path: str | Path, base: Mapping[str, Any] | None = None) -> Sweep:
    """The sweep in the file at `path`; `base`: fields that come before its own. Raises ConfigError, naming file, key and remedy."""
    path = Path(path)
    plain = load(path)
    try:
        return from_plain(plain, path.stem, base)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def from_plain(plain: Any, name: str = "sweep", base: Mapping[str, Any] | None = None) -> Sweep:
    """The sweep that plain values describe, as a file has them. Raises ConfigError."""
    given = _mapping("a sweep", plain)
    _known("a sweep", given, _KEYS)
    start = {**(base or {}), **_fields("base", given.get("base"))}
    if PRESET in given:
        start = {PRESET: given[PRESET], **start}
    axes = tuple(_axis(key, values) for key, values in _mapping("`axes`", given.get("axes", {})).items())
    swept = [field for axis in axes for field in axis.fields]
    if twice := {field for field in swept if swept.count(field) > 1}:
        raise ConfigError(f"`axes` has {sorted(twice)[0]} on two axes: leave one out.")
    singles = given.get("configs", [])
    if not isinstance(singles, list):
        raise ConfigError(f"`configs` must be a list of mappings of fields, got {_brief(singles)}.")
    count = len(singles) + (math.prod(len(axis.points) for axis in axes) if axes else 0)
    if count > MOST:
        raise ConfigError(
            f"it asks for {count:,} configurations, and {MOST:,} are the most for one file: take fewer points, or several files."
        )
    cases = [_on_axes(start, axes, at) for at in crossed(axes)] if axes else []
    cases += [_single(start, f"`configs` entry {number}", single) for number, single in enumerate(singles, 1)]
    if not cases:
        raise ConfigError("it has neither `axes` nor `configs`: say what is to be varied, such as axes: {lr: [0.1, 0.2]}.")
    return Sweep(_name(given.get("name", name)), axes, tuple(cases))


def _on_axes(start: Mapping[str, Any], axes: tuple[Axis, ...], at: tuple[int, ...]) -> Case:
    fields, factors = dict(start), {}
    for axis, position in zip(axes, at, strict=True):
        (factors if axis.factors else fields).update(zip(axis.fields, axis.points[position], strict=True))
    where = ", ".join(f"{axis.name} {_brief(axis.points[position])}" for axis, position in zip(axes, at, strict=True))
    config = _config(f"`axes` at {where}", fields, factors)
    return Case(_values([field for axis in axes for field in axis.fields], fields, config), config, at)


def _single(start: Mapping[str, Any], where: str, single: Any) -> Case:
    own = _fields(where, single)
    fields = {**start, **own}
    config = _config(where, fields, {})
    return Case(_values(own, fields, config), config)


def _values(names: Any, fields: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    return {name: fields[name] if name == PRESET else config.to_dict()[name] for name in names}


def _config(where: str, fields: Mapping[str, Any], factors: Mapping[str, float]) -> RunConfig:
    """The configuration of these fields, on the preset among them if there is one, times the factors."""
    try:
        own = {name: value for name, value in fields.items() if name != PRESET}
        config = presets.get(str(fields[PRESET])).config.replace(**own) if PRESET in fields else RunConfig(**own)
        return config.replace(**{name: getattr(config, name) * factor for name, factor in factors.items()}) if factors else config
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _axis(key: Any, values: Any) -> Axis:
    fields = tuple(part.strip() for part in str(key).split(","))
    for field in fields:
        _known("`axes`", {field: None}, (*RunConfig.fields(), PRESET))
    if len(set(fields)) < len(fields):
        raise ConfigError(f"`axes` key {key!r} names a field twice: leave one out.")
    if isinstance(values, dict):
        return _ranged(", ".join(fields), fields, values)
    if not isinstance(values, list) or not values:
        raise ConfigError(
            f"`axes` {key} must be a list of values or a range such as {{log: {{from: 0.01, to: 1, points: 8}}}}, got {_brief(values)}."
        )
    if len(fields) > 1:
        return Axis(fields, tuple(_together(key, fields, row) for row in values))
    return Axis(fields, tuple((*map(_accepted, fields, [value]),) for value in values))


def _ranged(key: Any, fields: tuple[str, ...], values: Mapping[Any, Any]) -> Axis:
    kinds = (*_RANGES, _TIMES)
    if len(values) != 1 or (kind := next(iter(values))) not in kinds:
        raise ConfigError(f"`axes` {key} must be a list, or a mapping with one of {', '.join(kinds)}, got {_brief(values)}.")
    if len(fields) > 1:
        raise ConfigError(f"`axes` {key}: fields that change together are given as a list of lists, such as [[gd, 0.3], [adam, 0.001]].")
    limits = values[kind]
    if kind == _TIMES:
        if isinstance(limits, dict) and len(limits) == 1 and next(iter(limits)) in _RANGES:
            limits = [point for (point,) in _ranged(key, fields, limits).points]
        if not isinstance(limits, list) or not limits or not all(_is_number(factor) and factor > 0 for factor in limits):
            raise ConfigError(f"`axes` {key}: `times` must be a list of positive factors, such as [0.5, 1, 2], got {_brief(limits)}.")
        if key == PRESET or not _is_number(RunConfig.param[key].default):
            raise ConfigError(f"`axes` {key}: `times` multiplies a field that is a number, which {key} is not: give a list.")
        return Axis(fields, tuple((factor,) for factor in limits), factors=True)
    if not isinstance(limits, dict) or set(limits) != set(_LIMITS) or not all(map(_is_number, limits.values())):
        raise ConfigError(
            f"`axes` {key}: `{kind}` needs the numbers {', '.join(_LIMITS)}, such as from: 0.01, to: 1, points: 8, got {_brief(limits)}."
        )
    low, high, points = (limits[name] for name in _LIMITS)
    if not isinstance(points, int) or not 1 <= points <= MOST:
        raise ConfigError(f"`axes` {key}: `points` must be a whole number from 1 to {MOST:,}, got {_brief(points)}.")
    if kind == "log" and (low <= 0 or high <= 0):
        raise ConfigError(f"`axes` {key}: a `log` range needs `from` and `to` above 0, got {low:g} and {high:g}: use linear.")
    return Axis(fields, tuple((value,) for value in _RANGES[kind](float(low), float(high), points).tolist()))


def _together(key: Any, fields: tuple[str, ...], row: Any) -> tuple[Any, ...]:
    if not isinstance(row, list) or len(row) != len(fields):
        raise ConfigError(
            f"`axes` {key}: each entry must be a list of {len(fields)} values, one for each of these fields, got {_brief(row)}."
        )
    return tuple(map(_accepted, fields, row))


def _accepted(field: str, value: Any) -> Any:
    """The value as the field takes it, so that 1 and 1.0 are one point."""
    return presets.get(str(value)).name if field == PRESET else RunConfig.check(field, value)


def _fields(where: str, given: Any) -> dict[str, Any]:
    fields = _mapping(where if where.startswith("`") else f"`{where}`", {} if given is None else given)
    _known(where if where.startswith("`") else f"`{where}`", fields, (*RunConfig.fields(), PRESET))
    return fields


def _mapping(what: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(f"{what} must be a mapping of names to values, got {_brief(given)}.")
    return given


def _known(what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=2)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}."
            raise ConfigError(f"{what} has the unknown key {_brief(name)}: {hint}")


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 80 or set(name) & set('/\\:*?"<>|\0\n') or name.startswith("."):
        raise ConfigError(f"`name` must be a name that a folder can have, of at most 80 characters, got {_brief(name)}: leave it out.")
    return name.strip()


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _brief(value: Any) -> str:
    text = repr(value[0] if isinstance(value, tuple) and len(value) == 1 else value)
    return text if len(text) <= 80 else text[:77] + "..."
