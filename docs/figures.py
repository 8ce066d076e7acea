"""The tables of docs/figures.md: python docs/figures.py [16] [20] [21] [22] [annealing] (all take ten minutes; set OMP_NUM_THREADS=1)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from cflows_core import Frame, Optimizer, RunConfig, Simulation
from cflows_core.flows.ablations import CentralNoCurvature
from cflows_core.flows.base import Options
from cflows_core.flows.central import Central
from cflows_core.flows.comparison import Preconditioners, vanilla_preconditioner
from cflows_core.flows.discrete import Discrete
from cflows_core.flows.stationary_dual import minimal_trace_preconditioner
from cflows_core.history import History
from cflows_core.presets import get

LOSS = {"discrete": "loss_midpoint", "central": "loss", "central_no_curvature": "loss"}  # of each flow in Figures 16 and 22
STEP_SIZE = "effective_step_size"
HELD = ["losses", "first above second until", "by at most", "first below second at last"]


def run(config: RunConfig, at: Collection[int] = (), look: Callable[..., Any] | None = None) -> tuple[History, dict[int, Any]]:
    """A run's history, whose rows are its steps, and what `look`, given what it found before, found at the steps `at`."""
    simulation, history, found, last = Simulation(config), History(), {}, None
    for frame in simulation:
        history.append([frame])
        if look is not None and frame.step in at:
            found[frame.step] = last = look(simulation, last)
    return history, found


def table(title: str, rows: Iterable[Iterable[object]]) -> None:
    cells = [[str(cell) for cell in row] for row in rows]
    lines = (" | ".join(row) for row in (cells[0], ["---"] * len(cells[0]), *cells[1:]))
    print(f"{title}\n", *(f"| {line} |" for line in lines), "", sep="\n", flush=True)


def edge(history: History) -> int:
    """The first step at which the central flow oscillates."""
    return int(np.argmax(history.series("central", "rank") > 0))


def held_against(label: str, loss: np.ndarray, other: np.ndarray) -> list[object]:
    """A row under HELD of two losses [n]; what differs by less than 1e-7 is equal."""
    excess = 100 * (loss / other - 1)
    above = np.flatnonzero(excess > 1e-5)
    return [label, *((above[-1], f"{excess[above].max():.2f} %") if len(above) else ("never", "")), f"{-excess[-1]:.1f} %"]


def sharpness(history: History, flow: str) -> np.ndarray:
    """S [n] along a flow of Scalar RMSProp, which has one step size."""
    return history.series(flow, "effective_eigs")[:, 0] / history.series(flow, STEP_SIZE)


def figure_16a(config: RunConfig) -> None:
    history, _ = run(config)
    for flow in ("central", "central_no_curvature"):
        loss, size, S = (series[-1] for series in (history.series(flow, "loss"), history.series(flow, STEP_SIZE), sharpness(history, flow)))
        ends = f"at step {config.steps}: loss {loss:.4f}, step size {size:.3f}, sharpness {S:.1f}"
        print(f"Figure 16 (a), Scalar RMSProp, η = {config.lr:g}, edge at step {edge(history)}; {flow} {ends}\n", flush=True)


def from_common_point(lr: float, config: RunConfig, at: int = 475, steps: int = 600) -> History:
    """Optimizer and flows at η = `lr` from the point at which `config` is at step `at`, with ν scaled so that P̃ is the same there."""
    simulation = Simulation(config.replace(flows=["discrete"], warm_start=at))
    simulation.advance(steps=at + 1)
    discrete, scale, optimizer = simulation.states["discrete"], (lr / config.lr) ** 2, Optimizer.of(config.replace(lr=lr))
    start = Discrete(simulation.objective, simulation.optimizer, Options()).start(discrete, True)
    assert start.state.nu is not None
    start = replace(start, state=replace(start.state, nu=scale * start.state.nu))
    flows = {kind.name: kind(simulation.objective, optimizer, Options(n_eigs=8)) for kind in (Discrete, Central, CentralNoCurvature)}
    iterates = {name: getattr(discrete, name) for name in ("before", "point", "after")}
    states: dict[str, Any] = {name: flow.init(start) for name, flow in flows.items() if name != "discrete"}
    states["discrete"] = replace(discrete, **{name: replace(state, nu=scale * state.nu) for name, state in iterates.items()})
    history = History()
    for step in range(steps + 1):
        history.append([Frame(step, 0.0, 0.0, {name: flow.series(states[name]) for name, flow in flows.items()})])
        states = {name: flow.step(states[name]) for name, flow in flows.items()}
    return history


