"""[CF] Figures 5 and 6: what gradient descent does once the sharpness has risen to 2/η, with one mode there and with several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cflows_core.gallery.descent.averages import since_start
from cflows_core.gallery.descent.settings import CNN, CNN_OURS, PAPER_VIT, SPIKY, first_visit, of_vit, sharpness, span
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored
from cflows_core.gallery.measures import after, over_edge, per_cent, reaches, smooth, stretch
from cflows_core.palette import STROKES, Stroke
from cflows_core.panels import OPTIMIZER, Curve, Panel, nth
from cflows_core.store import Run

MODES = 3  # whose gradients are drawn
BEFORE, BEHIND = 25, 35  # steps that are drawn around the first spike
AT_EDGE = 0.95  # of 2/η: a smoothed eigenvalue above it counts as being at the edge


# -- Figure 5 ---------------------------------------------------------------------------------------------------------------------
def _events(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    loss = Panel("Train loss", (Curve(run.steps, since_start(run, "loss"), OPTIMIZER, "Optimizer"),), "loss")
    swing = Panel("Displacement", (Curve(run.steps, run.series("discrete", "displacement"), OPTIMIZER),), "along u [weights]")
    sharp = sharpness(run, ("discrete",))
    spike = int(run.steps[first_visit(run)[1].start])
    close = [panel.zoomed(spike - BEFORE, spike + BEHIND).titled(f"{panel.title}, first spike") for panel in (sharp, swing, loss)]
    return [sharp, loss, *close]


def _rises(data: Data) -> Finding:
    run = data["vit"]
    ratio = over_edge(run)[: first_visit(run)[0].start + 1]
    lowest = int(np.argmin(ratio))
    rising = float(np.mean(np.diff(ratio[lowest:]) > 0))
    start = f"From {ratio[lowest]:.2f} · 2/η at step {run.steps[lowest]}"
    number = f"{start} it rises at {per_cent(rising)} of the steps, to 2/η at step {reaches(run)}."
    return Finding(number, rising > 0.9)


def _grows(data: Data) -> Finding:
    """|x_{t+1}/x_t| is |1 − ηS| on a quadratic: from a thousandth of the largest swing to that swing; what is smaller is mostly drift."""
    run = data["vit"]
    above = first_visit(run)[0]
    swing, ratio = run.series("discrete", "displacement")[above], over_edge(run)[above]
    top = int(np.nanargmax(np.abs(swing)))
    start = int(np.flatnonzero(np.abs(swing[:top]) < 1e-3 * abs(swing[top]))[-1]) + 1
    flips = float(np.mean(swing[start + 1 : top + 1] * swing[start:top] < 0))
    factor = float(abs(swing[top] / swing[start]) ** (1 / (top - start)))
    expected = float(np.exp(np.log(np.abs(1 - 2 * ratio[start:top])).mean()))
    number = f"In {top - start} steps by {factor:.2f} a step (|1 − ηS|: {expected:.2f}), with another sign at {per_cent(flips)} of them."
    return Finding(number, bool(factor > 1.1 and flips > 0.9))  # exponential growth, to and fro at nearly every step


def _loss_rises(data: Data) -> Finding:
    run = data["vit"]
    above = first_visit(run)[0]
    loss = run.series("discrete", "loss")[above]
    peak = int(np.argmax(loss))
    before = float(loss[: peak + 1].min())
    number = f"From {before:.3f} to {loss[peak]:.3f} within the first visit above the edge."
    return Finding(number, bool(loss[peak] > 1.02 * before))  # more than the two digits that a plot shows


def _sharpness_drops(data: Data) -> Finding:
    run = data["vit"]
    above, below = first_visit(run)
    ratio = over_edge(run)
    high = above.start + int(np.argmax(ratio[above]))
    low = float(ratio[below].min())
    number = f"From {ratio[high]:.2f} · 2/η at step {run.steps[high]} to below 2/η at step {run.steps[above.stop]}, and to {low:.2f}."
    return Finding(number, low < 1 < ratio[high])


def _shrinks(data: Data) -> Finding:
    run = data["vit"]
    below = first_visit(run)[1]
    swing = run.series("discrete", "half_difference")[below]
    number = f"|w_t − w_{{t+1}}|/2 falls from {swing[0]:.3f} to {swing.min():.4f} in the {len(swing)} steps below 2/η."
    return Finding(number, bool(swing.min() < swing[0] / 2))


def _regulated(data: Data) -> Finding:
    run = data["vit"]
    ratio = over_edge(run)[first_visit(run)[0].stop :]
    number = f"After the first visit λ₁ is {ratio.mean():.3f} · 2/η on average, between {ratio.min():.2f} and {ratio.max():.2f}."
    return Finding(number, bool(abs(ratio.mean() - 1) < 0.1 and ratio.max() < 1.5))  # a tenth: one sees it lie on the line


def _unsteady(data: Data) -> Finding:
    run = data["vit"]
    loss = after(run, reaches(run) or 0, run.series("discrete", "loss"))
    rises = float(np.mean(np.diff(loss) > 0))
    parts = [float(part.mean()) for part in np.array_split(loss, 5)]
    number = f"It rises at {per_cent(rises)} of the steps; its means over fifths are {', '.join(f'{part:.3f}' for part in parts)}."
    return Finding(number, bool(rises > 0.1 and np.all(np.diff(parts) < 0)))


# -- Figure 6 ---------------------------------------------------------------------------------------------------------------------
def modes_at_edge(run: Run) -> np.ndarray:
    """How many of the optimizer's smoothed eigenvalues are at the edge, [rows]; 0 until the first visit has ended."""
    smoothed = np.stack([smooth(run, over_edge(run, mode=mode)) for mode in range(MODES)])
    counted = (smoothed >= AT_EDGE).sum(0)
    counted[: first_visit(run)[0].stop] = 0
    return counted


