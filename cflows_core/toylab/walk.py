"""A run on a loss of one or two weights, with its flows beside it, as arrays to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.measure import midpoint
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.objective import Objective
from cflows_core.problems.toy import Loss
from cflows_core.simulation import Simulation
from cflows_core.toylab.batch import DIVERGED, gradient, start_weights

FLOWS = ("rod", "central", "stable")


@dataclass(frozen=True)
class Walk:
    """n steps of an optimizer and its flows on a loss of d weights; row t is step t. NaN where a flow has stopped or was not asked for.

    w, x: iterates and gradient points [n+1, d]; loss: L(w) [n+1]. m: momentum [n+1, d] or None. nu: average of squared gradients before
    the step's update, [n+1, d] ([n+1, 1] for the scalar kind) or None. eigenvalue, eigenvalue_centre: the largest of P̃⁻¹H [n+1], at x
    and at the midpoint of three iterates; the edge is at `threshold`. centre: these midpoints w* [n+1, d]. rod, half_difference: the rod
    flow's centre and ζ. central, covariance: the central flow and its Σ [n+1, d, d]. stable: the stable flow. stopped: why the iterates
    end early, "" if they do not. notes: what else a reader should be told, one sentence each.
    """

    optimizer: Optimizer
    w: np.ndarray
    x: np.ndarray
    loss: np.ndarray
    m: np.ndarray | None
    nu: np.ndarray | None
    eigenvalue: np.ndarray
    eigenvalue_centre: np.ndarray
    threshold: float
    centre: np.ndarray
    rod: np.ndarray
    half_difference: np.ndarray
    central: np.ndarray
    covariance: np.ndarray
    stable: np.ndarray
    stopped: str
    notes: tuple[str, ...]

    @property
    def steps(self) -> np.ndarray:
        """0 … n."""
        return np.arange(len(self.w))

    @property
    def variance(self) -> np.ndarray:
        """σ², the largest eigenvalue of the central flow's Σ, [n+1]: of the gradient points."""
        known = np.isfinite(self.covariance).all((1, 2))
        result = np.full(len(self.w), math.nan)
        result[known] = np.linalg.eigvalsh(self.covariance[known])[:, -1]
        return result


def walk(loss: Loss, optimizer: Optimizer, w0: Any, steps: int, flows: tuple[str, ...] = FLOWS) -> Walk:
    """`steps` steps from w0 [d], with the `flows` of "rod", "central" and "stable"; without any it takes milliseconds.

    Ends early, with a sentence, where the iterates diverge or leave the region in which the loss is finite. Raises `ConfigError`.
    """
    w0 = start_weights(w0, loss)
    if not math.isfinite(float(loss.loss(w0))):
        raise ConfigError(f"The loss is not a finite number at the start {_numbers(w0)}: start somewhere else.")
    if not flows:
        return _alone(loss, optimizer, w0, steps)
    simulation = _simulation(loss, optimizer, w0, steps, flows)
    d = len(w0)
    rows: dict[str, list[Any]] = {name: [] for name in ("w", "x", "m", "nu", "P", "centre", "x_centre")}
    drawn = {name: np.full((steps + 1, d), math.nan) for name in (*FLOWS, "half_difference")}
    covariance = np.full((steps + 1, d, d), math.nan)
    losses: list[float] = []
    stopped, notes = "", []
    for t, frame in enumerate(simulation):
        discrete = simulation.states["discrete"]
        state = discrete.point
        stopped = _why(discrete.stopped, discrete.loss, state.w, w0, t)
        if stopped:
            break
        midpoint, after = discrete.midpoint, simulation.flow("discrete").adapted(discrete)
        losses.append(discrete.loss)
        rows["w"].append(state.w)
        rows["x"].append(optimizer.gradient_point(state))
        rows["m"].append(state.m)
        rows["nu"].append(None if state.nu is None else state.nu.reshape(-1))
        rows["P"].append(optimizer.preconditioner(after).expand(d))
        rows["centre"].append(midpoint.w)
        rows["x_centre"].append(optimizer.gradient_point(midpoint))
        notes += [event.message for event in frame.events if event.kind in ("stopped", "settling", "settled", "note")]
        for name in flows:
            flow = simulation.states[name]
            if flow.stopped:
                continue
            drawn[name][t] = flow.point.w
            if name == "rod":
                drawn["half_difference"][t] = flow.zeta
            if name == "central" and not flow.settling:
                covariance[t] = (flow.modes * flow.variances) @ flow.modes.T
    n, stack = len(losses), {name: torch.stack(values) for name, values in rows.items() if values[0] is not None}
    return Walk(
        optimizer=optimizer,
        w=stack["w"].numpy(),
        x=stack["x"].numpy(),
        loss=np.array(losses),
        m=stack["m"].numpy() if "m" in stack else None,
        nu=stack["nu"].numpy() if "nu" in stack else None,
        eigenvalue=effective_eigenvalues(loss, stack["x"], stack["P"]),
        eigenvalue_centre=effective_eigenvalues(loss, stack["x_centre"], stack["P"]),
        threshold=optimizer.threshold,
        centre=stack["centre"].numpy(),
        covariance=covariance[:n],
        stopped=stopped,
        notes=tuple(notes),
        **{name: values[:n] for name, values in drawn.items()},
    )