def figure_16b(config: RunConfig) -> None:
    runs = {lr: from_common_point(lr, config) for lr in (0.1, 0.3, 1.0)}
    steps = (10, 30, 50, 100, 200, 300, 600)
    losses = {(flow, lr): history.series(flow, name) for lr, history in runs.items() for flow, name in LOSS.items()}

    def row(label: str, lr: float, flow: str) -> list[str]:
        S, size = sharpness(runs[lr], flow), runs[lr].series(flow, STEP_SIZE)
        return [label, *(f"{losses[flow, lr][t]:.5f}" for t in steps), f"{size[-1]:.3f}", f"{S[0]:.1f} → {S[-1]:.1f}"]

    rows = [row("loss, ablated", config.lr, "central_no_curvature")]
    rows += [row(f"{label}, η = {lr:g}", lr, flow) for lr in runs for label, flow in (("central", "central"), ("optimizer", "discrete"))]
    apart = max(np.abs(losses["central_no_curvature", lr] / losses["central_no_curvature", config.lr] - 1).max() for lr in runs)
    title = f"Figure 16 (b), Scalar RMSProp's flows from one point at the edge; ablated losses of all η differ by {apart:.0e} at most."
    table(title, [["steps since", *steps, "step size 600", "sharpness 0 → 600"], *rows])
    pairs = [held_against(f"central, η = {lr:g}; ablated", losses["central", lr], losses["central_no_curvature", lr]) for lr in runs]
    for less, lr in ((0.1, 0.3), (0.3, 1.0)):
        pairs.append(held_against(f"central, η = {lr:g}; η = {less:g}", losses["central", lr], losses["central", less]))
    table("Figure 16 (b), the losses held against one another.", [HELD, *pairs])


class Point(NamedTuple):
    """What is compared at a point of RMSProp's central flow, with Σ of a rank: `Preconditioners.series`; the share of the weights with a
    gradient whose ν is within a factor 2 of ν̄; and ν/ν̄ of ten of them [10]."""

    found: Preconditioners
    rank: int
    series: dict[str, Any]
    within: float
    ratios: np.ndarray


def compared(simulation: Simulation, before: Point | None) -> Point:
    state, flow = simulation.states["central"], simulation.flow("central")
    found = Preconditioners.at(flow, state.point, state.gradient, before and before.found)
    ratios = (state.point.nu / found.nu(flow, state.point))[state.point.nu > 0].numpy()
    ten, within = ratios[np.linspace(0, len(ratios) - 1, 10).astype(int)], float(np.mean(np.abs(np.log2(ratios)) < 1))
    return Point(found, len(state.variances), found.series(flow, state.point, state.gradient), within, ten)


def figures_20_21(wanted: Collection[str]) -> None:
    lasts = {"fig-21-small": 1400, "fig-20": 1200, "fig-21-large": 600}
    small, middle, large = (get(name).config.replace(warm_start=0, steps=n, n_eigs=8, observe=[]) for name, n in lasts.items())
    fast = get("fig-20-fast").config.replace(warm_start=0, steps=500, observe=[])
    everies = {small: 50, middle: 20, middle.replace(lr=0.003, steps=600): 20, large: 20} | ({fast: 20} if "20" in wanted else {})
    runs = {config: run(config, range(every, config.steps + 1, every), compared) for config, every in everies.items()}
    if "20" in wanted:
        labels = ("step", "cosine", "within a factor 2", "the ten, smallest and largest")
        columns = ((t, *column_20(runs[middle][1][t])) for t in (*range(240, 801, 80), 960, 1200))
        table("Figure 20, ν of RMSProp's central flow and its stationary value ν̄, η = 0.001.", zip(labels, *columns, strict=True))
        header = ["η, β₂", "edge at step", "cosine above 0.9 from", "above 0.95 from", *(f"at last: {label}" for label in labels[1:])]
        table("Figure 20, when ν comes near ν̄, by η and β₂.", [header, *(arrival(config, *found) for config, found in runs.items())])
    if "21" in wanted:
        labels = ["η", "points at the edge", "P̂ faster than P̄, P̂ faster than (S/2)I", "P̄ faster than (S/2)I", "P̄/P̂, median", "P̄/P̂, last"]
        labels += ["P̄/vanilla, P̂/vanilla, medians", "below the edge: P̄ faster than (S/2)I"]
        columns = (column_21(config, list(points.values())) for config, (_, points) in runs.items() if config != fast)
        table("Figure 21, ‖∇L‖² in the metric of P⁻¹ along RMSProp's central flow.", zip(labels, *columns, strict=True))


def column_20(point: Point) -> list[str]:
    extremes = (f"{float(f'{ratio:.2g}'):,g}" for ratio in (point.ratios.min(), point.ratios.max()))
    return [f"{point.series['nu_stationary_cosine']:.3f}", f"{100 * point.within:.0f} %", ", ".join(extremes)]


def arrival(config: RunConfig, history: History, points: dict[int, Point]) -> list[object]:
    below = [max((t for t in points if points[t].series["nu_stationary_cosine"] <= level), default=0) for level in (0.9, 0.95)]
    arrived = (min((t for t in points if t > last), default="") for last in below)  # for good
    return [f"{config.lr:g}, {config.beta2:g}", edge(history), *arrived, *column_20(points[config.steps])]


