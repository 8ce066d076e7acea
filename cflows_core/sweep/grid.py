"""What a sweep is: axes that are crossed, configurations besides, and the runs that follow, each once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.written import to_text

PRESET = "preset"  # stands among the fields: the configuration to start from
TIMES = " ×"  # ends the name of an axis whose values are factors: "lr ×"

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """Values of one field, or of several that change together.

    fields: their names. points: for each position a value of each field. factors: whether the values multiply the field's own.
    """

    fields: tuple[str, ...]
    points: tuple[tuple[Any, ...], ...]
    factors: bool = False

    @property
    def name(self) -> str:
        return ", ".join(self.fields) + (TIMES if self.factors else "")

    @property
    def coordinates(self) -> np.ndarray:
        """The positions as an array, [points]: numbers where they are, else text."""
        values = [point[0] for point in self.points]
        if len(self.fields) == 1 and all(isinstance(value, (int, float)) for value in values):
            return np.array(values)
        return np.array([label(dict(zip(self.fields, point, strict=True)), names=False) for point in self.points])


@dataclass(frozen=True)
class Case:
    """One configuration. values: the swept fields as this configuration has them. at: its position on each axis, () if it is on none."""

    values: Point
    config: RunConfig
    at: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return label(self.values)


@dataclass(frozen=True)
class Sweep:
    """A sweep's name, its axes, and its cases: first the grid in row-major order, then the configurations given one by one."""

    name: str
    axes: tuple[Axis, ...]
    cases: tuple[Case, ...]

    @cached_property
    def configs(self) -> dict[str, RunConfig]:
        """Each different configuration once, by its hash, in the order of the cases."""
        return {case.config.hash: case.config for case in self.cases}

    @property
    def columns(self) -> tuple[str, ...]:
        """The swept fields, in the order in which they are met."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.values))

    @property
    def labels(self) -> dict[str, str]:
        """A label for each different configuration, by its hash."""
        return {case.config.hash: case.label for case in reversed(self.cases)}

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.points) for axis in self.axes)

    @property
    def gridded(self) -> bool:
        """Whether all cases lie on the axes."""
        return bool(self.axes) and len(self.cases) == math.prod(self.shape)


def label(values: Point, names: bool = True) -> str:
    """`{"optimizer": "gd", "lr": 0.3}` -> "optimizer=gd lr=0.3"; without names "gd, 0.3"."""
    texts = {name: to_text(name, _short(value)) for name, value in values.items()}
    return " ".join(f"{name}={text}" for name, text in texts.items()) if names else ", ".join(texts.values())


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def crossed(axes: tuple[Axis, ...]) -> list[tuple[int, ...]]:
    """Positions of all points of a grid, the last axis fastest."""
    return list(product(*(range(len(axis.points)) for axis in axes)))
