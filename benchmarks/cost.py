"""What a step of each flow costs: in milliseconds on a small network, in gradients on a large one; and how that grows with k, p and n.

A gradient-equivalent (GE) is the wall time of one full-batch gradient of the same objective, measured in turns with the work. `public`:
the figure of the public code of central flows on the same problem; `aim`: what this project wants.

make bench            or: python benchmarks/cost.py [small] [large] [modes] [weights] [examples] [--repeats N]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from timing import (
    PHOTOGRAPHS,
    Repeat,
    Row,
    Walk,
    at_edge,
    beside_gradients,
    exponent,
    regression,
    row,
    run,
    trained,
    warm,
)
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.problems.build import build_problem
from cflows_core.problems.objective import Objective
from cflows_core.simulation import Simulation

FAR = 400.0  # an edge that nothing comes near
LONGEST_WAIT = 20  # steps that may pass there between two eigensolves: a repeat has to have them all
# Modes held at the edge -> (classes, public figure, aim), GE. Four classes have four eigenvalues that stand out, ten have ten.
MODES: dict[int, tuple[int, float | None, float | None]] = {1: (4, None, None), 2: (4, 175, 15), 4: (4, None, None), 10: (10, 430, 60)}
WIDTHS, EXAMPLES = (64, 128, 256, 512), (250, 500, 1000, 1500)


def ratios(found: Iterable[Repeat]) -> list[float]:
    return [repeat.ratio for repeat in found]


def milliseconds(found: Iterable[Repeat]) -> list[float]:
    return [1e3 * repeat.work for repeat in found]


def small(repeats: int) -> Iterator[Row]:
    """433 weights, at most five eigenvalues: below the edge, and at it (a step size at which it starts above). Milliseconds a step."""
    objective, weights = regression()

    def gradient() -> object:
        return objective.loss_and_grad(weights)

    warm(gradient)
    for title, lr, advance, public in (("below the edge (η = 0.1)", 0.1, 200, 29.0), ("at the edge (η = 1)", 1.0, 400, 36.0)):
        simulation = Simulation(RunConfig(lr=lr, n_eigs=5, steps=10_000, observe=[]), objective, weights)
        simulation.advance(steps=advance)
        walk = Walk(simulation.flow("central"), simulation.states["central"])
        warm(walk)
        walk.forget()
        central = beside_gradients(walk, gradient, repeats=repeats, calls=2 * LONGEST_WAIT)
        whole = beside_gradients(lambda simulation=simulation: simulation.advance(steps=1), gradient, repeats=repeats, calls=LONGEST_WAIT)
        yield row(f"433 weights, {title}: central", "ms", milliseconds(central), public=public, aim=3, note=walk.note)
        name = f"433 weights, {title}: discrete, stable, central and rod"
        yield row(name, "ms", milliseconds(whole), public=35, aim=7, note="public: without rod")
        yield row(f"433 weights, {title}: one gradient", "ms", [1e3 * repeat.gradient for repeat in central])


def large(repeats: int) -> Iterator[Row]:
    """853k weights on a thousand photographs: discrete and central flow below the edge, GE a step."""
    objective, w = photographs()

    def gradient() -> object:
        return objective.loss_and_grad(w)

    for name, public, aim in (("discrete", 24.0, 3.0), ("central", 39.0, 4.0)):
        walk = Walk.begin(name, RunConfig(lr=2 / FAR, n_eigs=4), objective, w)
        for _ in range(8):  # until it is known how far the edge is
            walk()
        walk.forget()
        found = beside_gradients(walk, gradient, repeats=repeats, calls=LONGEST_WAIT)
        if name == "discrete":
            yield row("853k weights: one gradient", "ms", [1e3 * repeat.gradient for repeat in found])
        yield row(f"853k weights, below the edge: {name}", "GE", ratios(found), public=public, aim=aim, note=walk.note)


def modes(repeats: int) -> Iterator[Row]:
    """The same network held at ever lower edges, with ever more modes at them: GE a step, and its growth with k."""
    held, costs, known, walk = [], [], 0, None
    objective, w = photographs()
    for k, (classes, public, aim) in MODES.items():
        if classes != known:
            objective, w = photographs({**PHOTOGRAPHS, "classes": classes})
            w, known, walk = trained(objective, w), classes, None
        walk = at_edge(RunConfig(), objective, w, k, walk)
        point = walk.state.point.w
        found = edge_repeats(walk, objective, repeats)
        line = row(f"853k weights, at the edge: central, k = {k}", "GE", ratios(found), public=public, aim=aim, note=walk.note)
        held.append(sum(walk.held) / len(walk.held))
        costs.append(line.measured)
        yield line
        if k == 2:
            discrete = Walk.begin("discrete", RunConfig(lr=walk.flow.optimizer.lr, n_eigs=k + 2), objective, point)
            discrete()
            discrete.forget()
            found = edge_repeats(discrete, objective, repeats)
            yield row(f"853k weights, at the edge: discrete, k = {k}", "GE", ratios(found), aim=3, note=discrete.note)
    yield from growth("853k weights, at the edge: central, GE against k", held, costs, public=2, aim=1)


def weights(repeats: int) -> Iterator[Row]:
    """Networks of growing width with one mode at the edge: GE a step, which should not grow, and seconds."""
    sizes = [(f"width {width}", {**PHOTOGRAPHS, "width": width}) for width in WIDTHS]
    return grown("p", sizes, repeats, lambda objective: objective.n_params)


def examples(repeats: int) -> Iterator[Row]:
    """A growing number of examples, one mode at the edge."""
    sizes = [(f"n = {n}", {**PHOTOGRAPHS, "width": 64, "n_train": n}) for n in EXAMPLES]
    return grown("n", sizes, repeats, lambda objective: objective.n_examples)


def grown(symbol: str, cases: Sequence[tuple[str, dict[str, Any]]], repeats: int, size_of: Any) -> Iterator[Row]:
    """Rows of the central flow with k = 1 for each case, and the exponents of GE and of seconds in their size."""
    sizes, ratio, seconds = [], [], []
    for title, fields in cases:
        objective, w = photographs(fields)
        walk = at_edge(RunConfig(), objective, trained(objective, w), 1)
        found = edge_repeats(walk, objective, repeats)
        note = f"p = {objective.n_params:,}, n = {objective.n_examples:,}, {walk.note}"
        line = row(f"growth in {symbol}, {title}: central, k = 1", "GE", ratios(found), note=note)
        sizes.append(size_of(objective))
        ratio.append(line.measured)
        seconds.append(row("", "s", [repeat.work for repeat in found]).measured)
        yield line
    yield from growth(f"growth in {symbol}: GE", sizes, ratio, aim=0)
    yield from growth(f"growth in {symbol}: seconds", sizes, seconds, aim=1)


def growth(name: str, sizes: Sequence[float], costs: Sequence[float], **figures: Any) -> list[Row]:
    """The exponent a of cost ∝ size^a, where at least two sizes are known."""
    known = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if size > 0]
    return [row(name, "exponent", [exponent(*zip(*known, strict=True))], **figures)] if len(known) > 1 else []


def edge_repeats(walk: Walk, objective: Objective, repeats: int) -> list[Repeat]:
    """Steps at the edge, ten a repeat and at least twenty: β is computed anew once in twenty steps."""
    w = walk.state.point.w
    return beside_gradients(walk, lambda: objective.loss_and_grad(w), repeats=max(2, repeats))


def photographs(fields: dict[str, Any] = PHOTOGRAPHS) -> tuple[Objective, Tensor]:
    problem = build_problem(RunConfig(**fields))
    problem.objective.grad(problem.weights)
    return problem.objective, problem.weights


PARTS = {part.__name__: part for part in (small, large, modes, weights, examples)}


if __name__ == "__main__":
    run("cost", PARTS, __doc__)
