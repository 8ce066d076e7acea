"""From a configuration to its problem: what goes together, test sets that score, and a few steps of everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cflows_core import ConfigError, ModelError, RunConfig, Simulation
from cflows_core.problems import datasets, models
from cflows_core.problems.build import build_problem
from tests.core.problems.networks import one_sentence

SIGNATURES = {name: datasets.signature(name, 4) for name in datasets.NAMES}


@pytest.fixture(autouse=True)
def _no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of gradients, which take seconds to make and have tests of their own, come later than these tests ask."""
    monkeypatch.setattr("cflows_core.problems.replay.AFTER", 10**9)


# What goes together


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_configurations_refuse_what_networks_refuse(architecture: str) -> None:
    """The rules of RunConfig, which builds nothing, are those of the networks: for all data, and for widths of any kind."""
    cases = [(data, 16) for data in SIGNATURES] + [("digits", width) for width in (1, 2, 4, 6, 8, 10, 12)]
    for data, width in cases:
        built = taken(ModelError, models.build, architecture, SIGNATURES[data], width=width, depth=1, activation="tanh")
        assert built == taken(ConfigError, RunConfig, architecture=architecture, dataset=data, width=width), (data, width)


def taken(error: type[Exception], make: Callable, *arguments: Any, **fields: Any) -> bool:
    """Whether these are taken, else refused in one sentence."""
    try:
        make(*arguments, **fields)
    except error as caught:
        one_sentence(caught)
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        *(({"architecture": name, "width": 10}, "multiple of 4 .*got 10: take 12") for name in ("resnet", "vit", "transformer")),
        *(({"architecture": name, "dataset": "sorting"}, f"reads sorting, got '{name}'") for name in ("mlp", "cnn", "resnet", "vit")),
        *(({"architecture": name, "dataset": "chebyshev"}, f"reads chebyshev, got '{name}'") for name in ("cnn", "lstm", "mamba")),
        ({"dataset": "chebyshev", "criterion": "cross_entropy"}, "needs criterion='mse', got 'cross_entropy'"),
        ({"dataset": "chebyshev", "targets": "signed", "classes": 2}, "two classes, got dataset='chebyshev'"),
        ({"dataset": "sorting", "architecture": "lstm", "targets": "signed", "classes": 2}, "two classes, got dataset='sorting'"),
        ({"dataset": "chebyshev", "degree": 0}, "`degree` must be a whole number from 1 to 12, got 0"),
    ],
)
def test_refusals_are_one_sentence(fields: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        RunConfig(**fields)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# Test sets


def test_sorting_scores_every_token() -> None:
    """Loss and accuracy, written out again from the outputs: means over examples and answers."""
    problem = build_problem(RunConfig(dataset="sorting", architecture="lstm", criterion="cross_entropy", width=8, n_train=5))
    assert problem.test is not None
    loss, accuracy = problem.test.score(problem.objective, problem.weights)
    outputs, labels = problem.objective.outputs(problem.weights, problem.test.inputs), problem.test.labels
    assert outputs.shape == (1000, 8, 4)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())), rel=1e-12)
    right = [int(outputs[i, a].argmax()) == int(labels[i, a]) for i in range(1000) for a in range(8)]
    assert accuracy == np.mean(right)
    assert 0 < accuracy < 1


def test_regression_has_a_loss_but_no_accuracy() -> None:
    problem = build_problem(RunConfig(dataset="chebyshev", width=8, n_train=9, degree=2))
    assert problem.test is not None
    loss, accuracy = problem.test.score(problem.objective, problem.weights)
    x = problem.test.inputs
    expected = 0.5 * (problem.objective.outputs(problem.weights, x) - (2 * x**2 - 1)).square().mean()
    assert loss == pytest.approx(float(expected), rel=1e-12)
    assert math.isnan(accuracy)


def test_float32_reaches_tokens_and_targets() -> None:
    problem = build_problem(RunConfig(dataset="sorting", architecture="mamba", width=8, n_train=5, dtype="float32"))
    assert problem.objective.grad(problem.weights).dtype == torch.float32
    assert problem.test is not None
    assert not problem.test.inputs.is_floating_point()
    assert math.isfinite(problem.test.score(problem.objective, problem.weights)[0])


# A few steps

# Learning rates whose edge of stability the first steps reach, so that flows turn to second and third derivatives.
RUNS = [
    ("resnet", "digits", "mse", 0.16),
    ("vit", "digits", "cross_entropy", 0.8),
    ("lstm", "sorting", "cross_entropy", 4.2),
    ("transformer", "sorting", "mse", 0.14),
    ("mamba", "sorting", "cross_entropy", 0.4),
    ("mlp", "chebyshev", "mse", 1.0),
]


@pytest.mark.parametrize(("architecture", "dataset", "criterion", "lr"), RUNS)
def test_every_flow_runs_on_every_architecture(architecture: str, dataset: str, criterion: str, lr: float) -> None:
    run = RunConfig(
        architecture=architecture,
        dataset=dataset,
        criterion=criterion,
        lr=lr,
        width=8,
        depth=1,
        n_train=12,
        warm_start=2,
        steps=3,
        n_eigs=2,
    )
    frames = list(Simulation(run))
    assert [frame.step for frame in frames] == list(range(6))
    last = frames[-1]
    assert set(last.flows) == {"discrete", "stable", "central", "rod"}
    assert set(last.status.values()) <= {"running", "settling"}
    for flow, series in last.flows.items():
        assert math.isfinite(float(series["loss"])), flow
    assert all(math.isfinite(distance) for distance in last.distance.values())
    reductions = [float(frame.flows["central"]["sharpness_reduction"]) for frame in frames if "central" in frame.flows]
    assert any(value < 0 for value in reductions)  # it has been held at the edge
    assert math.isfinite(float(last.flows["discrete"]["test_loss"]))
    assert math.isnan(float(last.flows["discrete"]["test_accuracy"])) == (dataset == "chebyshev")
