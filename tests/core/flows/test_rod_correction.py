"""Backward-error correction of the rod's centre ([RF] App. F): one order more below the edge, and nothing to correct at dt = 1."""

from __future__ import annotations

import pytest
import torch

from cflows_core import Objective, Optimizer, RunConfig, Simulation
from cflows_core.flows.base import Options, Start
from cflows_core.flows.rod import Rod
from cflows_core.optimizers import State
from tests.oracles import NINE

MIXING = torch.tensor([[1.0, 0.3, 0.1], [0.2, 0.8, 0.4], [0.1, 0.3, 0.6]], dtype=torch.float64)


def descent(w: torch.Tensor) -> torch.Tensor:
    """Slopes never vanish, so that even the steps of RMSProp's kinds, of the size of η whatever the slope, are smooth in w."""
    return torch.exp(0.5 * MIXING @ w).sum()


# As if it were large: recording the loss for replay would cost more than these runs.
OBJECTIVE = Objective(lambda w: descent(w).reshape(()), 3, bytes_per_example=1e9)


def miss(optimizer: Optimizer, steps: int, substeps: int, correction: str) -> float:
    """Distance of the rod's centre from the iterates' after so many steps, both from the same two iterates.

    Those come after as many steps again, so that m and ν have forgotten their start: only then is every part of the motion slow.
    """
    w = torch.tensor([0.4, 0.2, -0.1], dtype=torch.float64)
    states = [optimizer.start(w, OBJECTIVE.grad(w))]
    for _ in range(2 * steps + 1):
        states.append(optimizer.step(states[-1], OBJECTIVE.grad(optimizer.gradient_point(states[-1]))))
    a, b = states[steps], states[steps + 1]
    m = None if a.m is None or b.m is None else (a.m + b.m) / 2
    half_m = None if a.m is None or b.m is None else (a.m - b.m) / 2
    centre = State((a.w + b.w) / 2, a.tau + 0.5, m, None if a.nu is None or b.nu is None else (a.nu + b.nu) / 2)
    flow = Rod(OBJECTIVE, optimizer, Options(substeps=substeps, n_eigs=1, rod_correction=correction))
    state = flow.init(Start(centre, centre, (a.w - b.w) / 2, half_m))
    for _ in range(steps):
        state = flow.step(state)
    return float((state.point.w - (states[-2].w + states[-1].w) / 2).norm())


@pytest.mark.parametrize(("growing", "substeps"), [(False, 2), (True, 5)])
@pytest.mark.parametrize("name", NINE)
def test_one_order_more(name: str, growing: bool, substeps: int) -> None:
    """Over the same path in twice as many steps half as long the error falls fourfold; without correction twofold.

    Whatever the number of substeps: Euler's own error is what ½(1 − dt) in place of ½ leaves out. With ν per weight every weight moves by η
    wherever it is, so that a constant η needs no correction, and a growing one does.
    """
    plain, corrected = [], []
    for steps in (24, 48):
        schedule = (lambda tau, steps=steps: 0.75 + tau / (4 * steps)) if growing else (lambda tau: 1.0)
        optimizer = Optimizer(name, lr=0.4 / steps, beta1=0.5, beta2=0.6, schedule=schedule)
        plain.append(miss(optimizer, steps, substeps, "none"))
        corrected.append(miss(optimizer, steps, substeps, "backward_error"))
    assert corrected[0] > 3.2 * corrected[1]
    if growing or optimizer.kind != "diagonal":
        assert 1.8 * plain[1] < plain[0] < 2.2 * plain[1]
        assert corrected[1] < 0.3 * plain[1]


@pytest.mark.parametrize("name", NINE)
def test_nothing_to_correct_in_a_unit_step(name: str) -> None:
    optimizer = Optimizer(name, lr=0.05)
    assert miss(optimizer, 5, 1, "backward_error") == miss(optimizer, 5, 1, "none")


def test_configured() -> None:
    options = Simulation(RunConfig(rod_coordinates="raw", rod_correction="backward_error", flows=["rod"], steps=1)).flow("rod").options
    assert (options.rod_coordinates, options.rod_correction) == ("raw", "backward_error")
