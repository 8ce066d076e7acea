"""Lockstep, changes, forks, checkpoints; and the claims of the first preset on real digits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import cflows_core as cf
from cflows_core import ConfigError, Frame, RunConfig, Simulation, StoreError

SMALL = RunConfig(n_train=60, width=8, depth=2, lr=0.35, warm_start=20, steps=15, n_eigs=3, checkpoint_every=10)


def values(frames: list[Frame]) -> dict[tuple, np.ndarray]:
    """Everything a list of frames holds but the wall time."""
    out: dict[tuple, np.ndarray] = {}
    for frame in frames:
        for flow, series in frame.flows.items():
            out.update({(frame.step, flow, name): np.asarray(value) for name, value in series.items()})
        out.update({(frame.step, "distance", flow): np.asarray(value) for flow, value in frame.distance.items()})
    return out


def assert_identical(a: list[Frame], b: list[Frame]) -> None:
    first, second = values(a), values(b)
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=str(key))


def test_frames_and_names() -> None:
    frames = list(Simulation(SMALL))
    assert [frame.step for frame in frames] == list(range(36))
    assert set(frames[19].flows) == {"discrete"}
    assert set(frames[20].flows) == {"discrete", "stable", "central", "rod"}
    assert set(frames[20].distance) == {"stable", "central", "rod"}
    assert frames[20].distance["central"] == 0.0
    assert frames[-1].events[-1].kind == "finished"
    for frame in frames:
        for flow, series in frame.flows.items():
            for name, value in series.items():
                assert flow in cf.SERIES[name].flows, (flow, name)
                dims = cf.SERIES[name].dims
                assert np.ndim(value) == len(dims)
                if dims == ("mode",):
                    assert len(value) == SMALL.n_eigs
    spent = [frame.gradients for frame in frames]
    assert all(b > a for a, b in itertools.pairwise(spent))


def test_same_configuration_same_run() -> None:
    assert_identical(list(Simulation(SMALL)), list(Simulation(SMALL)))


def test_advance_bounds() -> None:
    simulation = Simulation(SMALL)
    assert [f.step for f in simulation.advance(steps=3)] == [0, 1, 2]
    assert simulation.step_number == 3
    assert len(simulation.advance(seconds=0.0)) == 1
    assert len(simulation.advance(steps=10_000)) == 32
    assert simulation.finished
    assert simulation.advance(seconds=1.0) == []
    simulation.extend(2)
    assert [f.step for f in simulation.advance(steps=5)] == [36, 37]
    with pytest.raises(ConfigError, match="needs a bound"):
        simulation.advance()


def test_discrete_frames_are_gradient_descent() -> None:
    frames = list(Simulation(SMALL))
    simulation = Simulation(SMALL)
    w = simulation.problem.weights
    for frame in frames[:10]:
        loss, gradient = simulation.objective.loss_and_grad(w)
        assert frame.flows["discrete"]["loss"] == pytest.approx(loss, rel=1e-12)
        w = w - SMALL.lr * gradient


def test_change_acts_from_the_next_step_and_replays() -> None:
    simulation = Simulation(SMALL)
    live = simulation.advance(steps=25)
    simulation.set(lr=0.2)
    live += simulation.advance(steps=100)
    assert simulation.config.changes == ((25, "lr", 0.2),)
    change = [event for frame in live for event in frame.events if event.kind == "change"]
    assert [event.step for event in change] == [25]
    replayed = list(Simulation(simulation.config))
    assert_identical(live, replayed)
    untouched = list(Simulation(SMALL))
    assert_identical(live[:25], untouched[:25])
    assert live[26].flows["discrete"]["loss"] != untouched[26].flows["discrete"]["loss"]
    with pytest.raises(ConfigError, match="must be positive"):
        simulation.set(lr=-1)
    with pytest.raises(ConfigError, match="start a new run"):
        simulation.set(seed=3)


def test_fork_is_independent() -> None:
    simulation = Simulation(SMALL)
    simulation.advance(steps=24)
    twin = simulation.fork()
    twin.set(lr=0.05)
    changed = twin.advance(steps=100)
    rest = simulation.advance(steps=100)
    assert simulation.config.changes == ()
    assert_identical(rest, list(Simulation(SMALL))[24:])
    assert changed[-1].flows["discrete"]["loss"] != rest[-1].flows["discrete"]["loss"]


@pytest.mark.parametrize("at", [0, 5, 20, 21, 30, 36])
def test_checkpoint_resumes_bit_for_bit(at: int, tmp_path) -> None:
    whole = list(Simulation(SMALL.replace(changes=[(24, "lr", 0.6)])))
    simulation = Simulation(SMALL.replace(changes=[(24, "lr", 0.6)]))
    simulation.advance(steps=at) if at else None
    path = simulation.save(tmp_path / "checkpoint.pt")
    loaded = Simulation.load(path)
    assert loaded.step_number == at
    assert_identical(loaded.advance(steps=100), whole[at:])


def test_a_file_that_is_no_checkpoint(tmp_path) -> None:
    with pytest.raises(StoreError, match="no checkpoint at"):
        Simulation.load(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(StoreError, match="is no checkpoint"):
        Simulation.load(tmp_path / "text.pt")


def test_own_objective() -> None:
    objective = cf.Objective.from_function(lambda w: (w**4).sum() / 4 + 0.5 * (w[0] * w[1]) ** 2, 2)
    config = RunConfig(lr=0.1, steps=10)
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    frames = list(Simulation(config, objective=objective, weights=weights))
    assert len(frames) == 11
    with pytest.raises(ConfigError, match="needs both"):
        Simulation(config, objective=objective)
    with pytest.raises(ConfigError, match="must be flat with 2"):
        Simulation(config, objective=objective, weights=torch.zeros(3))


def test_divergence_is_told_and_the_flows_go_on() -> None:
    frames = list(Simulation(SMALL.replace(lr=6.0, warm_start=0, steps=60)))
    told = [event for frame in frames for event in frame.events if event.kind == "diverged"]
    assert len(told) == 1
    assert "lower the learning rate" in told[0].message
    after = frames[told[0].step + 1]
    assert after.status["discrete"] == "stopped"
    assert math.isfinite(after.flows["central"].get("loss", 0.0))
    assert len(frames) == 61


def test_interrupted_in_mid_step_it_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(SMALL)
    begun = simulation.advance(steps=24)
    with monkeypatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(type(simulation.flow("rod")), "step", interrupt)  # the last flow: the others have stepped
        with pytest.raises(KeyboardInterrupt):
            next(simulation)
    assert simulation.step_number == 24
    assert_identical(begun + simulation.advance(steps=100), list(Simulation(SMALL)))


def test_no_flow_starts_from_a_diverged_optimizer() -> None:
    frames = list(Simulation(SMALL.replace(lr=6.0, warm_start=30, steps=5)))
    assert frames[-1].step == 35
    assert set(frames[-1].flows) == {"discrete"}


def test_own_objective_is_asked_for_again(tmp_path) -> None:
    objective = cf.Objective.from_function(lambda w: (w**4).sum(), 2)
    path = Simulation(RunConfig(lr=0.1, steps=5), objective=objective, weights=torch.ones(2).double()).save(tmp_path / "own.pt")
    assert Simulation.load(path, objective).step_number == 0
    with pytest.raises(StoreError, match="objective of its own"):
        Simulation.load(path)


@pytest.mark.slow
def test_digits_preset_at_the_edge() -> None:
    """Issue's figures: 300 steps from a warm start at the edge with several modes (math.md 11: η = 0.3)."""
    config = RunConfig(lr=0.3, warm_start=240, steps=300)
    run = cf.run(config, progress=False)
    distance = {flow: float(run.distance.sel(flow=flow)[-1]) for flow in ("stable", "central", "rod")}
    assert distance["rod"] < distance["stable"] / 10
    assert distance["central"] < distance["stable"] / 5
    top = run["central"].effective_eigs.values[250:, 0]
    assert np.abs(top / 2 - 1).max() < 0.02


def test_modes_that_would_go_unseen_are_told() -> None:
    frames = list(Simulation(RunConfig(lr=0.25, warm_start=100, steps=4, n_eigs=1, flows=["central"], observe=[])))
    assert frames[-1].flows["central"]["rank"] == 1
    notes = [event.message for frame in frames for event in frame.events if event.kind == "note"]
    assert notes
    assert "n_eigs" in notes[0]
