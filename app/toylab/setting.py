"""What a visitor of the toy lab chose: a loss, where it starts, and an optimizer; as a web address and back.

The optimizer's fields are those of `RunConfig`, with its bounds and sentences; the loss's own are `Toy`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

import param
import torch

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.fields import accepted
from cflows_core.optimizers import CORRECTS, KINDS, Optimizer
from cflows_core.problems.formula import Formula
from cflows_core.problems.toy import Linear, Loss, Quadratic, Quartic, Valley
from cflows_core.toylab import bottom, hessians
from cflows_core.toylab.batch import gradient
from cflows_core.written import number, to_text

LENGTHS = {"50": 50, "100": 100, "200": 200, "600": 600}  # of a walk, in steps
FLAT = 1e-9  # curvature that counts as none
LONGEST = 2000  # characters of an address
OWN, LOOKS = "bokeh-", ("hide", "type")  # arguments that are not ours (share.py)


class Toy(param.Parameterized):
    """The fields of the losses and of the start: bounds, labels, one sentence each."""

    loss = param.Selector(default="quartic", objects=["linear", "quadratic", "quartic", "valley", "formula"], label="Loss", doc="The loss.")
    formula = param.String(
        default="1 - cos(x) + x^2/20", label="L(x) or L(x, y)", doc="A formula of x, or of x and y; it is read, never run."
    )
    slope = param.Number(default=1.0, bounds=(-100.0, 100.0), softbounds=(-2.0, 2.0), label="Slope a", doc="The slope of the linear loss.")
    sharpness = param.Number(
        default=1.0,
        bounds=(1e-3, 1e3),
        softbounds=(0.1, 10.0),
        label="Sharpness S₀",
        doc="The curvature at the minimum.",
    )
    gamma = param.Number(
        default=1.0,
        bounds=(1e-3, 1e3),
        softbounds=(0.1, 10.0),
        label="Decline γ",
        doc="How fast the curvature falls away from the minimum.",
    )
    rise = param.Number(
        default=1.0,
        bounds=(-100.0, 100.0),
        softbounds=(0.0, 3.0),
        label="Rise a",
        doc="How much steeper the walls become for each unit along u.",
    )
    floor = param.Number(
        default=0.03,
        bounds=(1e-3, 100.0),
        softbounds=(0.01, 0.2),
        label="Floor h",
        doc="The curvature along the valley's floor.",
    )
    target = param.Number(
        default=3.0, bounds=(-1000.0, 1000.0), softbounds=(1.0, 4.0), label="Minimum u*", doc="Where the floor is lowest."
    )
    bend = param.Number(
        default=0.5, bounds=(0.0, 1e3), softbounds=(0.0, 2.0), label="Bend γ", doc="How far the walls bend over; 0: not at all."
    )
    x = param.Number(default=0.3, bounds=(-1e6, 1e6), softbounds=(-1.0, 1.0), label="Start x₀", doc="Where the optimizer starts.")
    y = param.Number(
        default=0.5, bounds=(-1e6, 1e6), softbounds=(-1.0, 3.0), label="Start y₀", doc="Where it starts in the second direction."
    )
    length = param.Selector(default="100", objects=list(LENGTHS), label="Steps", doc="The number of steps that are drawn.")


FIELDS: dict[str, param.Parameter] = {
    **{name: Toy.param[name] for name in Toy.param if name != "name"},
    **{name: RunConfig.param[name] for name in ("optimizer", "lr", "beta1", "beta2", "bias_correction")},
}
MOVES_THE_EDGE = ("loss", "optimizer", "formula", "sharpness", "rise", "target")
SHOWN = {
    "linear": ("slope", "x"),
    "quadratic": ("sharpness", "x"),
    "quartic": ("sharpness", "gamma", "x"),
    "valley": ("sharpness", "rise", "floor", "target", "bend", "x", "y"),
    "formula": ("formula", "x", "y"),
}


@dataclass(frozen=True)
class Setting:
    """All that the page shows follows from this. Fields: `FIELDS`."""

    loss: str = "quartic"
    formula: str = Toy.formula
    slope: float = Toy.slope
    sharpness: float = Toy.sharpness
    gamma: float = Toy.gamma
    rise: float = Toy.rise
    floor: float = Toy.floor
    target: float = Toy.target
    bend: float = Toy.bend
    x: float = Toy.x
    y: float = Toy.y
    length: str = Toy.length
    optimizer: str = "gd"
    lr: float = 2.5
    beta1: float = 0.9
    beta2: float = 0.99
    bias_correction: str = "auto"

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """The value that a field takes for `value`. Raises ConfigError, one sentence."""
        if name == "formula":
            return Formula.read(value if isinstance(value, str) else str(value)).text
        return accepted(name, FIELDS[name], value)

    def changed(self, name: str, value: Any) -> Setting:
        """The setting with a field changed; with another loss or optimizer η keeps its distance from the edge. Raises ConfigError."""
        new = replace(self, **{name: self.check(name, value)})
        if name not in MOVES_THE_EDGE:
            return new
        return replace(new, lr=_rounded(self.lr / self.typical * new.typical))

    @functools.cached_property
    def toy(self) -> Loss:
        """The loss."""
        one = functools.partial(torch.tensor, dtype=torch.float64)
        if self.loss == "linear":
            return Linear(one([self.slope]))
        if self.loss == "quadratic":
            return Quadratic(one([[self.sharpness]]))
        if self.loss == "quartic":
            return Quartic(self.sharpness, self.gamma)
        if self.loss == "valley":
            return Valley(self.sharpness, one([self.rise]), self.floor, one([self.target]), self.bend)
        return Formula.read(self.formula)

    @property
    def start(self) -> torch.Tensor:
        """w₀ [1] or [2]."""
        return torch.tensor([self.x, self.y][: self.toy.n_params], dtype=torch.float64)

    @functools.cached_property
    def method(self) -> Optimizer:
        """The optimizer."""
        corrects = CORRECTS[self.bias_correction]
        return Optimizer(self.optimizer, lr=self.lr, beta1=self.beta1, beta2=self.beta2, bias_correction=corrects)

    @functools.cached_property
    def curvature(self) -> float:
        """The curvature S that decides where the edge is: at the minimum, in a valley halfway to it; 0 where there is none."""
        if self.loss == "linear":
            return 0.0
        if self.loss == "valley":
            return max(0.0, self.sharpness + self.rise * (self.y + self.target) / 2)
        return self.sharpness if self.loss != "formula" else _curvature(self.toy, tuple(self.start.tolist()))

    @functools.cached_property
    def typical(self) -> float:
        """An η at which this optimizer does something on this loss: c/S at the edge; adaptive, and without curvature, a step of 0.1."""
        if self.method.adaptive or not self.curvature:
            return 0.1
        return self.method.threshold / self.curvature

    @property
    def edge(self) -> float | None:
        """η S/c, 1 at the edge; None where η does not decide."""
        return None if self.method.adaptive or not self.curvature else self.lr / self.typical

    @property
    def varied(self) -> tuple[str, ...]:
        """What an orbit diagram can be over: η, and β₁ and β₂ where the optimizer has them."""
        momentum, kind = KINDS[self.optimizer]
        return ("lr", *(["beta1"] if momentum != "none" else []), *(["beta2"] if kind != "identity" else []))

    @property
    def asked(self) -> tuple[str, ...]:
        """The fields that mean something for this loss and optimizer, in the order of their controls."""
        own = tuple(name for name in SHOWN[self.loss] if name != "y" or self.toy.n_params == 2)
        return (*own, *self.varied, *(["bias_correction"] if "beta2" in self.varied else []), "length")

    @property
    def query(self) -> str:
        """The setting as an address's query, which `read` gives exactly again."""
        own = {name: getattr(self, name) for name in self.asked if name != "lr" and getattr(self, name) != FIELDS[name].default}
        said = {"loss": self.loss, "optimizer": self.optimizer, "lr": self.lr} | own
        return urlencode({name: to_text(name, value) for name, value in said.items()})


