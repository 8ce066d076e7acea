"""The controls of a configuration as plain data, derived from `RunConfig`: bounds, units and help are written there only."""

from __future__ import annotations

from typing import Any

import param

from cflows_app.theme import FLOW_LABELS, STROKES
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.optimizers import KINDS
from cflows_core.presets import PRESETS

CHOICES = {
    "digits": "Digits, 8×8",
    "cifar10": "CIFAR-10",
    "mlp": "MLP",
    "cnn": "CNN",
    "gelu": "GELU",
    "tanh": "tanh",
    "silu": "SiLU",
    "relu": "ReLU",
    "gelu_relu": "GELU–ReLU mix",
    "mse": "Squared error",
    "cross_entropy": "Cross-entropy",
    "onehot": "One output a class",
    "signed": "±1, one output",
    "cpu": "CPU",
    "cuda": "CUDA GPU",
    "auto": "Automatic",
    "on": "On",
    "off": "Off",
}

PROBLEM = ("dataset", "n_train", "architecture", "activation", "activation_mix", "width", "depth", "criterion", "classes")
RUN = ("seed", "dtype", "device")
MORE = ("warm_start", "steps", "substeps", "n_eigs", "rod_rank", "head_scale", "targets", "derivatives", "threads")
OPTIMIZER = ("beta1", "beta2", "eps", "bias_correction", "schedule")
_MOMENTUM = [name for name, (momentum, _) in KINDS.items() if momentum != "none"]
_ADAPTIVE = [name for name, (_, kind) in KINDS.items() if kind != "identity"]
# Field -> another field, and its values with which the first means something.
SHOWN_ONLY_WHEN = {
    "activation_mix": ("activation", ["gelu_relu"]),
    "beta1": ("optimizer", _MOMENTUM),
    "beta2": ("optimizer", _ADAPTIVE),
    "eps": ("optimizer", _ADAPTIVE),
    "bias_correction": ("optimizer", _ADAPTIVE),
}

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
            "entries": [{"value": name, "label": FLOW_LABELS[name], "dash": list(STROKES[name].dash)} for name in FLOW_NAMES],
        },
    }


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
        return control | {"kind": "choice", "choices": [[value, CHOICES.get(value, value)] for value in parameter.objects]}
    if isinstance(parameter, param.String):
        return control | {"kind": "text"}
    low, high = parameter.bounds
    soft = parameter.softbounds or (low, high)
    whole = isinstance(parameter, param.Integer)
    return control | {"kind": "whole" if whole else "number", "min": low, "max": high, "soft": list(soft)}
