"""[CF] 1 to 13, 23, 38 and 39: gradient descent and its central flow."""

from __future__ import annotations

from cflows_core.gallery.descent.architectures import ARCHITECTURES
from cflows_core.gallery.descent.averages import AVERAGES
from cflows_core.gallery.descent.central import CENTRAL
from cflows_core.gallery.descent.limits import LIMITS
from cflows_core.gallery.descent.quadratic import QUADRATIC
from cflows_core.gallery.descent.trajectory import TRAJECTORY
from cflows_core.gallery.figure import Figure


def _number(figure: Figure) -> float:
    """Of the figure in [CF]; what is from elsewhere comes last."""
    paper, _, number = figure.name.partition("-")
    return int(number) if paper == "cf" else float("inf")


DESCENT: tuple[Figure, ...] = tuple(sorted((*QUADRATIC, *TRAJECTORY, *CENTRAL, *AVERAGES, *ARCHITECTURES, *LIMITS), key=_number))
