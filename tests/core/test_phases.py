"""The sentence above the plots: synthetic histories of each phase, and real runs told from their stores."""

from __future__ import annotations

import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.frames import Event, Frame
from cflows_core.history import History
from cflows_core.phases import DWELL, phase
from cflows_core.store import Recorder, Run

ALONE = RunConfig(flows=["discrete"])
AT_ONCE = {"not_started", "warm_start", "settling", "diverged", "finished"}


def frames(top, rank=None, *, second=0.5, status="running", events=(), start=0, every=1) -> list[Frame]:
    """A history of eigenvalues, given as shares of the threshold 2."""
    made = []
    for i, value in enumerate(np.atleast_1d(top)):
        step = start + i * every
        flows = {"discrete": {"loss": 1.0, "effective_eigs": 2 * np.append(value, second)}}
        statuses = {"discrete": "running"}
        if rank is not None:
            r = np.broadcast_to(rank, np.shape(top))[i]
            flows["central"] = {"effective_eigs": 2 * np.append(min(value, 1.0), second), "rank": float(r)}
            statuses["central"] = status
        distance = {"central": 0.025, "stable": 0.2} if rank is not None else {}
        made.append(Frame(step, 0.0, 0.0, flows, distance, statuses, tuple(event for event in events if event.step == step)))
    return made


def told(history, config=ALONE, last=None):
    sentence = phase(history, last, config)
    assert len(sentence.sentence.split()) <= 25
    assert sentence.sentence.endswith(".")
    return sentence


def test_nothing_yet() -> None:
    assert told([]).name == "not_started"
    assert told(History()).name == "not_started"
    assert told(frames(np.linspace(0.4, 0.8, 50), start=10), last=5).name == "not_started"


def test_progressive_sharpening() -> None:
    rising = frames(np.linspace(0.4, 0.8, 200), rank=0)
    assert told(rising).name == "progressive_sharpening"
    assert "80%" in told(rising).sentence
    assert "60%" in told(rising, last=99).sentence


def test_below_the_edge_without_rising() -> None:
    assert told(frames(np.full(100, 0.4))).name == "below_edge"
    assert told(frames(np.linspace(0.9, 0.5, 100), rank=0)).name == "below_edge"


def approach() -> np.ndarray:
    """Up through the threshold, twelve per cent over it, and down within twenty steps."""
    return np.concatenate([np.linspace(0.8, 1.12, 160), np.linspace(1.12, 0.97, 20), np.full(60, 1.0)])


def test_oscillation_grows_above_the_threshold() -> None:
    rank = np.concatenate([np.zeros(100), np.ones(140)])
    growing = told(frames(approach()[:150], rank[:150]))
    assert growing.name == "oscillation_growing"
    assert "10% above" in growing.sentence


def test_sharpness_falls_once_the_oscillation_is_large() -> None:
    falling = told(frames(approach()[:178], 1))
    assert falling.name == "sharpness_falling"
    assert "from 112% to 99%" in falling.sentence


@pytest.mark.parametrize(("central", "said"), [(True, "Σ has rank 1"), (False, "along one mode")])
def test_one_mode_at_the_edge(central: bool, said: str) -> None:
    wobble = 1.0 + 0.015 * np.sin(np.arange(200) / 5)
    now = told(frames(wobble, 1 if central else None))
    assert now.name == "edge_one"
    assert said in now.sentence


@pytest.mark.parametrize(("rank", "word"), [(2, "Two"), (3, "Three")])
def test_several_modes_at_the_edge(rank: int, word: str) -> None:
    ranks = np.full(200, rank)
    ranks[::17] -= 1  # a rank that drops out now and then is no news
    now = told(frames(np.full(200, 1.01), ranks, second=np.ones(rank - 1)))
    assert now.name == "edge_several"
    assert now.sentence == f"{word} eigenvalues sit at the edge: Σ now has rank {rank}."


