"""What an edit of one field makes of a configuration: fields that do not go together with it follow, as far as they can."""

from __future__ import annotations

import functools
from typing import Any

import param

from cflows_core.config import RunConfig, problem_of_file
from cflows_core.problems import files
from cflows_core.rules import ABLATIONS, READS, fitting_width, is_file


def exists(flow: str, optimizer: str) -> bool:
    """Whether a flow exists for an optimizer: those for comparison do for some only."""
    return optimizer in ABLATIONS.get(flow, (optimizer,))


def fitting(config: RunConfig, **fields: Any) -> RunConfig:
    """`config` with other fields, and what it had beside them changed where that does not go together with these. Raises ConfigError.

    Flows and observables that do not exist for the optimizer are left out; data and model follow one another, and the loss and the width
    follow them.
    """
    fields = {name: RunConfig.check(name, value) if name in RunConfig.fields() else value for name, value in fields.items()}
    optimizer = fields.get("optimizer", config.optimizer)
    flows = fields.setdefault("flows", [flow for flow in config.flows if exists(flow, optimizer)])
    if "observe" not in fields and not (optimizer == "rmsprop" and "central" in flows):
        fields["observe"] = [name for name in config.observe if name != "stationary"]
    if {"dataset", "architecture"} & set(fields):
        fields = _problem(config, **fields)
        if is_file(fields["dataset"]):
            files.find(fields["dataset"])
            fields |= problem_of_file(fields["dataset"])
    return config.replace(**fields)


def _problem(config: RunConfig, **fields: Any) -> dict[str, Any]:
    """The fields with data that the model reads, a loss that the data has and a width that the model takes."""
    dataset, architecture = fields.setdefault("dataset", config.dataset), fields.get("architecture", config.architecture)
    if is_file(dataset) and "architecture" not in fields:
        return fields
    if dataset not in READS.get(architecture, (dataset,)):
        if "architecture" in fields:
            fields["dataset"] = dataset = READS[architecture][0]
        else:
            fields["architecture"] = architecture = next((name for name, data in READS.items() if dataset in data), architecture)
    if dataset == "chebyshev":
        fields.setdefault("criterion", "mse")
    if dataset in ("sorting", "chebyshev"):
        fields.setdefault("targets", "onehot")
    fields.setdefault("width", fitting_width(architecture, config.width))
    return fields


@functools.lru_cache(maxsize=64)
def changed(config: RunConfig, live: tuple[tuple[str, Any], ...]) -> RunConfig:
    """`config` without changes and with these fields; kept, since the page asks at every look."""
    return config.replace(changes=(), **dict(live))


def present(config: RunConfig, field: str, step: int) -> Any:
    """The value that a field has at a step of a run."""
    changed = [value for at, name, value in config.changes if name == field and at <= step]
    return changed[-1] if changed else getattr(config, field)


def number(field: str, value: Any) -> Any:
    """A control's text as a number where the field takes one; what is none is left for the configuration to refuse."""
    if field in RunConfig.param and isinstance(RunConfig.param[field], param.Number) and isinstance(value, str):
        try:
            return float(value.strip().replace("−", "-").replace(",", "."))
        except ValueError:
            return value
    return value