FIRST = Setting()


def read(arguments: Mapping[str, Sequence[bytes]]) -> tuple[Setting, list[str]]:
    """The setting that a request's arguments ask for, and a sentence for each part that could not be taken. Raises nothing."""
    given = {name: values for name, values in arguments.items() if values and name not in LOOKS and not name.startswith(OWN)}
    if sum(len(name) + len(value) for name, values in given.items() for value in values) > LONGEST:
        return FIRST, [f"An address of the toy lab has at most {LONGEST:,} characters after the question mark: the default is shown."]
    setting, problems = FIRST, []
    known = [field.name for field in fields(Setting)]
    for name in sorted(given, key=lambda name: (known.index(name) if name in known else -1, name)):
        text = given[name][-1].decode(errors="replace")
        try:
            if name not in known:
                raise ConfigError(f"The toy lab has no field `{name[:40]}`: known are {', '.join(known)}.")
            setting = replace(setting, **{name: Setting.check(name, number(text) if isinstance(FIELDS[name], param.Number) else text)})
        except ConfigError as problem:
            problems.append(str(problem))
    if "lr" not in given or any("`lr`" in problem for problem in problems):
        setting = replace(setting, lr=_rounded(FIRST.lr / FIRST.typical * setting.typical))
    return setting, problems


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@functools.lru_cache(maxsize=256)
def _curvature(toy: Loss, start: tuple[float, ...]) -> float:
    """The largest curvature at the minimum that lies downhill from `start`, else at `start`; 0 where it is not positive."""
    begin = torch.tensor(start, dtype=torch.float64)
    at = bottom(toy, begin) if bool(torch.isfinite(gradient(toy, begin)).all()) else None
    hessian = hessians(toy, (begin if at is None else at)[None])[0]
    top = float(torch.linalg.eigvalsh(hessian)[-1]) if bool(torch.isfinite(hessian).all()) else 0.0
    return top if top > FLAT else 0.0