def test_the_rank_of_a_flow_that_lost_the_optimizer_is_not_its_own() -> None:
    """After settling from far above the edge the flow may be elsewhere: the sentence is about the optimizer."""
    assert told(frames(np.full(100, 0.8), 2)).name == "below_edge"
    now = told(frames(np.full(100, 1.01), 2))
    assert now.sentence == "One eigenvalue sits at the edge: the optimizer oscillates along one mode, and Σ has rank 2."


def test_several_modes_without_a_central_flow() -> None:
    now = told(frames(np.full(200, 1.01), second=0.99))
    assert now.sentence == "Two eigenvalues sit at the edge: the optimizer oscillates along two modes."


def test_off_the_edge_again() -> None:
    slipping = np.concatenate([np.full(150, 1.0), np.linspace(1.0, 0.8, 100)])
    rank = (slipping >= 1.0).astype(int)
    now = told(frames(slipping, rank))
    assert now.name == "off_edge"
    assert "80%" in now.sentence


def test_a_change_of_the_learning_rate_is_told_at_once() -> None:
    """Halving it halves every effective eigenvalue: no fall of the sharpness, and nothing to wait for."""
    change = Event(150, "", "change", "Learning rate η is 0.15 from here on.")
    history = frames(np.concatenate([np.full(150, 1.0), np.full(60, 0.5)]), np.concatenate([np.ones(150), np.zeros(60)]), events=[change])
    assert [told(history, last=step).name for step in (149, 150, 155, 200)] == ["edge_one", "off_edge", "off_edge", "off_edge"]
    raised = [*history, *frames(np.linspace(1.3, 1.4, 20), 3, events=[Event(210, "", "change", "")], start=210)]
    assert told(raised, last=210).name == "oscillation_growing"


def test_settling_and_warm_start() -> None:
    config = RunConfig(warm_start=100)
    warm = frames(np.linspace(0.5, 1.2, 100))
    assert told(warm, config).name == "warm_start"
    assert "step 100" in told(warm, config).sentence
    settling = [*warm, *frames([1.2], np.nan, status="settling", start=100)]
    assert told(settling, config).name == "settling"
    assert "no Σ" in told(settling, config).sentence
    assert told([*warm, *frames(np.full(30, 1.0), 1, start=100)], config).name in ("edge_one", "oscillation_growing")


def test_the_end() -> None:
    done = Event(199, "", "finished", "The run is complete: 199 steps.")
    finished = frames(np.full(200, 1.0), 2, second=1.0, events=[done])
    now = told(finished)
    assert now.name == "finished"
    assert "two eigenvalues at the edge: the central flow ended 0.025 from the optimizer, the stable flow 0.2" in now.sentence
    assert told(finished, last=150).name == "edge_several"
    extended = [*finished, *frames(np.full(5, 1.0), 2, second=1.0, start=200)]
    assert told(extended).name == "edge_several"
    assert told(frames(np.full(10, 0.5), events=[Event(9, "", "finished", "")])).sentence == "The run is complete at step 9."


def test_divergence() -> None:
    gone = Event(60, "discrete", "diverged", "The optimizer diverged.")
    still = {"discrete": {"loss": 1e9}}
    stopped = [Frame(t, 0.0, 0.0, still, {}, {"discrete": "stopped"}, (gone,) if t == 60 else ()) for t in range(60, 70)]
    now = told([*frames(np.full(60, 3.0)), *stopped])
    assert now.name == "diverged"
    assert "step 60" in now.sentence
    assert told([Frame(3, 0.0, 0.0, {"discrete": {"loss": np.inf}})]).name == "diverged"


def test_a_swinging_eigenvalue_does_not_flicker() -> None:
    """A large learning rate swings to and fro for ever: told twice, then it is how the run sits at the edge."""
    swing = np.concatenate([np.linspace(0.8, 1.1, 60), 1.08 + 0.05 * np.sin(np.arange(600) / 5)])
    history = frames(swing, 1)
    names = [told(history, last=step).name for step in range(0, 660, 2)]
    assert set(names[-250:]) == {"edge_one"}
    assert len(list(groupby(names))) < 12


