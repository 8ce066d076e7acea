"""The controls of a configuration as plain data, derived from `RunConfig`: bounds, units and help are written there only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import param

from cflows_app.glossary import glossary
from cflows_core.config import FLOW_NAMES, OBSERVABLES, RunConfig
from cflows_core.optimizers import KINDS
from cflows_core.palette import FLOW_LABELS, STROKES
from cflows_core.presets import PRESETS
from cflows_core.problems import files
from cflows_core.rules import ABLATIONS, BY_FILE

CHOICES = {
    "digits": "Digits, 8×8",
    "cifar10": "CIFAR-10",
    "sorting": "Sorting",
    "chebyshev": "Chebyshev",
    "mlp": "MLP",
    "cnn": "CNN",
    "resnet": "ResNet",
    "vit": "ViT",
    "lstm": "LSTM",
    "transformer": "Transformer",
    "mamba": "Mamba",
    "gelu": "GELU",
    "tanh": "tanh",
    "silu": "SiLU",
    "relu": "ReLU",
    "gelu_relu": "GELU–ReLU",
    "mse": "Squared error",
    "cross_entropy": "Cross-entropy",
    "onehot": "One-hot",
    "signed": "±1",
    "cpu": "CPU",
    "cuda": "CUDA GPU",
    "auto": "Automatic",
    "on": "On",
    "off": "Off",
    "balanced": "Balanced",
    "raw": "As they are",
    "none": "None",
    "backward_error": "Second order",
}

OBSERVED = {
    "test": "Test set",
    "valley": "Valley",
    "outputs": "Outputs",
    "average": "Iterates' average",
    "coordinates": "Ten weights",
    "stationary": "Stationary ν",
}

PROBLEM = ("dataset", "n_train", "architecture", "activation", "activation_mix", "width", "depth", "criterion", "classes", "degree")
RUN = ("seed", "dtype", "device")
MORE = ("warm_start", "steps", "substeps", "n_eigs", "rod_rank", "rod_coordinates", "rod_correction")
MORE += ("head_scale", "targets", "derivatives", "threads")
OPTIMIZER = ("beta1", "beta2", "eps", "bias_correction", "schedule")
_MOMENTUM = [name for name, (momentum, _) in KINDS.items() if momentum != "none"]
_ADAPTIVE = [name for name, (_, kind) in KINDS.items() if kind != "identity"]
# Field -> another field, and its values with which the first means something.
SHOWN_ONLY_WHEN = {
    "classes": ("dataset", ["digits", "cifar10"]),
    "degree": ("dataset", ["chebyshev"]),
    "activation_mix": ("activation", ["gelu_relu"]),
    "beta1": ("optimizer", _MOMENTUM),
    "beta2": ("optimizer", _ADAPTIVE),
    "eps": ("optimizer", _ADAPTIVE),
    "bias_correction": ("optimizer", _ADAPTIVE),
}

for _name in BY_FILE:
    SHOWN_ONLY_WHEN.setdefault(_name, ("dataset", RunConfig.param["dataset"].objects))

# The nine optimizers as their family has them: momentum kind down, preconditioner kind across (math.md 2).
GRID_COLUMNS = ("P = 1/η", "scalar ν", "diagonal ν")
GRID = (
    ("no momentum", (("gd", "GD"), ("scalar_rmsprop", "Scalar RMSProp"), ("rmsprop", "RMSProp"))),
    ("heavy ball", (("heavy_ball", "Heavy ball"), ("scalar_adam", "Scalar Adam"), ("adam", "Adam"))),
    ("Nesterov", (("nesterov", "Nesterov"), ("scalar_nadam", "Scalar NAdam"), ("nadam", "NAdam"))),
)


def specification() -> dict[str, Any]:
    """What the page needs to draw all controls."""
    return {
        "presets": [
            {"value": name, "label": preset.title, "group": preset.group, "look": preset.look_at, "missing": preset.available()}
            for name, preset in PRESETS.items()
        ],
        "problem": [field(name) for name in PROBLEM],
        "run": [field(name) for name in RUN],
        "more": [field(name) for name in MORE],
        "lr": field("lr"),
        "parameters": [field(name) for name in OPTIMIZER],
        "optimizer": {
            "doc": RunConfig.param["optimizer"].doc,
            "columns": GRID_COLUMNS,
            "rows": [{"label": row, "cells": [{"value": name, "label": text} for name, text in cells]} for row, cells in GRID],
        },
        "flows": {
            "doc": RunConfig.param["flows"].doc,
            "entries": [_flow(name) for name in FLOW_NAMES],
            "compared": [_flow(name) for name in ABLATIONS],
        },
        "observe": {"label": RunConfig.param["observe"].label, "entries": [_observable(name) for name in OBSERVABLES]},
    }


def _flow(name: str) -> dict[str, Any]:
    """A flow's box: its label, help, stroke, and the optimizers that it exists for, None for all."""
    stroke, optimizers = STROKES[name], ABLATIONS.get(name)
    term = "optimizer" if name == "discrete" else name
    return {
        "value": name,
        "label": FLOW_LABELS[name],
        "term": term,
        "doc": glossary()[term].text,
        "stroke": [stroke.color, list(stroke.dash)],
        "optimizers": None if optimizers is None else list(optimizers),
    }


def _observable(name: str) -> dict[str, Any]:
    """The box of what may be measured beyond the flows."""
    sentence = OBSERVABLES[name]
    optimizers = ["rmsprop"] if name == "stationary" else None
    return {"value": name, "label": OBSERVED[name], "doc": sentence[0].upper() + sentence[1:] + ".", "optimizers": optimizers}


def field(name: str) -> dict[str, Any]:
    """One control: its kind, label, help, unit, and its choices or bounds."""
    parameter = RunConfig.param[name]
    unit = RunConfig.UNITS.get(name, "")
    control: dict[str, Any] = {
        "name": name,
        "label": parameter.label,
        "doc": parameter.doc,
        "unit": unit if unit != parameter.label.lower() else "",
        "when": SHOWN_ONLY_WHEN.get(name),
    }
    if isinstance(parameter, param.Selector):
        own = [[file.dataset, label] for file, label in zip(files.used(), _labels(), strict=True)] if name == "dataset" else []
        return control | {"kind": "choice", "choices": [[value, CHOICES.get(value, value)] for value in parameter.objects] + own}
    if isinstance(parameter, param.String):
        return control | {"kind": "text"}
    low, high = parameter.bounds
    soft = parameter.softbounds or (low, high)
    whole = isinstance(parameter, param.Integer)
    return control | {"kind": "whole" if whole else "number", "min": low, "max": high, "soft": list(soft)}


def _labels() -> list[str]:
    """The problem files' names; of those with one name, the folder too."""
    paths = [Path(file.path) for file in files.used()]
    names = [path.name for path in paths]
    return [f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name for path in paths]
