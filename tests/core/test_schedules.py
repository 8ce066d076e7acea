"""Schedules: every text's factor, and one sentence for texts that describe none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from cflows_core import ConfigError, Optimizer, RunConfig, Simulation
from cflows_core.errors import StoreError
from cflows_core.optimizers import State
from cflows_core.schedules import EXAMPLES, LEAST, schedule_from


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("constant", {0: 1, 3.5: 1, 1e6: 1}),
        ("constant()", {7: 1}),
        ("warmup(50)", {0: 1 / 50, 23.5: 24.5 / 50, 49: 1, 50: 1, 1000: 1}),
        ("warmup(1)", {0: 1}),
        ("cosine(300, 0.1)", {0: 1, 150: 0.55, 300: 0.1, 301: 0.1, 75: 0.1 + 0.9 * 0.5 * (1 + math.sqrt(0.5))}),
        ("cosine(10)", {0: 1, 5: 0.5, 10: LEAST, 99: LEAST}),
        ("step(100, 0.5)", {0: 1, 99.5: 1, 100: 0.5, 199: 0.5, 200: 0.25, 250: 0.25}),
        ("step(100)", {100: 0.1}),
        ("step(5, 0)", {4: 1, 5: LEAST}),
        (" step( 100 ,0.5 ) ", {100: 0.5}),
        ("step(1e2, 5e-1)", {100: 0.5}),
    ],
)
def test_factors(text: str, values: dict[float, float]) -> None:
    schedule = schedule_from(text)
    for tau, factor in values.items():
        assert schedule(tau) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("text", EXAMPLES)
def test_always_positive_and_never_above_one(text: str) -> None:
    schedule = schedule_from(text)
    assert all(0 < schedule(0.25 * quarter) <= 1 for quarter in range(4000))


def test_a_step_counts_from_a_time_that_is_whole_to_rounding() -> None:
    """Flows add up τ from substeps: three thirds a step come to a whole number only to rounding."""
    schedule, tau = schedule_from("step(50, 0.5)"), 0.0
    for step in range(200):
        assert schedule(tau) == pytest.approx(0.5 ** (step // 50), rel=1e-12)
        for _ in range(3):
            tau += 1 / 3


@pytest.mark.parametrize(
    "text",
    [
        "", "linear(50)", "warmup", "warmup()", "warmup(50, 0.1)", "warmup(ten)", "warmup(50", "warmup 50", "warmup(0)", "warmup(-5)",
        "warmup(nan)", "warmup(inf)", "cosine(300, 2)", "cosine(300, -0.1)", "cosine", "step(0.5)", "step(10, 1, 1)", "step(10,)",
        "constant(3)", "warmup((5))", "Warmup(5)", "__import__('os')",
    ],
)  # fmt: skip
def test_nonsense_is_one_sentence(text: str) -> None:
    for attempt in (lambda: schedule_from(text), lambda: RunConfig(schedule=text), lambda: Optimizer("gd", lr=1.0, schedule=text)):
        with pytest.raises(ConfigError, match=r"^`schedule` ") as error:
            attempt()
        message = str(error.value)
        assert message.endswith(".")
        assert "\n" not in message
        assert repr(text) in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("warmup(2.5)", "2.5"), ("cosine(10.5, 0.1)", "10.5"), ("cosine(1e-3)", "0.001"), ("step(99.999, 0.5)", "99.999"),
        ("warmup(50.0000001)", "50.0000001"), ("step(0.5)", "0.5"), ("warmup(-5)", "-5"), ("warmup(0)", "0"),
    ],
)  # fmt: skip
def test_steps_are_counted_in_whole_numbers(text: str, value: str) -> None:
    """The same sentence for too few steps and for broken ones, with the number that was given."""
    with pytest.raises(ConfigError) as error:
        schedule_from(text)
    assert str(error.value) == f"`schedule` counts in whole steps, at least 1, got {value} in {text!r}."


@pytest.mark.parametrize(("text", "n"), [("warmup(50.0)", 50), ("cosine(3e2, 0.1)", 300), ("step(+1.0, 0.5)", 1)])
def test_whole_numbers_may_be_written_with_a_point(text: str, n: int) -> None:
    name = text.partition("(")[0]
    whole = schedule_from({"warmup": f"warmup({n})", "cosine": f"cosine({n}, 0.1)", "step": f"step({n}, 0.5)"}[name])
    assert [schedule_from(text)(tau / 2) for tau in range(3 * n)] == [whole(tau / 2) for tau in range(3 * n)]


def test_the_learning_rate_follows() -> None:
    optimizer = Optimizer("gd", lr=0.4, schedule="step(10, 0.5)")
    assert [optimizer.lr_at(tau) for tau in (0, 9.5, 10, 25)] == [0.4, 0.4, 0.2, 0.1]
    own = Optimizer("gd", lr=0.4, schedule=lambda tau: 1 / (1 + tau))
    assert own.lr_at(3.0) == pytest.approx(0.1)


def test_a_configuration_carries_its_schedule() -> None:
    config = RunConfig(schedule="warmup(50)", lr=0.5)
    assert RunConfig.from_json(config.to_json()).schedule == "warmup(50)"
    assert config.hash != RunConfig(lr=0.5).hash
    state = State(torch.zeros(1, dtype=torch.float64), tau=24.0)
    assert float(Optimizer.of(config).preconditioner(state)) == pytest.approx(1 / (0.5 * 0.5))


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    """A callable gives the same run as its text; a checkpoint asks for it again, because no file holds a function."""
    config = RunConfig(n_train=40, width=4, steps=6, flows=("central", "rod"), observe=())
    text = list(Simulation(config.replace(schedule="warmup(4)")))
    own = Simulation(config, schedule=lambda tau: min(1.0, (tau + 1) / 4))
    early = own.advance(steps=4)
    path = own.save(tmp_path / "own.checkpoint")
    with pytest.raises(StoreError, match=r"needs its own schedule.*Simulation.load\(path, schedule=function\)"):
        Simulation.load(path)
    late = list(Simulation.load(path, schedule=lambda tau: min(1.0, (tau + 1) / 4)))
    for ours, theirs in zip([*early, *late], text, strict=True):
        assert ours.flows["discrete"]["loss"] == theirs.flows["discrete"]["loss"]
        assert ours.flows["central"]["loss"] == theirs.flows["central"]["loss"]
    plain = Simulation(config).save(tmp_path / "plain.checkpoint")
    with pytest.raises(StoreError, match="follows its configuration's schedule"):
        Simulation.load(plain, schedule=lambda tau: 1.0)
