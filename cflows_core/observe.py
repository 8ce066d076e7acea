"""From the flows' states to the series of one frame: what needs two flows, the test set or the valley is put together here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from cflows_core.flows.base import padded
from cflows_core.frames import Value
from cflows_core.valley import Valley

if TYPE_CHECKING:
    from cflows_core.simulation import Simulation

AT_EDGE = 0.98  # share of the threshold at which the valley's basis is fixed anew


def observe(simulation: Simulation) -> tuple[dict[str, dict[str, Value]], dict[str, float]]:
    """The series of every flow at the present step, and the flows' distances to the discrete centre (math.md 9)."""
    states, config = simulation.states, simulation.config
    flows: dict[str, dict[str, Value]] = {}
    distance: dict[str, float] = {}
    for name, state in states.items():
        flows[name] = {"gradients": simulation.spent(name)}
        if not state.stopped or name == "discrete":
            flows[name] |= simulation.flow(name).series(state)
    discrete = states["discrete"]
    if not discrete.stopped:
        for name, state in _going(states):
            centre = discrete.centre if simulation.starts_between(name) else discrete.midpoint
            distance[name] = float((state.point.w - centre.w).norm())
        _compare(simulation, flows)
    if "test" in config.observe and simulation.problem.test is not None and not discrete.stopped:
        test_loss, accuracy = simulation.problem.test.score(simulation.objective, discrete.point.w)
        flows["discrete"] |= {"test_loss": test_loss, "test_accuracy": accuracy}
    if "outputs" in config.observe and simulation.problem.test is not None:
        example = simulation.problem.test.inputs[:1]
        for name, state in states.items():
            if not state.stopped:
                flows[name]["outputs"] = simulation.objective.outputs(state.point.w, example)[0].cpu().numpy().astype(float)
    if "valley" in config.observe:
        _see_valley(simulation, flows)
    return flows, distance


def _going(states: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, state) for name, state in states.items() if name != "discrete" and not state.stopped]


def _compare(simulation: Simulation, flows: dict[str, dict[str, Value]]) -> None:
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


def _see_valley(simulation: Simulation, flows: dict[str, dict[str, Value]]) -> None:
    """Fix the plane when the flows start and again when the optimizer reaches the edge; then place every flow in it."""
    discrete = simulation.states["discrete"]
    if len(simulation.states) > 1 and not discrete.stopped:
        at_edge = bool(len(discrete.values)) and float(discrete.values[0]) >= AT_EDGE * simulation.optimizer.threshold
        if simulation.valley is None or (at_edge and not simulation._at_edge):
            near = discrete.values > 0.5 * simulation.optimizer.threshold
            modes = discrete.modes[:, : max(1, int(near.sum()))]
            centre = discrete.centre
            _, gradient = simulation.flow("discrete").loss_and_grad(centre)
            simulation.valley = Valley.at(centre.w, modes, simulation.optimizer.velocity(centre, gradient), simulation.step)
            simulation._at_edge = at_edge
    valley = simulation.valley
    if valley is None:
        return
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
