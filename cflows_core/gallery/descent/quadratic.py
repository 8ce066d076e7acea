"""[CF] Figure 3: gradient descent on a parabola."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cflows_core import panels
from cflows_core.gallery.figure import Arrays, Claim, Data, Figure, Finding, Study
from cflows_core.optimizers import Optimizer
from cflows_core.panels import Panel
from cflows_core.problems.toy import Quadratic

LR = 0.1
SHARPNESS = {"below": 0.9, "above": 1.1}  # of the quadratic, over 2/η
STEPS = 40


def _iterates() -> Arrays:
    """x_t of gradient descent on ½Sx² from 1, [STEPS + 1], below the edge and above it."""
    paths = {}
    for label, share in SHARPNESS.items():
        quadratic, optimizer = Quadratic(torch.tensor([[share * 2 / LR]], dtype=torch.float64)), Optimizer("gd", lr=LR)
        state = optimizer.start(torch.ones(1, dtype=torch.float64), quadratic.A @ torch.ones(1, dtype=torch.float64))
        path = [state.w]
        for _ in range(STEPS):
            state = optimizer.step(state, quadratic.A @ state.w)
            path.append(state.w)
        paths[label] = torch.cat(path).numpy()
    return paths


def _quadratic(data: Data) -> Sequence[Panel]:
    return [
        panels.curves({"x": (range(STEPS + 1), path)}, f"Sharpness {SHARPNESS[label]:g} · 2/η", y="x")
        for label, path in data.studies["iterates"].items()
    ]


def _growth(data: Data) -> Finding:
    """|x_{t+1}/x_t| is |1 − ηS|, and its sign alternates: 0.8 and 1.2 here."""
    below, above = (path[1:] / path[:-1] for path in (data.studies["iterates"]["below"], data.studies["iterates"]["above"]))
    holds = bool((above < -1).all() and ((below > -1) & (below < 0)).all())
    return Finding(f"x changes by a factor {below.mean():.3f} a step below 2/η, and by {above.mean():.3f} above it.", holds)


QUADRATIC: tuple[Figure, ...] = (
    Figure(
        name="cf-3",
        source="[CF] Figure 3",
        title="Gradient descent on a quadratic function",
        caption="On a parabola the sharpness decides alone: below 2/η the iterates jump over the minimum and come nearer, above it they "
        "jump further each time.",
        theirs="[CF] draws ½Sx² for S above 2/η.",
        ours="Here S is 10 % below and 10 % above 2/η, from x = 1.",
        panels=_quadratic,
        claims=(Claim("If S > 2/η, gradient descent oscillates with exponentially growing magnitude.", _growth),),
        studies={"iterates": Study("quadratic", _iterates)},
        toy="loss=quadratic&optimizer=gd&lr=2.2&x=1",
    ),
)
