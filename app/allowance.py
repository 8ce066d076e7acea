"""What one visitor may have computed: runs at a time, steps of a run, weights of a model, as the operator says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.problems.build import count_parameters

if TYPE_CHECKING:
    from cflows_core.engine import Engine


@dataclass(frozen=True)
class Allowance:
    """runs: that one visitor has started and that still go, in all their pages. steps: of one run, its warm start included.
    weights: of one model. 0: any number. Raises ConfigError for less.
    """

    runs: int = 0
    steps: int = 0
    weights: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 0:
                raise ConfigError(f"The most {field.name} of a visitor is a whole number from 1 on, or 0 for any number, got {value}.")

    def check(self, config: RunConfig) -> None:
        """Whether a run of this configuration is small enough. Raises ConfigError."""
        steps = config.warm_start + config.steps
        if self.steps and steps > self.steps:
            raise ConfigError(f"On this server a run has at most {self.steps:,} steps, and this one has {steps:,}: ask for fewer.")
        if self.weights and (weights := count_parameters(config)) > self.weights:
            raise ConfigError(
                f"On this server a model has at most {self.weights:,} weights, and this one has {weights:,}: choose a narrower one, "
                "a shallower one or smaller data."
            )

    def check_number(self, running: int) -> None:
        """Whether a visitor whose runs are so many may start another. Raises ConfigError."""
        if self.runs and running >= self.runs:
            many = "one run" if self.runs == 1 else f"{self.runs} runs"
            raise ConfigError(f"On this server a visitor has at most {many} at a time, paused or not: close the page of another run first.")


ANYTHING = Allowance()


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page. name: the same in all pages of one browser."""

    name: str = ""
    allowance: Allowance = ANYTHING

    def may_start(self, config: RunConfig, engine: Engine) -> None:
        """Whether a run of this configuration may be started for this visitor. Raises ConfigError."""
        self.allowance.check(config)
        self.allowance.check_number(sum(runner.owner == self.name for runner in engine.runners))
