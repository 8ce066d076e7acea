"""The toy lab's controls as plain data: labels, help and bounds are those of their fields."""

from __future__ import annotations

from typing import Any

import param

from cflows_app.form import GRID, GRID_COLUMNS
from cflows_app.mathml import mathml
from cflows_app.toylab.results import Diagram
from cflows_app.toylab.setting import FIELDS, LENGTHS, Setting

LOSSES = (("linear", "Linear"), ("quadratic", "Quadratic"), ("quartic", "Quartic"), ("valley", "Valley, 2-D"), ("formula", "Your formula"))
FORMULAS = {
    "linear": "L = a x",
    "quadratic": r"L = \frac{1}{2} S_0 x^2",
    "quartic": r"L = \frac{1}{2} S_0 x^2 − \frac{1}{4} γ x^4",
    "valley": r"L = \frac{S_0 + a u}{2γ} \log(1 + γ x^2) + \frac{h}{2} (u − u^*)^2",
    "straight": r"L = \frac{1}{2} (S_0 + a u) x^2 + \frac{h}{2} (u − u^*)^2",
    "formula": "",
}
PLACES = (("rest", "Rest"), ("edge", "At the edge"), ("above", "Just above"), ("two", "2-cycle"), ("four", "Period 4"), ("chaos", "Chaos"))
CORRECTIONS = (("auto", "Default"), ("on", "On"), ("off", "Off"))
SLIDERS = ("lr", "beta1", "beta2")


def specification() -> dict[str, Any]:
    """What the page needs to draw all controls."""
    own = ("formula", "slope", "sharpness", "gamma", "rise", "floor", "target", "bend", "x", "y")
    return {
        "losses": [[value, label, value in ("valley", "formula")] for value, label in LOSSES],
        "loss": [_field(name) for name in own],
        "columns": GRID_COLUMNS,
        "grid": [cell for _, cells in GRID for cell in cells],
        "optimizer": [_field(name) for name in SLIDERS],
        "places": PLACES,
        "walk": [
            _field("length", tuple((value, f"{count} steps") for value, count in LENGTHS.items())),
            _field("bias_correction", CORRECTIONS),
        ],
    }


def _field(name: str, choices: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    parameter = FIELDS[name]
    kind = "choice" if choices else "text" if isinstance(parameter, param.String) else "number"
    return {
        "name": name,
        "label": parameter.label,
        "doc": parameter.doc,
        "kind": kind,
        "choices": choices,
        "slider": name in SLIDERS,
    }


def values(setting: Setting) -> dict[str, Any]:
    """What the controls say of a setting: values, which of them mean something, the sliders' ends, the loss written out."""
    reach = 30.0 if setting.method.adaptive else 3.0
    written = FORMULAS["straight" if setting.loss == "valley" and not setting.bend else setting.loss]
    return {
        "values": {name: value if isinstance(value := getattr(setting, name), str) else f"{value:g}" for name in FIELDS},
        "shown": list(setting.asked),
        "labels": {
            "sharpness": "Sharpness at u = 0" if setting.loss == "valley" else FIELDS["sharpness"].label,
            "y": "Start u₀" if setting.loss == "valley" else "Start y₀",
        },
        "ranges": {
            "lr": {"low": setting.typical / 30, "high": setting.typical * reach, "kind": "log"},
            "beta1": {"low": 0.0, "high": 0.99, "kind": "linear"},
            "beta2": {"low": 0.0, "high": 0.9999, "kind": "beta"},
        },
        "hint": hint(setting),
        "math": mathml(written) if written else "",
        "query": setting.query,
    }


def hint(setting: Setting) -> str:
    """How far η is from the edge."""
    if setting.edge is not None:
        return f"η S/c = {setting.edge:.4g}, with S = {setting.curvature:.4g} and c = {setting.method.threshold:.4g}: the edge is at 1."
    if not setting.curvature:
        return "No curvature, so no edge: nothing oscillates."
    return f"ν adapts, so the edge comes to every η: a swing of η/c = {setting.lr / setting.method.threshold:.3g}."


def destination(place: str, setting: Setting, known: Diagram | None) -> float | None:
    """The η that a button sets; None where there is no such η, or none is known yet."""
    if place in ("edge", "above"):
        return None if setting.edge is None else float(f"{setting.typical * {'edge': 1.0, 'above': 1.03}[place]:.6g}")
    period = {"rest": 1, "two": 2, "four": 4, "chaos": 0}.get(place)
    found = None if known is None or period is None else known.middle(period)
    return None if found is None else float(f"{found:.6g}")


def places(setting: Setting, known: Diagram | None) -> dict[str, str]:
    """Button -> why it cannot be pressed now, "" if it can."""
    why = {}
    for place, label in PLACES:
        if destination(place, setting, known) is not None:
            why[place] = ""
        elif place in ("edge", "above"):
            why[place] = "No curvature, so no edge." if not setting.curvature else "ν adapts: this optimizer comes to its edge at every η."
        else:
            why[place] = "The orbit diagram is being computed." if known is None else f"{label}: for no η of the orbit diagram."
    return why
