"""From the flows' states to the series of one frame: what needs two flows, the test set or the valley is put together here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cflows_core.flows import predictions
from cflows_core.flows.base import padded
from cflows_core.flows.comparison import Preconditioners
from cflows_core.frames import COORDINATES, Value
from cflows_core.valley import Valley

if TYPE_CHECKING:
    from cflows_core.simulation import Simulation

STATIONARY_EVERY = 10  # steps that stationary preconditioners may be old: finding them costs tens of gradients
AT_EDGE = 0.98  # share of the threshold at which the valley's basis is fixed anew

Frames = dict[str, dict[str, Value]]


@dataclass(frozen=True)
class Watch:
    """What observing remembers from one step to the next.

    valley: the plane, once it is fixed. at_edge: whether it was fixed at the edge. coordinates [≤ 10]: the weights whose own series are
    kept. preconditioners: RMSProp's stationary ones and what they are compared with, at most ten steps old.
    """

    valley: Valley | None = None
    at_edge: bool = False
    coordinates: Tensor | None = None
    preconditioners: Preconditioners | None = None


NESTED: dict[str, type] = {"valley": Valley, "preconditioners": Preconditioners}


def observe(simulation: Simulation) -> tuple[Frames, dict[str, float], Watch]:
    """The series of every flow at the present step, and the flows' distances to the discrete centre (math.md 9)."""
    states, asked, watch = simulation.states, simulation.config.observe, simulation.watch
    flows: Frames = {}
    distance: dict[str, float] = {}
    for name, state in states.items():
        flows[name] = {"gradients": simulation.spent(name)}
        if not state.stopped or name == "discrete":
            flows[name] |= simulation.flow(name).series(state)
    discrete = states["discrete"]
    if not discrete.stopped:
        for name, state in _going(states):
            distance[name] = float((state.point.w - simulation.centre(name)).norm())
        _compare(simulation, flows)
        if "average" in asked:
            flows["discrete"]["loss_average"] = simulation.objective.loss(discrete.average)
            flows["discrete"]["average_distance"] = float((discrete.average - simulation.centre("discrete")).norm())
        if "test" in asked and simulation.problem.test is not None:
            test_loss, accuracy = simulation.problem.test.score(simulation.objective, discrete.point.w)
            flows["discrete"] |= {"test_loss": test_loss, "test_accuracy": accuracy}
    if "outputs" in asked and simulation.problem.test is not None:
        _see_outputs(simulation, flows, simulation.problem.test.inputs[:1])
    if "coordinates" in asked:
        watch = _see_coordinates(simulation, flows, watch)
    if "stationary" in asked:
        watch = _see_stationary(simulation, flows, watch)
    if "valley" in asked:
        watch = _see_valley(simulation, flows, watch)
    return flows, distance, watch


def _going(states: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, state) for name, state in states.items() if name != "discrete" and not state.stopped]


def _compare(simulation: Simulation, flows: Frames) -> None:
    """Series that hold a flow against the discrete iterates."""
    states = simulation.states
    discrete = states["discrete"]
    for name, state in _going(states):
        if name == "rod":
            zeta, delta = state.zeta, discrete.half_difference
            norms = float(zeta.norm() * delta.norm())
            flows[name]["alignment"] = abs(float(zeta @ delta)) / norms if norms > 0 else float("nan")
        if name == "central" and len(state.variances):
            # Half a step from both iterates after a warm start: both count.
            iterates = [discrete.point, discrete.after] if simulation.starts_between(name) else [discrete.point]
            x = simulation.optimizer.gradient_point  # Σ is the covariance of the points where gradients are taken
            displacements = torch.stack([x(iterate) - x(state.point) for iterate in iterates])
            measured = simulation.flow(name).measured_variance(state, displacements)  # type: ignore[attr-defined]
            flows[name]["measured_variance"] = padded(measured, simulation.config.n_eigs)