def iterates(loss: Loss, optimizer: Optimizer, state: State, steps: int) -> list[State]:
    """The states of `steps` steps from `state`, itself included; fewer where they diverge."""
    states, bound = [state], DIVERGED * (1 + float(state.w.norm()))
    for _ in range(steps):
        state = optimizer.step(state, gradient(loss, optimizer.gradient_point(state)))
        if not float(state.w.norm()) < bound:
            break
        states.append(state)
    return states


def _alone(loss: Loss, optimizer: Optimizer, w0: Tensor, steps: int) -> Walk:
    """The iterates without flows, a hundred times as fast as with them."""
    states = iterates(loss, optimizer, optimizer.start(w0, gradient(loss, w0)), steps)
    w = torch.stack([state.w for state in states])
    x = torch.stack([optimizer.gradient_point(state) for state in states])
    slopes = gradient(loss, x)
    after = optimizer.step(states[-1], slopes[-1]).w
    stopped = "" if len(states) > steps else _why("", float(loss.loss(after)), after, w0, len(states))
    P = torch.stack([optimizer.preconditioner(optimizer.updated(s, g)).expand(len(w0)) for s, g in zip(states, slopes, strict=True)])
    nu = [state.nu.reshape(-1) for state in states if state.nu is not None]
    m = [state.m for state in states if state.m is not None]
    absent, d = np.full(w.shape, math.nan), len(w0)
    return Walk(
        optimizer=optimizer,
        w=w.numpy(),
        x=x.numpy(),
        loss=loss.loss(w).numpy(),
        m=torch.stack(m).numpy() if m else None,
        nu=torch.stack(nu).numpy() if nu else None,
        eigenvalue=effective_eigenvalues(loss, x, P),
        eigenvalue_centre=effective_eigenvalues(loss, _midpoints(x), P),
        threshold=optimizer.threshold,
        centre=_midpoints(w).numpy(),
        rod=absent,
        half_difference=absent,
        central=absent,
        covariance=np.full((len(w), d, d), math.nan),
        stable=absent,
        stopped=stopped,
        notes=(),
    )


def _midpoints(w: Tensor) -> Tensor:
    """w* of every three points in a row, at both ends of two, [n, d]."""
    padded = torch.cat([w[1:2], w, w[-2:-1]]) if len(w) > 1 else w.expand(3, -1)
    return midpoint(padded[:-2], padded[1:-1], padded[2:])


def objective(loss: Loss) -> Objective:
    """For flows; so short runs would not pay for recording its gradients."""
    return Objective(lambda w: loss.loss(w).reshape(()), loss.n_params, record=False)


def hessians(loss: Loss, points: Tensor) -> Tensor:
    """∇²L at many points, [n, d] -> [n, d, d]."""
    leaf = points.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss.loss(leaf).sum(), leaf, create_graph=True)
    if not first.requires_grad:  # a straight line
        return torch.zeros(*points.shape, points.shape[1], dtype=points.dtype)
    rows = [torch.autograd.grad(first[:, i].sum(), leaf, retain_graph=True)[0] for i in range(points.shape[1])]
    return torch.stack(rows, dim=1)


def effective_eigenvalues(loss: Loss, points: Tensor, P: Tensor) -> np.ndarray:
    """The largest eigenvalue of P̃⁻¹H at each of the points [n, d], with P̃ [n, d]; NaN where H is not finite."""
    root = P.sqrt()
    H = hessians(loss, points) / (root[:, :, None] * root[:, None, :])
    known = torch.isfinite(H).all(2).all(1)
    values = torch.full((len(points),), math.nan, dtype=points.dtype)
    values[known] = torch.linalg.eigvalsh(H[known])[:, -1]
    return values.numpy()


def _simulation(loss: Loss, optimizer: Optimizer, w0: Tensor, steps: int, flows: tuple[str, ...]) -> Simulation:
    config = RunConfig(
        optimizer=optimizer.name,
        lr=optimizer.lr,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        eps=optimizer.eps,
        bias_correction="on" if optimizer.corrects else "off",
        flows=("discrete", *flows),
        steps=steps,
        n_eigs=len(w0),
        observe=[],
    )
    return Simulation(config, objective=objective(loss), weights=w0, schedule=lambda tau: optimizer.lr_at(tau) / optimizer.lr)


def _why(stopped: str, value: float, w: Tensor, w0: Tensor, step: int) -> str:
    """The sentence with which a walk ends before this step, "" if it goes on."""
    if math.isnan(value):
        return f"At step {step} the iterate left the region in which the loss is a finite number: start nearer, or lower the learning rate."
    far = float(w.norm())
    if stopped or far < DIVERGED * (1 + float(w0.norm())):
        return stopped
    return f"The optimizer diverged: at step {step} it was {far:.3g} away from 0; lower the learning rate or start nearer."


def _numbers(w: Tensor) -> str:
    return "(" + ", ".join(f"{value:g}" for value in w.tolist()) + ")"
