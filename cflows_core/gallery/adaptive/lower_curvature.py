"""[CF] Figures 22 and 41: RMSProp optimizes faster later because it regularises curvature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.flows.comparison import vanilla_preconditioner
from cflows_core.flows.stationary_dual import minimal_trace_preconditioner
from cflows_core.gallery.adaptive import contest
from cflows_core.gallery.adaptive.contest import HARMONIC
from cflows_core.gallery.adaptive.parts import ABLATED, LOSS, of_flows, significant
from cflows_core.gallery.adaptive.settings import RMSPROP_ELSEWHERE
from cflows_core.gallery.figure import Arrays, Claim, Data, Figure, Finding, Stored, Study
from cflows_core.gallery.measures import per_cent
from cflows_core.palette import FLOW_LABELS, STROKES
from cflows_core.panels import Curve, Panel
from cflows_core.presets import PRESETS
from cflows_core.simulation import Simulation

LARGE = PRESETS["fig-22"].config.replace(observe=[])
SMALL = LARGE.replace(lr=0.005)
TRIO = ("discrete", "central", ABLATED)


def curvatures(config: RunConfig, every: int) -> Arrays:
    """λ_max(H) and tr P̂(w)/p ([CF] eq. 36), which depend on w alone, at every so many steps of a run with the flows TRIO.

    Arrays [points]: "step", and "sharpness FLOW" and "trace FLOW"; the optimizer's are taken between two iterates.
    """
    simulation, steps, rows = Simulation(config), [], []
    for frame in simulation:
        if frame.step >= config.warm_start and frame.step % every == 0:
            steps.append(frame.step)
            points = [simulation.centre("discrete"), *(simulation.states[name].point.w for name in TRIO[1:])]
            rows.append([_curvature(simulation, w) for w in points])
    found = np.array(rows)
    arrays = {"step": np.array(steps)}
    for at, flow in enumerate(TRIO):
        arrays |= {f"sharpness {flow}": significant(found[:, at, 0]), f"trace {flow}": significant(found[:, at, 1])}
    return arrays


def _curvature(simulation: Simulation, w) -> tuple[float, float]:
    product = partial(simulation.objective.hvp, w)
    trace = float(minimal_trace_preconditioner(product, w, tol=1e-3).P.mean())
    return 2 * float(vanilla_preconditioner(product, w, tol=1e-4)), trace


def _of_study(found: Arrays, name: str, title: str, y: str) -> Panel:
    return Panel(title, tuple(Curve(found["step"], found[f"{name} {flow}"], STROKES[flow], FLOW_LABELS[flow]) for flow in TRIO), y)


def _panels(data: Data) -> Sequence[Panel]:
    large, small = data["η = 0.01"], data["η = 0.005"]
    found = data.studies["curvature"]
    return [
        of_flows(large, LOSS, "Train loss", "loss", log="y"),
        _of_study(found, "sharpness", "Sharpness of the Hessian", "λ_max(H)"),
        _of_study(found, "trace", "Least trace of a preconditioner", "tr P̂/p"),
        of_flows(large, HARMONIC, "Effective step sizes", "harmonic mean"),
        of_flows(small, LOSS, "Train loss, η = 0.005", "loss", log="y"),
        of_flows(small, HARMONIC, "Effective step sizes, η = 0.005", "harmonic mean"),
    ]


# -- what is claimed --------------------------------------------------------------------------------------------------------------
def _lower(data: Data) -> Finding:
    found = data.studies["curvature"]
    S, trace = ([found[f"{name} {flow}"][-1] for flow in TRIO] for name in ("sharpness", "trace"))
    words = f"At last λ_max(H) is {S[1]:.1f} against {S[2]:.1f} (optimizer {S[0]:.1f}), tr P̂/p {trace[1]:.2f} against {trace[2]:.2f}."
    return Finding(words, bool(S[1] < S[2] and trace[1] < trace[2]))


def _sharper(data: Data) -> Finding:
    """Into sharper regions: λ_max(H) is higher at last than at first, and so is tr P̂."""
    found = [data.studies[name] for name in ("curvature", "curvature, η = 0.005")]
    S = [study[f"sharpness {ABLATED}"][[0, -1]] for study in found]
    trace = [study[f"trace {ABLATED}"][[0, -1]] for study in found]
    words = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in S)
    also = ", ".join(f"{a:.2f} to {b:.2f}" for a, b in trace)
    return Finding(f"λ_max(H) goes from {words} (η = 0.01, 0.005), tr P̂/p from {also}.", all(b > a for a, b in (*S, *trace)))


def _follows(data: Data) -> Finding:
    """Within 2 per cent: losses at midpoints lie a little above those at the centre of the oscillation."""
    apart = {label: np.abs(run.series("discrete", "loss_midpoint") / run.series("central", "loss") - 1) for label, run in data.runs.items()}
    words = " and ".join(f"{per_cent(float(np.nanmedian(values)))} ({label})" for label, values in apart.items())
    return Finding(
        f"Its loss is {words} from the optimizer's, in the median.", all(np.nanmedian(values) < 0.02 for values in apart.values())
    )


CF22 = Figure(
    name="cf-22",
    source="[CF] Figure 22",
    title="Acceleration by regularisation: RMSProp",
    caption="The same central flow with and without the force of its oscillations on the curvature. Without it the curvature does not "
    "come down, steps stay small, and the loss falls behind after a short lead.",
    theirs="[CF]: a ResNet on CIFAR-10, η = 2e-5, β₂ = 0.99, MSE.",
    ours="Here: the digits MLP, η = 0.01 and 0.005, flows from step 100 on. Curvature is λ_max(H), and tr P̂/p of the least-trace "
    "preconditioner.",
    preset="fig-22",
    runs={"η = 0.01": Stored("fig-22", LARGE), "η = 0.005": Stored("fig-22-small", SMALL)},
    studies={
        "curvature": Study("fig-22-curvature", partial(curvatures, LARGE, 20)),
        "curvature, η = 0.005": Study("fig-22-small-curvature", partial(curvatures, SMALL, 50)),
    },
    panels=_panels,
    claims=(
        Claim("The central flow takes a path of lower curvature.", _lower),
        Claim("It takes larger steps there.", contest.larger),
        Claim("It optimizes faster.", contest.faster),
        Claim("As in Figure 16, it is slower at first.", contest.slower_first),
        Claim("Without regularisation the flow goes into increasingly sharp regions.", _sharper),
        Claim("The central flow follows RMSProp.", _follows),
    ),
)

CF41 = Figure(
    name="cf-41",
    source="[CF] Figure 41",
    title="Acceleration by regularisation: RMSProp elsewhere",
    caption="Figure 22 on two more networks, one with both losses: central flow and optimizer, and the flow without regularisation.",
    theirs="[CF]: more architectures; its text gives no settings.",
    ours="Here: a ResNet with both losses and a CNN on digits, from a warm start at the edge.",
    preset="fig-41",
    runs=RMSPROP_ELSEWHERE,
    panels=contest.panels,
    claims=contest.CLAIMS,
)
