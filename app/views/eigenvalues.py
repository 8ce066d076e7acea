"""Largest eigenvalues of the effective Hessian P⁻¹H, against the critical threshold c at which oscillations begin (math.md 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cflows_app.streaming import Column, Reading
from cflows_app.views.base import LINEAR_OR_LOG, Curve, StepView
from cflows_app.views.curves import COMPARED, MODES, fade
from cflows_core.optimizers import KINDS
from cflows_core.palette import FLOW_NAMES, STROKES

UNIT = "eigenvalues.unit"


class EigenvalueView(StepView):
    key = "eigenvalues"
    title = "Eigenvalues"
    caption = "They rise to the edge of stability and stay there."
    y_label = "λ / c"
    decades = 3.0  # an eigenvalue on its way through zero does not push the others together
    options = {"scale": LINEAR_OR_LOG, "unit": {"edge": "λ / c", "raw": "raw"}}

    def make_curves(self) -> Sequence[Curve]:
        drawn = [("stable", 1), ("discrete", MODES), *((flow, 1) for flow in COMPARED), ("rod", MODES), ("central", MODES)]
        edge = Curve(Column("edge", _edge), "edge", "edge of stability", "discrete", STROKES["edge"])
        return (edge, *(_curve(flow, mode) for flow, modes in drawn for mode in range(modes)))

    def choose(self, option: str, value: str) -> None:
        super().choose(option, value)
        self.figure.yaxis.axis_label = "λ / c" if self.choices["unit"] == "edge" else "λ"


def _curve(flow: str, mode: int) -> Curve:
    def read(reading: Reading) -> np.ndarray:
        return _in_unit(reading, reading.series(flow, "effective_eigs", mode))

    column = Column(f"{flow}.effective_eigs.{mode}", read)
    legend = "optimizer" if flow == "discrete" else COMPARED.get(flow, flow)
    anchor = flow != "stable" and flow not in COMPARED
    return Curve(column, legend, f"{FLOW_NAMES[flow]}, λ{_SUBSCRIPTS[mode]}", flow, fade(STROKES[flow], mode), anchor)


def _edge(reading: Reading) -> np.ndarray:
    return _in_unit(reading, reading.threshold)


def _in_unit(reading: Reading, effective: np.ndarray) -> np.ndarray:
    """Effective eigenvalues [n] over the threshold c, or raw: sharpness where P = 1/η (divided by η of their time), else those of P⁻¹H."""
    if reading.options.get(UNIT) != "raw":
        return effective / reading.threshold
    return effective / reading.changed("lr") if KINDS[reading.config.optimizer][1] == "identity" else effective


_SUBSCRIPTS = "₁₂₃₄₅₆"