def test_thinned_histories_read_the_same() -> None:
    names = {told(frames(approach()[:step:every], 1, every=every)).name for step, every in ((150, 1), (150, 2), (150, 4))}
    assert names == {"oscillation_growing"}


def test_missing_eigenvalues_are_no_obstacle() -> None:
    history = frames(np.full(50, 0.5))
    bare = Frame(50, 0.0, 0.0, {"discrete": {"loss": 1.0}}, {}, {"discrete": "running"})
    assert told([*history, bare]).name == "below_edge"
    assert "not known yet" in told([bare]).sentence


def test_it_is_cheap_however_long_the_history() -> None:
    history = History(frames(1.0 + 0.01 * np.sin(np.arange(20_000) / 7), 1))
    phase(history, None, ALONE)
    costs = []
    for _ in range(20):
        begin = time.perf_counter()
        phase(history, None, ALONE)
        costs.append(time.perf_counter() - begin)
    assert min(costs) < 5e-3  # measured 0.5 ms; called ten times a second


# Real runs, told from their stores


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Run]:
    """Two small networks on digits: one mode at the edge, then off it and far above it by changes; and two modes."""
    from cflows_core.simulation import Simulation

    small = RunConfig(
        width=6, depth=1, n_train=80, n_eigs=2, head_scale=0.1, lr=0.5, steps=330, classes=5, observe=[], flows=["central"],
        changes=[(215, "lr", 0.25), (300, "lr", 0.7)],
    )  # fmt: skip
    configs = {"one": small, "two": small.replace(n_train=40, classes=10, steps=250, changes=[])}
    stored = {}
    for name, config in configs.items():
        path = Path(tmp_path_factory.mktemp("phases")) / f"{name}.zarr"
        with Recorder(path, config) as recorder:
            for frame in Simulation(config):
                recorder.append(frame)
        stored[name] = Run.open(path)
    return stored


def story(run: Run) -> list[tuple[str, int]]:
    """Phases in their order, with how long each was told."""
    names = [told(run, None, int(step)).name for step in run.steps]
    return [(name, len(list(group))) for name, group in groupby(names)]


def test_a_run_with_one_mode_tells_the_whole_story(runs) -> None:
    phases = [name for name, _ in story(runs["one"])]
    expected = [
        "progressive_sharpening", "oscillation_growing", "sharpness_falling", "edge_one", "off_edge", "settling",
        "oscillation_growing", "finished",
    ]  # fmt: skip
    at = 0
    for name in expected:  # in this order, whatever comes in between
        assert name in phases[at:], f"{name} is missing after {phases[:at]} in {phases}"
        at = phases.index(name, at) + 1


def test_a_run_with_two_modes_ends_with_two(runs) -> None:
    run = runs["two"]
    assert story(run)[-2][0] == "edge_several"
    assert "Σ now has rank 2" in told(run, None, int(run.steps[-2])).sentence


@pytest.mark.parametrize("name", ["one", "two"])
def test_sentences_stay_long_enough_to_be_read(runs, name: str) -> None:
    phases = story(runs[name])
    cut = {step for step, _, _ in runs[name].changes}  # a change is answered at once
    end = 0
    for phase_name, length in phases:
        end += length
        assert length >= DWELL or phase_name in AT_ONCE or end in cut, phases
    assert len(phases) <= 16


@pytest.mark.parametrize("name", ["one", "two"])
def test_live_frames_history_and_store_tell_the_same(runs, name: str) -> None:
    run = runs[name]
    recorded = list(run.frames())
    live = History(recorded)
    for step in range(0, len(run), 23):
        sentence = phase(run, step)
        assert phase(recorded[: step + 1], None, run.config) == sentence
        assert phase(live, step, run.config) == sentence