def _several(data: Data) -> Sequence[Panel]:
    run = data["vit"]
    raw = since_start(run, "grad_projection_sq")
    projections = [
        Panel(f"Gradient² along mode {mode + 1}", (Curve(run.steps, nth(raw, mode), OPTIMIZER),), "(u·∇L)²") for mode in range(MODES)
    ]
    smoothed = tuple(
        Curve(run.steps, smooth(run, nth(raw, mode)), replace(STROKES[flow], dash=()), f"mode {mode + 1}")
        for mode, flow in enumerate(("discrete", "central", "rod"))
    )
    return [
        sharpness(run, ("discrete",), MODES, "Top three eigenvalues"),
        Panel("Gradient² along the modes, smoothed", smoothed, "(u·∇L)²"),
        *projections,
    ]


def _oscillates_along(modes: int) -> Callable[[Data], Finding]:
    """In the longest stretch with so many eigenvalues at the edge."""

    def measure(data: Data) -> Finding:
        run = data["vit"]
        rows = stretch(modes_at_edge(run) == modes)
        if not rows.any():
            return Finding(f"There never are {modes}.", False)
        along = np.nan_to_num(run.series("discrete", "grad_projection_sq")[rows, :MODES])
        shares = along.sum(0) / run.series("discrete", "grad_norm_sq")[rows].sum()
        words = ", ".join(per_cent(share) for share in shares)
        number = f"In {span(run, rows)} the top three modes hold {words} of it."
        # Nearly all of it, and a part along each that one sees beside the others.
        return Finding(number, bool(shares[:modes].sum() > 0.95 and shares[:modes].min() > 0.05))

    return measure