def column_21(config: RunConfig, points: list[Point]) -> list[object]:
    speeds = np.array([[point.series[f"speed_{name}"] for name in ("minimal_trace", "stationary", "vanilla")] for point in points])
    at_edge = np.array([point.rank > 0 for point in points])
    (minimal, stationary, vanilla), below = speeds[at_edge].T, speeds[~at_edge]
    share, gains = stationary / minimal, f"{np.median(stationary / vanilla):.1f}, {np.median(minimal / vanilla):.1f}"
    wins = len(minimal), f"{np.sum(minimal > stationary)}, {np.sum(minimal > vanilla)}", np.sum(stationary > vanilla)
    return [config.lr, *wins, f"{np.median(share):.3f}", f"{share[-1]:.3f}", gains, f"{np.sum(below[:, 1] > below[:, 2])} of {len(below)}"]


def curvatures(simulation: Simulation, _: object) -> list[tuple[float, float]]:
    """(λ_max(H), tr P̂/p) at the point of each flow of LOSS, the optimizer's being between two iterates as the flows start."""
    points = [simulation.centre("discrete"), *(simulation.states[name].point.w for name in LOSS if name != "discrete")]
    pairs = [(partial(simulation.objective.hvp, w), w) for w in points]
    traces = [float(minimal_trace_preconditioner(product, w, tol=1e-3).P.mean()) for product, w in pairs]
    return [(2 * float(vanilla_preconditioner(*pair, tol=1e-4)), trace) for pair, trace in zip(pairs, traces, strict=True)]


def figure_22() -> None:
    columns, pairs = [], []
    for lr, steps in ((0.01, (150, 200, 300, 400, 500)), (0.005, (300, 500))):
        history, found = run(get("fig-22").config.replace(lr=lr, observe=[]), steps, curvatures)
        losses = [history.series(flow, name) for flow, name in LOSS.items()]
        sizes = [history.series(flow, "effective_step_size_harmonic") for flow in LOSS]
        for t in steps:
            triples = [f"{S:.1f}" for S, _ in found[t]], [f"{trace:.2f}" for _, trace in found[t]], [f"{size[t]:.3f}" for size in sizes]
            columns.append([f"η = {lr:g}: {t}", *(f"{loss[t]:.4f}" for loss in losses), *map(", ".join, triples)])
        pairs.append(held_against(f"η = {lr:g}: central; ablated", *losses[1:]))
    labels = ["step", "loss: optimizer", "central", "ablated", "λ_max(H), the three", "tr P̂/p", "step sizes, harmonic mean"]
    table("Figure 22, RMSProp and its flows with and without curvature regularisation.", zip(labels, *columns, strict=True))
    table("Figure 22, the losses held against one another.", [HELD, *pairs])


def annealed(at: int, config: RunConfig) -> list[str]:
    """Losses before and after step `at`, at which η falls."""
    history, _ = run(config)
    loss, average = (history.series("discrete", name) for name in ("loss", "loss_average"))
    central, predicted = (history.series("central", name) for name in ("loss", "predicted_loss"))
    before = loss[at - 40 : at].mean(), predicted[at - 40 : at].mean(), predicted[at - 1], average[at - 1], central[at - 1]
    after = at + np.array([5, 10, 20, 40])
    then = (", ".join(f"{value:.4f}" for value in series[after]) for series in (loss, central))
    apart = ", ".join(f"{100 * value:+.1f}" for value in loss[after] / central[after] - 1)
    return [f"{config.optimizer}, η = {config.lr:g}, step {at}", *(f"{value:.4f}" for value in before), *then, f"{apart} %"]


def annealing() -> None:
    scalar = get("fig-16").config.replace(schedule="step(400, 0.1)", steps=460, flows=["discrete", "central"], observe=["average"])
    header = ["run", "mean loss, 40 steps before", "predicted for these", "predicted at the last of them", "loss at the iterates' average"]
    header += ["central flow's loss", "optimizer's loss 5, 10, 20, 40 steps after", "central flow's then", "difference"]
    rows = (annealed(350, get("annealing-gd").config), annealed(400, scalar), annealed(400, get("annealing").config))
    table("Annealing, the optimizer's loss and its central flow's as η falls to a tenth at once.", [header, *rows])


def main() -> None:
    known = ["16", "20", "21", "22", "annealing"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*known, "all"], default="all")
    figures = parser.parse_args().figures
    wanted = known if "all" in figures else figures
    torch.set_num_threads(1)
    if "16" in wanted:
        figure_16a(get("fig-16").config.replace(observe=[]))
        figure_16a(get("fig-16-small").config.replace(observe=[]))
        figure_16b(get("fig-16-small").config.replace(observe=[]))
    if "20" in wanted or "21" in wanted:
        figures_20_21(wanted)
    if "22" in wanted:
        figure_22()
    if "annealing" in wanted:
        annealing()


if __name__ == "__main__":
    main()
