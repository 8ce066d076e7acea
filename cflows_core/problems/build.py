"""From a configuration to the problem it names: objective, initial weights and test set."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.problems import criteria, datasets, files, models
from cflows_core.problems.objective import Objective
from cflows_core.rules import is_file

# A small model's step is Python's overhead, which a GPU only adds to.
GPU_FROM = 100_000


@dataclass(frozen=True)
class TestSet:
    """Examples the run never trains on, and how to score them."""

    inputs: Tensor
    targets: Tensor
    per_example: Callable[[Tensor, Tensor], Tensor]
    labels: Tensor

    def score(self, objective: Objective, w: Tensor) -> tuple[float, float]:
        """Mean loss and accuracy at w."""
        outputs = objective.outputs(w, self.inputs)
        return float(self.per_example(outputs, self.targets).mean()), criteria.accuracy(outputs, self.labels)


@dataclass(frozen=True)
class Problem:
    """An objective, where training starts, and the test set (None for a user's own objective)."""

    objective: Objective
    weights: Tensor
    test: TestSet | None = None


def build_problem(config: RunConfig) -> Problem:
    """The problem that the configuration's fields name. Raises `ConfigError`, `DataError` or `ModelError`."""
    if is_file(config.dataset):
        return Problem(*files.find(config.dataset).make(config.seed))
    dtype = _dtype(config)
    data = datasets.load(config.dataset, n_train=config.n_train, classes=config.classes, degree=config.degree)
    module = _network(config, dtype)
    device = _device(config, models.count_parameters(module))
    if config.dtype == "auto" and device == "cuda":
        dtype = torch.float32

    def encode(labels) -> Tensor:
        return criteria.encode(torch.as_tensor(labels), data.n_classes, config.criterion, config.targets)

    objective = Objective.from_module(
        module,
        torch.as_tensor(data.inputs),
        encode(data.labels),
        config.criterion,
        dtype=dtype,
        device=device,
        derivatives=config.derivatives,
        max_memory=config.max_memory,
        check=False,  # the tests check our own architectures
    )
    assert objective.weights is not None
    test = None
    if len(data.test_inputs):
        targets, labels = encode(data.test_labels).to(device), torch.as_tensor(data.test_labels).to(device)
        targets = targets.to(dtype)
        inputs = torch.as_tensor(data.test_inputs).to(device)
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        test = TestSet(inputs, targets, criteria.get(config.criterion), labels)
    return Problem(objective, objective.weights, test)


def count_parameters(config: RunConfig) -> int:
    """The number of weights p of the network that a configuration names, without its data. Raises `ConfigError` for an unknown file."""
    if is_file(config.dataset):
        return files.find(config.dataset).parameters
    # Tensors without memory bring a second of imports along: only for networks that take longer to draw.
    large = config.depth * config.width**2 > 2**16
    with torch.device("meta") if large else nullcontext():
        return models.count_parameters(_network(config, torch.float64))


def _network(config: RunConfig, dtype: torch.dtype) -> torch.nn.Module:
    classes = datasets.n_classes(config.dataset, config.classes)
    return models.build(
        config.architecture,
        datasets.signature(config.dataset, criteria.n_outputs(classes, config.targets, config.criterion)),
        width=config.width,
        depth=config.depth,
        activation=config.activation,
        activation_mix=config.activation_mix,
        head_scale=config.head_scale,
        seed=config.seed,
        dtype=dtype,
    )


def _dtype(config: RunConfig) -> torch.dtype:
    return torch.float32 if config.dtype == "float32" else torch.float64


def _device(config: RunConfig, n_params: int) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() and n_params >= GPU_FROM else "cpu"
    return config.device