def _see_outputs(simulation: Simulation, flows: Frames, example: Tensor) -> None:
    """The network's outputs on one example at every flow's point, and what central flow and rod predict of the optimizer's average."""

    def outputs(w: Tensor) -> Tensor:
        return simulation.objective.outputs(w, example)[0]

    for name, state in simulation.states.items():
        if state.stopped:
            continue
        w = state.point.w
        flows[name]["outputs"] = _plain(outputs(w))
        if name == "rod":
            flows[name]["predicted_outputs"] = _plain((outputs(w + state.zeta) + outputs(w - state.zeta)) / 2)
        elif name == "central" and not state.settling:
            variances = state.variances / simulation.optimizer.swing**2  # of the iterates
            flows[name]["predicted_outputs"] = _plain(predictions.expectation(outputs, w, state.modes, variances))


def _plain(values: Tensor) -> Value:
    return values.detach().cpu().numpy().astype(float)


def _see_coordinates(simulation: Simulation, flows: Frames, watch: Watch) -> Watch:
    """Ten weights spread evenly over those that had a gradient at the first step: one that has none never moves."""
    if watch.coordinates is None:
        alive = simulation.states["discrete"].gradient.nonzero()[:, 0]
        chosen = torch.linspace(0, len(alive) - 1, min(COORDINATES, len(alive)), device=alive.device).long()
        watch = replace(watch, coordinates=alive[chosen])
    chosen = watch.coordinates
    assert chosen is not None
    for name, state in simulation.states.items():
        if state.stopped:
            continue
        flow = simulation.flow(name)
        flows[name]["grad_sq_coordinates"] = padded(flow.squared_gradients(state)[chosen], COORDINATES)
        point = flow.adapted(state)
        if point.nu is not None and point.nu.ndim:
            flows[name]["nu_coordinates"] = padded(point.nu[chosen], COORDINATES)
            flows[name]["step_size_coordinates"] = padded(1 / flow.optimizer.preconditioner(point)[chosen], COORDINATES)
    return watch


def _see_stationary(simulation: Simulation, flows: Frames, watch: Watch) -> Watch:
    """The central flow's ν against its stationary value, and how fast the loss would fall under three preconditioners."""
    state = simulation.states.get("central")
    if state is None or state.stopped:
        return watch
    flow, found = simulation.flow("central"), watch.preconditioners
    if found is None or simulation.step % STATIONARY_EVERY == 0:
        found = Preconditioners.at(flow, state.point, state.gradient, found)
    flows["central"] |= found.series(flow, state.point, state.gradient)
    if watch.coordinates is not None:
        flows["central"]["nu_stationary_coordinates"] = padded(found.nu(flow, state.point)[watch.coordinates], COORDINATES)
    return replace(watch, preconditioners=found)


def _see_valley(simulation: Simulation, flows: Frames, watch: Watch) -> Watch:
    """Fix the plane when the flows start and again when the optimizer reaches the edge; then place every flow in it."""
    discrete = simulation.states["discrete"]
    if len(simulation.states) > 1 and not discrete.stopped:
        at_edge = bool(len(discrete.values)) and float(discrete.values[0]) >= AT_EDGE * simulation.optimizer.threshold
        if watch.valley is None or (at_edge and not watch.at_edge):
            near = discrete.values > 0.5 * simulation.optimizer.threshold
            modes = discrete.modes[:, : max(1, int(near.sum()))]
            centre = discrete.centre
            _, gradient = simulation.flow("discrete").loss_and_grad(centre)
            valley = Valley.at(centre.w, modes, simulation.optimizer.velocity(centre, gradient), simulation.step)
            watch = replace(watch, valley=valley, at_edge=at_edge)
    valley = watch.valley
    if valley is None:
        return watch
    for name, state in simulation.states.items():
        if state.stopped:
            continue
        flows[name]["valley"] = valley.coordinates(state.point.w)
        if name == "discrete":
            flows[name] |= {"valley_basis": float(valley.step), "valley_centre": valley.coordinates(state.centre.w)}
        elif name == "rod":
            flows[name]["valley_extent"] = valley.project(state.zeta)
        elif name == "central" and not state.settling:
            # Σ is that of the gradient points; what is drawn here are iterates.
            variances = state.variances / simulation.optimizer.swing**2
            flows[name]["valley_covariance"] = valley.covariance(state.modes, variances)
    return watch
