"""Losses of single examples as pure functions of (outputs, targets), and the targets they compare with.

    mse            ½ Σ_c (f_c − y_c)²
    cross_entropy  log Σ_c exp f_c − Σ_c y_c f_c          (Σ_c y_c = 1)

An example with answers at several positions, outputs [n, A, C], has the mean of theirs. Both are smooth: three derivatives are exact, also
under `torch.func.vmap` over stacked weights. Training minimises their mean over examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cflows_core.errors import ConfigError, DataError, ModelError

Criterion = Callable[[Tensor, Tensor], Tensor]
TARGETS = ("onehot", "signed")


NOT_COUNTED = -100  # PyTorch's convention for integer targets


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ Σ_c (f_c − y_c)², [n], for outputs and targets [n, C], or [n, ..., C]: then the mean over the positions between."""
    if outputs.shape != targets.shape:  # would broadcast, [n, 1] against [n] to [n, n]
        raise ModelError(
            f"Targets need the shape of the outputs, {list(outputs.shape)}, got {list(targets.shape)}: encode labels with criteria.encode."
        )
    squares = (outputs - targets).square()
    return 0.5 * (squares if squares.ndim == 1 else _mean(squares.sum(-1)))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """log Σ_c exp f_c − Σ_c y_c f_c, [n], for outputs [n, C] and targets [n, C], or [n] if they are integer classes.

    Outputs [n, ..., C] have one more dimension or several: the mean over these positions, without those whose class is −100.
    """
    if targets.is_floating_point():
        if outputs.shape != targets.shape:
            raise ModelError(
                f"Targets need the shape of the outputs, {list(outputs.shape)}, got {list(targets.shape)}: "
                "encode labels with criteria.encode, or give integer classes."
            )
        return _mean(torch.logsumexp(outputs, -1) - (targets * outputs).sum(-1))
    if outputs.shape[:-1] != targets.shape:
        raise ModelError(
            f"Integer targets of outputs {list(outputs.shape)} need the shape {list(outputs.shape[:-1])}, got {list(targets.shape)}: "
            "one class for every row of outputs."
        )
    counted = targets != NOT_COUNTED
    chosen = outputs.gather(-1, targets.where(counted, 0)[..., None]).squeeze(-1)
    losses = (torch.logsumexp(outputs, -1) - chosen) * counted
    if losses.ndim == 1:
        return losses
    return losses.flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)


def _mean(losses: Tensor) -> Tensor:
    """Over all positions of each example, [n, ...] -> [n]."""
    return losses if losses.ndim == 1 else losses.flatten(1).mean(1)


CRITERIA: dict[str, Criterion] = {"mse": mse, "cross_entropy": cross_entropy}


def get(name: str) -> Criterion:
    """The criterion of that name. Raises `ConfigError`."""
    if name not in CRITERIA:
        raise ConfigError(
            f"`criterion` must be one of {', '.join(CRITERIA)}, got {name!r}: "
            "choose one of these, or give a function (outputs, targets) -> losses."
        )
    return CRITERIA[name]


def n_outputs(n_classes: int, targets: str = "onehot", criterion: str = "mse") -> int:
    """How many outputs a network needs: one a class, or a single one for signed targets and for regression. Raises `ConfigError`."""
    get(criterion)
    if targets not in TARGETS:
        raise ConfigError(f"`targets` must be one of {', '.join(TARGETS)}, got {targets!r}: onehot has one output a class.")
    if n_classes == 0:
        if criterion != "mse" or targets != "onehot":
            raise ConfigError(f"Regression needs criterion='mse' and targets='onehot', got {criterion!r} and {targets!r}: set these.")
        return 1
    if targets == "onehot":
        return n_classes
    if n_classes != 2:
        raise ConfigError(f"`targets='signed'` needs exactly two classes, got {n_classes}: set classes=2, or targets='onehot'.")
    if criterion != "mse":
        raise ConfigError(f"`targets='signed'` needs criterion='mse', got {criterion!r}: set that, or targets='onehot'.")
    return 1


def encode(labels: np.ndarray | Tensor, n_classes: int, criterion: str = "mse", targets: str = "onehot") -> Tensor:
    """Targets [n, n_outputs], float64, of integer labels [n], or [n, A, n_outputs] of [n, A].

    onehot: 1 at the label and 0 elsewhere, for both criteria. signed: −1 for class 0 and +1 for class 1. n_classes = 0: regression, whose
    labels [n, 1] are the targets. Raises `ConfigError`, `DataError`.

    >>> encode(torch.tensor([0, 1]), 2, targets="signed").tolist()
    [[-1.0], [1.0]]
    """
    size = n_outputs(n_classes, targets, criterion)
    if n_classes == 0:
        return torch.as_tensor(labels, dtype=torch.float64)
    labels = torch.as_tensor(labels, dtype=torch.int64)
    wrong = labels[(labels < 0) | (labels >= n_classes)]
    if len(wrong):
        raise DataError(
            f"Labels must be 0 to {n_classes - 1} for {n_classes} classes, got {int(wrong[0])}: check the labels or raise `classes`."
        )
    if size == 1 and targets == "signed":
        return (2.0 * labels[:, None] - 1.0).to(torch.float64)
    return torch.nn.functional.one_hot(labels, n_classes).to(torch.float64)


def predicted_classes(outputs: Tensor) -> Tensor:
    """The class that outputs [..., C] name: the largest, or the sign of a single output (signed targets)."""
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0).long()
    return outputs.argmax(-1)


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """Share of outputs [n, C] whose predicted class is the label [n], likewise [n, A, C] and [n, A]; NaN without examples or classes."""
    if labels.is_floating_point():
        return math.nan
    return float((predicted_classes(outputs) == labels).double().mean())
