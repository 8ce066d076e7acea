"""[CF] Figures 46 and 47: the stationary flow, RMSProp's time average as a flow of the weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cflows_core import panels
from cflows_core.config import RunConfig
from cflows_core.flows.base import Options, Start
from cflows_core.flows.comparison import cosine
from cflows_core.flows.stationary import Stationary
from cflows_core.gallery.adaptive.agreement import share
from cflows_core.gallery.adaptive.parts import LOSS, flow_curve, from_start, hued, row, significant
from cflows_core.gallery.adaptive.settings import RATE, TRAJECTORY
from cflows_core.gallery.figure import Arrays, Claim, Data, Figure, Finding, Study
from cflows_core.gallery.measures import per_cent
from cflows_core.optimizers import Optimizer
from cflows_core.panels import Curve, Panel
from cflows_core.simulation import Simulation
from cflows_core.store import Run

EVERY = 20  # steps between the points
ARRIVED = 0.9  # cosine of ν and ν̄ from which ν counts as stationary


def rates(config: RunConfig) -> Arrays:
    """How fast the loss falls along RMSProp's central flow, and how fast it would fall there along the stationary flow (eq. 37).

    Arrays [points], where the central flow is at the edge: "step", "central" (half of L(t−1) − L(t+1)), "stationary" (−∇L·dw/dt at the same
    weights, which is all it knows) and "cosine" of ν and ν̄.
    """
    simulation = Simulation(config.replace(flows=["central"], observe=[], record_every=1))
    flow = Stationary(simulation.objective, Optimizer.of(config), Options(n_eigs=config.n_eigs))
    losses, found, at_rest = {}, [], None
    for frame in simulation:
        if "central" not in frame.flows or "loss" not in frame.flows["central"]:
            continue
        losses[frame.step] = float(frame.flows["central"]["loss"])
        state = simulation.states["central"]
        if frame.step % EVERY or not len(state.variances) or state.settling:
            continue
        if at_rest is None or at_rest.stopped:
            at_rest = flow.init(Start(state.point, state.point, state.gradient * 0))
        else:
            at_rest = flow.changed(replace(at_rest, point=state.point))
        if not at_rest.stopped and state.point.nu is not None and at_rest.point.nu is not None:
            rate = -float(at_rest.gradient @ flow.velocity(at_rest))
            found.append((frame.step, rate, cosine(state.point.nu, at_rest.point.nu)))
    kept = [row for row in found if row[0] - 1 in losses and row[0] + 1 in losses]
    steps, stationary, near = np.array(kept).T
    central = np.array([(losses[int(step) - 1] - losses[int(step) + 1]) / 2 for step in steps])
    return {"step": steps, "central": significant(central), "stationary": significant(stationary), "cosine": significant(near)}


# -- Figure 46 --------------------------------------------------------------------------------------------------------------------
def _panels_46(data: Data) -> Sequence[Panel]:
    drawn = []
    for label, found in data.studies.items():
        pair = (
            Curve(found["step"], found["central"], hued("central"), "Central flow"),
            Curve(found["step"], found["stationary"], hued("stationary", dash=(6, 3)), "Stationary flow there"),
        )
        drawn.append(Panel(f"Rate of loss decrease, {label}", pair, "loss a step", log="y"))
        drawn.append(Panel(f"Cosine with stationary ν, {label}", (Curve(found["step"], found["cosine"], hued("central")),), "cosine"))
    return drawn


def _errors(found: Arrays, arrived: bool) -> np.ndarray:
    rows = found["cosine"] > ARRIVED if arrived else found["cosine"] <= ARRIVED
    return np.abs(found["stationary"] / found["central"] - 1)[rows]


def _rate(data: Data) -> Finding:
    """Accurately: within 20 per cent in the median, once ν is near its stationary value."""
    found = {label: _errors(study, True) for label, study in data.studies.items()}
    words = ", ".join(
        f"{per_cent(float(np.median(errors)))} in {len(errors)} points ({label})" for label, errors in found.items() if len(errors)
    )
    return Finding(f"Off by {words} in the median.", all(len(errors) and np.median(errors) < 0.2 for errors in found.values()))


def _before(data: Data) -> Finding:
    early, late = (np.concatenate([_errors(study, arrived) for study in data.studies.values()]) for arrived in (False, True))
    words = (
        f"Off by {per_cent(float(np.median(early)))} while the cosine is below {ARRIVED}, by {per_cent(float(np.median(late)))} above it."
    )
    return Finding(words, bool(np.median(late) < np.median(early)))


# -- Figure 47 --------------------------------------------------------------------------------------------------------------------
def _panels_47(data: Data) -> Sequence[Panel]:
    drawn = []
    for label, run in data.runs.items():
        loss = tuple(flow_curve(run, flow, run.series(flow, LOSS.get(flow, "loss"))) for flow in run.config.flows)
        both = (Panel(f"Train loss, {label}", loss, "loss", log="y"), panels.distance(run).titled(f"Distance, {label}"))
        drawn += [from_start(run, panel) for panel in both]
    return drawn


def _fall(run: Run, flow: str) -> float:
    """How much of the optimizer's fall of the loss, at midpoints, a flow's loss has made since the flows started."""
    first = row(run, run.config.warm_start)
    optimizer, own = run.series("discrete", "loss_midpoint"), run.series(flow, "loss")
    return float((own[first] - own[-1]) / (optimizer[first] - optimizer[-1]))


def _tolerable(data: Data) -> Finding:
    """Tolerably: at last within a quarter of the path travelled."""
    found = {label: (share(run, "stationary"), _fall(run, "stationary")) for label, run in data.runs.items()}
    far, falls = (" and ".join(per_cent(pair[at]) for pair in found.values()) for at in (0, 1))
    stable = " and ".join(per_cent(share(run, "stable")) for run in data.runs.values())
    steps = next(iter(data.runs.values())).config.steps
    words = f"After {steps} steps it is {far} of the path away (stable flow: {stable}); its loss fell {falls} as far."
    return Finding(words, max(found.values())[0] < 0.25)


def _less(data: Data) -> Finding:
    found = {label: (share(run, "stationary"), share(run, "central")) for label, run in data.runs.items()}
    words = "; ".join(f"{label} {per_cent(a)} against {per_cent(b)}" for label, (a, b) in found.items())
    return Finding(f"Distance over path, stationary against central flow: {words}.", all(a > b for a, b in found.values()))


CF46 = Figure(
    name="cf-46",
    source="[CF] Figure 46",
    title="The stationary flow's rate of loss decrease",
    caption="At points of the central flow: how fast the loss falls there, and how fast the stationary flow, which knows the weights "
    "but not ν, says that it falls.",
    theirs="[CF]: several architectures with MSE (a) and cross-entropy (b); its text gives no settings.",
    ours="Here: a CNN (MSE) and an MLP (cross-entropy) on digits, every twenty steps along the central flow.",
    preset="fig-42",
    studies={label: Study(name, partial(rates, config)) for label, (name, config) in RATE.items()},
    panels=_panels_46,
    claims=(
        Claim("The stationary flow predicts the rate of loss decrease, though it knows only the weights.", _rate),
        Claim("It is accurate only once ν has reached stationarity.", _before),
    ),
)

CF47 = Figure(
    name="cf-47",
    source="[CF] Figure 47",
    title="The stationary flow against RMSProp",
    caption="RMSProp from a point at which ν has become stationary, and the stationary flow, which has the weights alone: its loss is "
    "near, its place less so. For so few steps even the stable flow is nearer.",
    theirs="[CF]: several architectures with MSE (a) and cross-entropy (b); its text gives no settings.",
    ours="Here: the digits MLP (MSE) and a CNN (cross-entropy), from a warm start that ends when ν is near its stationary value.",
    preset="fig-47",
    runs=TRAJECTORY,
    panels=_panels_47,
    claims=(
        Claim("The stationary flow tolerably predicts RMSProp's trajectory over moderate times.", _tolerable),
        Claim("It is less accurate than the full central flow.", _less),
    ),
)
