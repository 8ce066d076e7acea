"""[CF] Figure 16 from one point at the edge: flows of several learning rates that start with the same weights and the same step size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.flows.ablations import CentralNoCurvature
from cflows_core.flows.base import Options
from cflows_core.flows.central import Central
from cflows_core.flows.discrete import Discrete
from cflows_core.frames import Frame
from cflows_core.gallery.adaptive.parts import LOSS, significant
from cflows_core.gallery.figure import Arrays
from cflows_core.history import History
from cflows_core.optimizers import Optimizer
from cflows_core.simulation import Simulation

EVERY = 2  # steps between the values kept


def from_common_point(config: RunConfig, rates: tuple[float, ...], at: int, steps: int) -> Arrays:
    """Optimizer, central flow and ablated flow of Scalar RMSProp at each η, from where `config` is at step `at`.

    ν is scaled by (η'/η)², so that all start with the same P̃, and 2/S is the step of all from then on. Arrays [rows]: "step" since
    then, and "loss FLOW η", "step size FLOW η", "sharpness FLOW η"; the optimizer's loss is at midpoints.
    """
    simulation = Simulation(config.replace(flows=["discrete"], warm_start=at))
    simulation.advance(steps=at + 1)
    arrays: Arrays = {"step": np.arange(0, steps + 1, EVERY)}
    for lr in rates:
        for flow, series in _run(simulation, config, lr, steps).items():
            arrays |= {f"{name} {flow} {lr:g}": significant(values[::EVERY]) for name, values in series.items()}
    return arrays


def _run(simulation: Simulation, config: RunConfig, lr: float, steps: int) -> dict[str, Arrays]:
    discrete, scale, optimizer = simulation.states["discrete"], (lr / config.lr) ** 2, Optimizer.of(config.replace(lr=lr))
    start = Discrete(simulation.objective, simulation.optimizer, Options()).start(discrete, True)
    assert start.state.nu is not None
    start = replace(start, state=replace(start.state, nu=scale * start.state.nu))
    options = Options(n_eigs=config.n_eigs)
    flows = {kind.name: kind(simulation.objective, optimizer, options) for kind in (Discrete, Central, CentralNoCurvature)}
    iterates = {name: getattr(discrete, name) for name in ("before", "point", "after")}
    states: dict[str, Any] = {name: flow.init(start) for name, flow in flows.items() if name != "discrete"}
    states["discrete"] = replace(discrete, **{name: replace(state, nu=scale * state.nu) for name, state in iterates.items()})
    history = History()
    for step in range(steps + 1):
        history.append([Frame(step, 0.0, 0.0, {name: flow.series(states[name]) for name, flow in flows.items()})])
        states = {name: flow.step(states[name]) for name, flow in flows.items()}
    return {flow: _kept(history, flow) for flow in flows}


def _kept(history: History, flow: str) -> Arrays:
    size = history.series(flow, "effective_step_size")
    return {
        "loss": history.series(flow, LOSS[flow]),
        "step size": size,
        "sharpness": history.series(flow, "effective_eigs")[:, 0] / size,
    }
