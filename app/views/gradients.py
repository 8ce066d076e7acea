"""Squared gradients and what adaptive optimizers make of them, for all weights or for one; and the stationary preconditioner beside ν.

The optimizer's squared gradient is drawn raw and smoothed, each flow's own, and what the flows predict of the smoothed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cflows_app.streaming import Column, Reading
from cflows_app.views.base import LOG_OR_LINEAR, Curve, StepView
from cflows_app.views.canvas import Canvas
from cflows_app.views.curves import COMPARED, curve, only
from cflows_core.frames import COORDINATES
from cflows_core.optimizers import KINDS
from cflows_core.palette import FLOW_NAMES, STROKES

UNIT, WEIGHT = "gradients.unit", "gradients.weight"
UNITS = {
    "gradient": "|∇L|²",
    "nu": "ν",
    "step": "step size",
    "harmonic": "step, harmonic",
    "cosine": "cos(ν, ν̄)",
    "speeds": "speeds",
}
ALL = "all"  # weights
# Unit -> series and axis label, of all weights and of one.
SERIES = {
    "gradient": ("grad_norm_sq", "|∇L|²"),
    "nu": ("nu_norm", "|ν|"),
    "step": ("effective_step_size", "mean of 1 / P"),
    "harmonic": ("effective_step_size_harmonic", "harmonic mean of 1 / P"),
    "cosine": ("nu_stationary_cosine", "cos(ν, ν̄)"),
    "speeds": ("", "speed of descent (1 / step)"),
}
OF_ONE = {
    "gradient": ("grad_sq_coordinates", "(∂L/∂wᵢ)²"),
    "nu": ("nu_coordinates", "νᵢ"),
    "step": ("step_size_coordinates", "1 / Pᵢ"),
    "harmonic": ("step_size_coordinates", "1 / Pᵢ"),
}


class GradientView(StepView):
    key = "gradients"
    title = "Gradients and ν"
    caption = "Mostly oscillation."
    y_label = SERIES["gradient"][1]
    options = {
        "scale": LOG_OR_LINEAR,
        "unit": UNITS,
        "weight": {ALL: "all weights"} | {str(i): f"weight {i + 1}" for i in range(COORDINATES)},
    }

    def __init__(self, canvas: Canvas):
        super().__init__(canvas)
        self.hidden = {"rod pred."}

    def make_curves(self) -> Sequence[Curve]:
        return (
            _curve("discrete", "raw", stroke="raw", when=_is_gradient),
            _curve("discrete", "smoothed", when=_is_gradient, smooth=True),
            _curve("discrete", "optimizer", when=_is_adapted),
            _curve("stable", "stable", when=_is_of_flows),
            *(_curve(flow, legend, when=_is_of_flows) for flow, legend in COMPARED.items()),
            _curve("rod", "rod", when=_is_own),
            _curve("rod", "rod pred.", stroke="rod_predicted", when=_is_gradient, predicted=True),
            _curve("central", "central", when=_is_own),
            _curve("central", "central pred.", stroke="central_predicted", when=_is_gradient, predicted=True),
            _stationary_nu(),
            curve("central", "nu_stationary_cosine", "ν and its stationary value", label="cosine", when=_is_cosine),
            _speed("speed_stationary", "stationary P̄", "stationary"),
            _speed("speed_minimal_trace", "least trace P̂", "stationary_limit"),
            _speed("speed_vanilla", "gradient descent at η = 2/S", "average"),
        )

    @property
    def offers(self) -> list[dict[str, Any]]:
        """The choices for the page: a weight only where there are series of one."""
        return [offer for offer in super().offers if offer["name"] != "weight" or self.choices["unit"] in OF_ONE]

    def choose(self, option: str, value: str) -> None:
        if option == "unit" and "cosine" in (value, self.choices["unit"]):
            super().choose("scale", "linear" if value == "cosine" else "log")  # a cosine near 1 has no decades
        if option == "weight" and self.choices["weight"] == ALL:
            self.hidden.discard("rod pred.")  # of one weight, predictions are all that is drawn of the rod
        super().choose(option, value)
        of_one = self.choices["weight"] != ALL and self.choices["unit"] in OF_ONE
        self.figure.yaxis.axis_label = (OF_ONE if of_one else SERIES)[self.choices["unit"]][1]

    def note(self, reading: Reading) -> str:
        unit, kind = _unit(reading), KINDS[reading.config.optimizer][1]
        observed = reading.config.observe
        if unit not in OF_ONE:
            if reading.config.optimizer != "rmsprop":
                return "The stationary preconditioner is known for RMSProp only."
            return "" if "stationary" in observed else _switch_on("the stationary preconditioner", "Stationary ν")
        if unit != "gradient" and kind == "identity":
            return "This optimizer does not adapt its step sizes: it has no ν."
        if _weight(reading) is None:
            return ""
        if "coordinates" not in observed:
            return _switch_on("single weights", "Ten weights")
        return "All weights share one ν: this optimizer has none of a single weight." if unit != "gradient" and kind == "scalar" else ""


def _switch_on(what: str, box: str) -> str:
    return f"This run does not observe {what}: tick “{box}” under More, Observe, and run again."


def _curve(
    flow: str, legend: str, *, when: Callable[[Reading], bool], stroke: str = "", smooth: bool = False, predicted: bool = False
) -> Curve:
    """The unit's series of a flow, or its series of the chosen weight; a weight's squared gradient is a prediction by itself."""

    def read(reading: Reading) -> np.ndarray:
        weight = _weight(reading)
        name, _ = (SERIES if weight is None else OF_ONE)[_unit(reading)]
        values = reading.series(flow, f"predicted_{name}" if predicted and weight is None else name, weight)
        return reading.unless_settling(flow, values) if predicted else values

    label = FLOW_NAMES[flow] + (", smoothed" if smooth else ", predicted" if predicted else "")
    column = Column(f"{flow}.gradients.{legend}", only(when, read), smooth)
    return Curve(column, legend, label, flow, STROKES[stroke or flow], flow == "discrete", when)


def _stationary_nu() -> Curve:
    def when(reading: Reading) -> bool:
        return _unit(reading) == "nu" and _weight(reading) is not None and {"stationary", "coordinates"} <= set(reading.config.observe)

    def read(reading: Reading) -> np.ndarray:
        return reading.series("central", "nu_stationary_coordinates", _weight(reading))

    column = Column("central.nu_stationary", only(when, read))
    return Curve(column, "ν̄, stationary", "stationary value ν̄", "central", STROKES["central_predicted"], when=when)


def _speed(series: str, legend: str, stroke: str) -> Curve:
    return curve("central", series, legend, stroke=stroke, label=legend, when=_is_speeds)


def _unit(reading: Reading) -> str:
    return reading.options.get(UNIT, "gradient")


def _weight(reading: Reading) -> int | None:
    """Which of the ten weights is drawn, None for all weights together."""
    weight = reading.options.get(WEIGHT, ALL)
    return None if weight == ALL else int(weight)


def _is_gradient(reading: Reading) -> bool:
    return _unit(reading) == "gradient"


def _is_adapted(reading: Reading) -> bool:
    return _unit(reading) in ("nu", "step", "harmonic")


def _is_of_flows(reading: Reading) -> bool:
    return _unit(reading) in OF_ONE


def _is_own(reading: Reading) -> bool:
    """Whether the central and the rod flow have a value beside what they predict."""
    return _is_adapted(reading) or (_is_gradient(reading) and _weight(reading) is None)


def _is_cosine(reading: Reading) -> bool:
    return _unit(reading) == "cosine" and "stationary" in reading.config.observe


def _is_speeds(reading: Reading) -> bool:
    return _unit(reading) == "speeds" and "stationary" in reading.config.observe