# -- Two learning rates -----------------------------------------------------------------------------------------------------------
def _rates(data: Data) -> Sequence[Panel]:
    colors = {"small": "rod", "large": "central"}
    sharp, loss = [], []
    for label, run in data.runs.items():
        unit, stroke, name = 2 / run.config.lr, Stroke(colors[label], 1.3), f"η = {run.config.lr:g}"
        sharp += [
            Curve(run.steps, np.full(run.rows, unit), replace(STROKES["edge"], color=colors[label]), ""),
            Curve(run.steps, unit * over_edge(run), stroke, name),
        ]
        loss.append(Curve(run.steps, since_start(run, "loss"), stroke, name))
    return [Panel("Sharpness, and 2/η (dashed)", tuple(sharp), "Hessian eigenvalue"), Panel("Train loss", tuple(loss), "loss")]


def _own_edge(data: Data) -> Finding:
    """Over the last third of the steps."""
    means = {run.config.lr: float(over_edge(run)[2 * run.rows // 3 :].mean()) for run in data.runs.values()}
    words = ", ".join(f"{mean:.2f} · 2/η at η = {lr:g}" for lr, mean in means.items())
    return Finding(f"On average over the last third of the steps: {words}.", all(abs(mean - 1) < 0.1 for mean in means.values()))


def _later(data: Data) -> Finding:
    steps = {run.config.lr: reaches(run) for run in data.runs.values()}
    words = ", ".join(f"{step} at η = {lr:g}" for lr, step in steps.items())
    small, large = (steps[data[label].config.lr] for label in ("small", "large"))
    return Finding(f"2/η is reached at step {words}.", small is not None and large is not None and small > large)


TRAJECTORY: tuple[Figure, ...] = (
    of_vit(
        name="cf-5",
        source="[CF] Figure 5",
        title="A typical trajectory of gradient descent",
        caption="The sharpness rises to 2/η and passes it; the iterates begin to swing, ever wider, until the loss jumps up. Then the "
        "sharpness falls, the swing dies away, and it begins anew. The lower three plots show the first such visit step by step.",
        panels=_events,
        claims=(
            Claim("(a) The sharpness rises until it reaches 2/η.", _rises),
            Claim("(b) Above 2/η gradient descent oscillates with growing magnitude along the top eigenvector.", _grows),
            Claim("(c) The oscillations make the train loss go up.", _loss_rises),
            Claim("(d) It does not diverge: the sharpness decreases until it is below 2/η.", _sharpness_drops),
            Claim("(e) Below 2/η the oscillations shrink.", _shrinks),
            Claim("(f) From then on the sharpness stays regulated around 2/η.", _regulated),
            Claim("(g) The train loss is not monotone over short times and decreases over long ones.", _unsteady),
        ),
    ),
    of_vit(
        name="cf-6",
        source="[CF] Figure 6",
        title="Several eigenvalues at the edge of stability",
        caption="One eigenvalue after another comes up to 2/η and stays there. How many directions oscillate can be read off the "
        "gradient: along an eigenvector at the edge it is large, along the others it is next to nothing.",
        panels=_several,
        claims=tuple(
            Claim(f"While {number} at the edge, the gradient's square lies along {where}.", _oscillates_along(modes))
            for modes, number, where in (
                (1, "one eigenvalue is", "its eigenvector alone"),
                (2, "two eigenvalues are", "their two eigenvectors"),
            )
        ),
    ),
    Figure(
        name="t1-rates",
        source="[T1] slides",
        title="Gradient descent at two learning rates",
        caption="One network, two learning rates. Whatever the rate, the sharpness rises until it is at 2/η, and stays there: the "
        "optimizer's step decides how sharp the network becomes.",
        theirs="[T1]: a ViT on CIFAR-10, η = 0.02 and 0.01.",
        ours=f"{CNN_OURS}, η = 0.4 and 0.2.",
        preset="fig-23",
        runs={"small": CNN[0.2], "large": SPIKY},
        paper={"small": PAPER_VIT["vit"], "large": Stored("paper-gd-vit-0.02", PAPER_VIT["vit"].config.replace(lr=0.02))},
        panels=_rates,
        claims=(
            Claim("At either learning rate the sharpness settles at its own 2/η.", _own_edge),
            Claim("At the smaller rate, whose 2/η is higher, it gets there later.", _later),
        ),
    ),
)
