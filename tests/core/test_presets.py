"""Each preset shows what its one line promises, by measurement; the discrete optimizer and one flow are enough to see it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.frames import Frame
from cflows_core.presets import DEFAULT, PRESETS, Preset, get
from cflows_core.presets.architectures import SEVEN
from cflows_core.presets.narrow import CNN, LONG
from cflows_core.presets.optimizers import OPTIMIZERS
from cflows_core.problems.build import build_problem
from cflows_core.problems.datasets import find_cifar10
from cflows_core.simulation import Simulation
from cflows_core.store import Run

EDGE = 2.0  # gradient descent's threshold


def run(name: str, until: int, flows: Sequence[str] = ("discrete",)) -> list[Frame]:
    """The preset's frames from the start of its flows to step `until`."""
    config = PRESETS[name].config.replace(flows=flows, observe=[])
    frames = Simulation(config).advance(steps=until + 1)
    return frames[config.warm_start :]


def top(frames: list[Frame], mode: int = 0) -> np.ndarray:
    """The discrete run's eigenvalue of a mode over the edge, [n]; NaN where it is not tracked, as all far below are."""
    return np.array([frame.flows["discrete"]["effective_eigs"][mode] for frame in frames]) / EDGE  # type: ignore[index]


def ranks(frames: list[Frame]) -> dict[int, int]:
    """Step -> rank of Σ, where the central flow gives one."""
    found = {frame.step: frame.flows["central"].get("rank", math.nan) for frame in frames}
    return {step: int(rank) for step, rank in found.items() if not math.isnan(float(rank))}


def test_names_and_lines() -> None:
    assert next(iter(PRESETS)) == DEFAULT
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert RunConfig.from_json(preset.config.to_json()) == preset.config
        for text in (preset.title, preset.group, preset.look_at):
            assert text
            assert "\n" not in text
        # One sentence: ended once, at its end; "0.64" and "third order, lags" end none.
        assert [match.end() for match in re.finditer(r"[.!?](?=\s|$)", preset.look_at)] == [len(preset.look_at)], name
        assert len(preset.look_at) <= 140, name
    titles = [preset.title for preset in PRESETS.values()]
    assert len(set(titles)) == len(titles)
    assert len({preset.config.hash for preset in PRESETS.values()}) == len(PRESETS)
    groups = [preset.group for preset in PRESETS.values()]
    assert groups == sorted(groups, key=groups.index)  # a group is listed in one piece
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS[DEFAULT].title = "other"  # type: ignore[misc]


def test_every_optimizer_and_every_architecture_has_a_preset() -> None:
    configs = [preset.config for preset in PRESETS.values()]
    for field in ("optimizer", "architecture"):
        offered = set(RunConfig.param[field].objects)
        assert {getattr(config, field) for config in configs} == offered
    assert (len(RunConfig.param["optimizer"].objects), len(RunConfig.param["architecture"].objects)) == (9, 7)


def test_the_default_is_large_enough() -> None:
    config = PRESETS[DEFAULT].config
    problem = build_problem(config)
    assert problem.objective.n_params >= 1482
    assert config.n_train >= 300


def test_get_names_what_is_close() -> None:
    assert get(DEFAULT) is PRESETS[DEFAULT]
    with pytest.raises(ConfigError, match=r"There is no preset 'digits-mpl': did you mean digits-mlp"):
        get("digits-mpl")
    with pytest.raises(ConfigError, match=f"There is no preset '§': there are {DEFAULT}, "):
        get("§")


