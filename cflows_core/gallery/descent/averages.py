"""[CF] Figure 12: loss and squared gradient along gradient descent, and what its central flow predicts of their averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cflows_core.gallery.descent.settings import grown, of_vit
from cflows_core.gallery.figure import Claim, Data, Figure, Finding
from cflows_core.gallery.measures import per_cent, smooth
from cflows_core.measure import mean_relative_error
from cflows_core.palette import STROKES
from cflows_core.panels import Curve, Panel, hide_settling
from cflows_core.store import Run

# Largest mean relative error: of the loss what a plot of this height does not show, of the gradient a variance's (central.py).
LIMITS = {"loss": 0.05, "grad_norm_sq": 0.25}


def averaged(run: Run, name: str, title: str, y: str, log: str = "") -> Panel:
    """A series of the optimizer, raw and smoothed, the central flow's own, and the average that it predicts: `predicted_` name.

    From the start of the flows on.
    """
    raw = since_start(run, name)
    curves = (
        Curve(run.steps, raw, STROKES["raw"], "Optimizer"),
        Curve(run.steps, smooth(run, raw), STROKES["discrete"], "Smoothed"),
        Curve(run.steps, run.series("central", name), STROKES["central"], "Central flow"),
        Curve(run.steps, _predicted(run, name), STROKES["central_predicted"], "Predicted average"),
    )
    return Panel(title, curves, y, log=log).zoomed(run.config.warm_start, run.steps[-1])


def since_start(run: Run, name: str) -> np.ndarray:
    """A series of the optimizer, NaN before its flows start: the first steps from the initial weights fill no plot."""
    values = run.series("discrete", name)
    return np.where(run.steps.reshape(-1, *[1] * (values.ndim - 1)) < run.config.warm_start, np.nan, values)


def error(run: Run, name: str) -> float:
    """Mean relative error of a predicted average against the optimizer's smoothed series, once its oscillation has grown."""
    guess = np.where(grown(run), _predicted(run, name), np.nan)
    return mean_relative_error(guess, smooth(run, since_start(run, name)))


def _predicted(run: Run, name: str) -> np.ndarray:
    return hide_settling(run, run.series("central", f"predicted_{name}"))


def _panels(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    loss, gradient = (
        averaged(run, "loss", "Train loss", "loss"),
        averaged(run, "grad_norm_sq", "Squared gradient", "|∇L|²", log="y"),
    )
    end = run.steps[-1]
    return [loss, gradient, loss.titled("Train loss, last third").zoomed(end - len(run.steps) // 3, end)]


def _higher(data: Data) -> Finding:
    run = data["vit"]
    raw, own = (run.series(flow, "loss") for flow in ("discrete", "central"))
    at_edge, oscillating = (float(np.mean((raw > own)[rows])) for rows in (run.series("central", "rank") > 0, grown(run)))
    excess = per_cent(float(np.mean((raw / own - 1)[grown(run)])))
    number = f"At {per_cent(at_edge)} of the steps at the edge, at {per_cent(oscillating)} after the first spike, by {excess} on average."
    return Finding(number, oscillating > 0.95)  # "consistently", once it oscillates


def _smaller(data: Data) -> Finding:
    run = data["vit"]
    raw, own = (float(run.series(flow, "grad_norm_sq")[grown(run)].mean()) for flow in ("discrete", "central"))
    return Finding(f"{own:.4f} along the central flow, {raw:.4f} at the iterates on average: {raw / own:.0f} times.", raw > 3 * own)


def _predicts(name: str) -> Callable[[Data], Finding]:
    def measure(data: Data) -> Finding:
        run = data["vit"]
        rows, off = grown(run), error(run, name)
        ratio = float(np.nanmean(_predicted(run, name)[rows]) / np.nanmean(smooth(run, since_start(run, name))[rows]))
        number = f"After the first spike its mean is {ratio:.2f} times the smoothed one's; they differ by {per_cent(off)} on average."
        return Finding(number, off < LIMITS[name])

    return measure


AVERAGES: tuple[Figure, ...] = (
    of_vit(
        name="cf-12",
        source="[CF] Figure 12",
        title="Loss and squared gradient, and their predicted averages",
        caption="Gradient descent jumps between the walls of a valley, the central flow runs along its floor: so its loss and its "
        "gradient are smaller. But it knows how wide the jumps are, and from that foretells the averages on the walls.",
        panels=_panels,
        claims=(
            Claim("The loss of gradient descent is consistently higher than along the central flow.", _higher),
            Claim("The squared gradient along the central flow is much smaller than at the iterates.", _smaller),
            Claim("The predicted time average of the loss is close to the smoothed loss.", _predicts("loss")),
            Claim("The predicted time average of the squared gradient is close to the smoothed one.", _predicts("grad_norm_sq")),
        ),
    ),
)