def test_availability(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert PRESETS[DEFAULT].available() == ""
    monkeypatch.setenv("CFLOWS_DATA_DIR", str(tmp_path))
    missing: Preset = PRESETS["cifar10-mlp"]
    assert "CIFAR-10, which was not found" in missing.available()


def test_divergence_is_told() -> None:
    frames = run("digits-diverges", 20)
    assert [event.kind for frame in frames for event in frame.events if event.flow == "discrete"] == ["diverged"]


def test_cross_entropy_touches_the_edge_and_leaves() -> None:
    frames = run("digits-cross-entropy", 60, ("central",))
    eigenvalue = top(frames)
    assert 0.99 < eigenvalue[:20].max() < 1.05
    assert eigenvalue[60] < 0.6
    assert max(ranks(frames[:15]).values()) == 1
    assert ranks(frames)[60] == 0


def test_a_rod_without_oscillation_follows_the_stable_flow() -> None:
    """While the optimizer's swing grows sixfold, the rod's shrinks, and it drifts off exactly as the stable flow does."""
    frames = run("digits-no-oscillation", 125, ("stable", "rod"))
    swing = [float(frame.flows["discrete"]["half_difference"]) for frame in frames]
    extent = [float(frame.flows["rod"]["extent"]) for frame in frames]
    assert max(swing) > 5 * swing[0]
    assert extent[-1] < 0.8 * extent[0]
    last = frames[-1].distance
    assert last["stable"] > 0.05
    assert abs(last["rod"] - last["stable"]) < 0.01 * last["stable"]


@pytest.mark.slow
@pytest.mark.timeout(600)  # the time that every preset is to need at most
@pytest.mark.parametrize("name", [*SEVEN, *(preset.name for preset in (*OPTIMIZERS, *LONG, *CNN))])
def test_every_model_and_optimizer_reaches_its_edge(name: str) -> None:
    """λ₁/c between 0.9 and 1.1 for at least a hundred steps: every model with both losses, two presets or more of each optimizer."""
    simulation = Simulation(PRESETS[name].config.replace(flows=["discrete"], observe=[]))
    threshold, at_edge = simulation.optimizer.threshold, 0
    for frame in simulation:
        at_edge += 0.9 < float(frame.flows["discrete"]["effective_eigs"][0]) / threshold < 1.1
        if at_edge == 100:
            return
    pytest.fail(f"{at_edge} steps at the edge")


@pytest.mark.slow
def test_annealing_lands_on_the_central_flow() -> None:
    """The optimizer's loss is a twentieth above the central flow's before η falls at step 350, and within 0.5 % of it ten steps later."""
    frames = run("annealing-gd", 360, ("discrete", "central"))
    ratio = [frame.flows["discrete"]["loss"] / frame.flows["central"]["loss"] - 1 for frame in frames]
    before, after = ratio[349 - 40 - 100 : 349 - 100], ratio[-1]
    assert np.mean(before) > 0.04
    assert abs(after) < 0.005


@pytest.mark.slow
def test_one_mode_then_two() -> None:
    found = ranks(run("digits-mlp", 260, ("central",)))
    second = min(step for step, rank in found.items() if rank == 2)
    assert 180 < second < 220
    assert {rank for step, rank in found.items() if 105 < step < second} == {1}
    assert {rank for step, rank in found.items() if step >= second} == {2}


@pytest.mark.slow
def test_three_modes_join_one_after_another() -> None:
    found = ranks(run("digits-mlp-many", 240, ("central",)))
    first = {rank: min(step for step, r in found.items() if r == rank) for rank in (1, 2, 3)}
    assert first[1] < 110
    assert 160 < first[2] < first[3] < 215
    assert found[240] == 3


@pytest.mark.slow
def test_flows_that_start_above_the_edge_settle_first() -> None:
    frames = run("digits-mlp-settling", 280, ("central",))
    assert top(frames)[0] > 1.02
    assert frames[0].status["central"] == "settling"
    assert frames[10].status["central"] == "running"
    assert set(ranks(frames[10:]).values()) == {2}


@pytest.mark.slow
def test_gelu_comes_to_the_edge_and_leaves_it() -> None:
    frames = run("digits-mlp-gelu", 520, ("central",))
    eigenvalue = top(frames)
    assert eigenvalue[:150].min() > 0.98
    assert eigenvalue[:150].max() < 1.05
    assert eigenvalue[-1] < 0.95
    found = ranks(frames)
    assert found[300] == 1
    assert found[520] == 0


@pytest.mark.slow
def test_sharpening_reaches_the_edge_from_step_0() -> None:
    eigenvalue = top(run("digits-sharpening", 260))
    first = int(np.argmax(eigenvalue > 1))
    assert 180 < first < 260
    assert eigenvalue[first // 2] < 0.9


@pytest.mark.slow
def test_the_cnn_circles_around_the_edge() -> None:
    eigenvalue = top(run("digits-cnn", 220))
    crossings = np.count_nonzero(np.diff(np.sign(eigenvalue - 1)))
    assert crossings >= 4
    assert abs(np.median(eigenvalue) - 1) < 0.05


@pytest.mark.slow
@pytest.mark.skipif(find_cifar10() is None, reason="CIFAR-10 is missing: set CFLOWS_DATA_DIR to its folder")
def test_cifar10_keeps_to_the_edge_with_one_mode() -> None:
    frames = run("cifar10-mlp", 265)
    first, second = top(frames), top(frames, 1)
    assert np.abs(first[: 250 - 75] - 1).max() < 0.02
    assert second[150 - 75] < 0.9
    assert second[-1] > 0.98


def share(frames: list[Frame], flow: str) -> float:
    """The last distance of a flow over the path that the optimizer travelled."""
    return frames[-1].distance[flow] / float(frames[-1].flows["discrete"]["path_length"])


def test_divergence_in_mid_run() -> None:
    frames = run("chebyshev-diverges", 540, ("central",))
    eigenvalue = top(frames[:200])
    assert np.abs(eigenvalue[:100] - 1).max() < 0.1
    assert eigenvalue[150:].max() > 1.3
    assert [(event.flow, event.step) for frame in frames for event in frame.events if event.kind == "diverged"] == [("discrete", 527)]
    assert frames[-1].status["central"] == "running"


@pytest.mark.slow
def test_the_largest_step_is_further_from_the_central_flow() -> None:
    large, usual = (run(name, 400, ("central",)) for name in ("digits-large-step", "digits-mlp"))
    assert np.mean(top(large)) > 1.05
    assert share(large, "central") > 2 * share(usual, "central")


@pytest.mark.slow
def test_kinks_hold_an_oscillation_below_the_edge() -> None:
    frames = run("digits-relu", 420, ("central", "rod"))
    assert top(frames).max() < 0.99
    assert {float(frame.flows["discrete"]["period"]) for frame in frames} == {2.0}
    assert set(ranks(frames).values()) == {0}
    assert frames[-1].distance["rod"] < frames[-1].distance["central"] / 4


@pytest.mark.slow
def test_a_spike_turns_the_optimizer_to_the_central_flow() -> None:
    frames = run("digits-spike", 330, ("stable", "central"))
    before, after = frames[130 - 30].distance, frames[-1].distance
    assert top(frames).max() > 1.4
    assert before["stable"] < before["central"] / 5
    assert after["central"] < after["stable"] / 3


@pytest.mark.slow
def test_an_average_that_forgets_leaves_the_edge() -> None:
    frames = run("rmsprop-forgetful", 160, ("central",))
    assert np.median(top(frames)) > 1.7
    assert share(frames, "central") > 0.1


def test_period_4() -> None:
    """On the run that the lesson shows: at so large a step the way there turns on the last bit, and so on the processor's instructions."""
    stored = Run.open(Path(__file__).parents[2] / "app" / "assets" / "lessons" / "runs" / "breaks-period-4.zarr")
    config = PRESETS["cnn-period-4"].config
    assert stored.config.replace(observe=config.observe, flows=config.flows, n_eigs=config.n_eigs, threads=config.threads) == config
    period = stored.series("discrete", "period")
    assert set(period[(stored.steps >= config.warm_start) & (stored.steps <= 440)]) == {4.0}
