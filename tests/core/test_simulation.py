"""Lockstep, changes, forks, checkpoints; and the claims of the first preset on real digits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import cflows_core as cf
from cflows_core import ConfigError, Frame, RunConfig, Simulation, StoreError
from cflows_core.config import FLOW_NAMES, OBSERVABLES, OPTIMIZER_NAMES
from cflows_core.flows.central import Central
from cflows_core.rules import ABLATIONS

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


# Every flow that exists for an optimizer, with everything that can be observed; lr changes, and one flow remembers its dual solution.
FULL = {
    "rmsprop": RunConfig(
        optimizer="rmsprop", n_train=10, width=1, depth=1, lr=0.03, warm_start=2, steps=3, substeps=1, n_eigs=3, changes=[(5, "lr", 0.02)],
        flows=[*FLOW_NAMES, "central_no_curvature", "stationary", "stationary_limit"], observe=list(OBSERVABLES),
    ),
    "gd": RunConfig(
        n_train=10, width=1, depth=1, lr=0.4, warm_start=2, steps=6, n_eigs=2, changes=[(5, "lr", 0.5)],
        flows=[*FLOW_NAMES, "modified"], observe=[kind for kind in OBSERVABLES if kind != "stationary"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FULL)
def test_checkpoint_with_every_flow_and_observable_resumes_bit_for_bit(name: str, tmp_path) -> None:
    """Through a file, ahead of the flows' first frame, before a change and at the end: series, distances, statuses and events."""
    config = FULL[name]
    start, end = config.warm_start, config.warm_start + config.steps + 1
    whole, paths, simulation = [], {}, Simulation(config)
    while not simulation.finished:
        at = simulation.step_number
        if at in (start, end - 2):
            paths[at] = simulation.save(tmp_path / f"{at}.pt")
        whole.append(next(simulation))
    assert set(simulation.states) == set(config.flows)
    assert len(whole) == end
    for at, path in paths.items():
        rest = Simulation.load(path).advance(steps=1000)
        assert_identical(rest, whole[at:])
        for ours, theirs in zip(rest, whole[at:], strict=True):
            assert (ours.status, ours.events, ours.gradients) == (theirs.status, theirs.events, theirs.gradients)
    done = Simulation.load(simulation.save(tmp_path / "end.pt"))
    assert done.finished


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"flows": ["central", "modified"], "optimizer": "rmsprop"},
            r"flow modified exists for gd only, got optimizer='rmsprop': leave it",
        ),
        ({"flows": ["central_no_curvature"], "optimizer": "gd"}, r"exists for scalar_rmsprop and rmsprop only, got optimizer='gd'"),
        ({"flows": ["stationary"], "optimizer": "scalar_rmsprop"}, r"flow stationary exists for rmsprop only"),
        ({"flows": ["stationary_limit"], "optimizer": "rmsprop", "bias_correction": "on"}, r"no bias correction, got .*set it to 'off'"),
        ({"observe": ["stationary"], "optimizer": "rmsprop", "bias_correction": "on"}, r"no bias correction, got .*set it to 'off'"),
        ({"observe": ["stationary"], "optimizer": "adam"}, r"rmsprop's central flow .*, got optimizer='adam'"),
        ({"observe": ["stationary"], "optimizer": "rmsprop", "flows": ["stable"]}, r"with flows discrete, stable: leave it out"),
    ],
)
def test_fields_that_contradict_one_another(fields: dict, words: str) -> None:
    """One sentence with the rule, the value and the remedy; on the constructor, and on a copy with fields changed."""
    with pytest.raises(ConfigError, match=words) as caught:
        RunConfig(**fields)
    assert str(caught.value).endswith(".")
    with pytest.raises(ConfigError, match=words):
        RunConfig().replace(**fields)


def test_flows_for_comparison_are_allowed_where_they_exist() -> None:
    for flow, optimizers in ABLATIONS.items():
        for name in OPTIMIZER_NAMES:
            if name in optimizers:
                assert flow in RunConfig(optimizer=name, flows=[flow]).flows
            else:
                with pytest.raises(ConfigError, match="leave it out of `flows`"):
                    RunConfig(optimizer=name, flows=[flow])
    RunConfig(optimizer="rmsprop", flows=["stationary"], bias_correction="off")


def test_a_loose_complementarity_problem_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """At the first residual above 5e-3, never again, nor after a resume; no word at 4e-3."""
    residuals = {3: 4e-3, 5: 6e-3, 6: 1e-3, 8: 1e-2, 10: 1e-2}
    true_series = Central.series

    def series(self: Central, state) -> dict:
        return true_series(self, state) | {"sdcp_residual": residuals.get(round(state.point.tau), 0.0)}

    monkeypatch.setattr(Central, "series", series)
    simulation = Simulation(RunConfig(n_train=10, width=1, depth=1, lr=0.1, steps=10, n_eigs=1, flows=["central"], observe=[]))
    frames = simulation.advance(steps=8)
    frames += Simulation.load(simulation.save(tmp_path / "loose.pt")).advance(steps=10)
    told = [event for frame in frames for event in frame.events if "ν changes faster" in event.message]
    assert [(event.step, event.flow, event.kind) for event in told] == [(5, "central", "note")]
    assert "More `substeps` or `n_eigs` may help." in told[0].message


def test_a_flow_with_short_memory_is_told_to_be_loose() -> None:
    """RMSProp whose ν forgets two thirds of itself a step: the tangent of √ν is off by more than a per cent."""
    config = RunConfig(optimizer="rmsprop", beta2=0.3, n_train=20, width=2, depth=1, lr=0.03, warm_start=10, steps=10, n_eigs=2)
    frames = list(Simulation(config.replace(flows=["central"], observe=[])))
    settled = [frame for frame in frames if "rank" in frame.flows.get("central", {})]
    loose = [frame.step for frame in settled if frame.flows["central"]["sdcp_residual"] > 5e-3]
    told = [event.step for frame in frames for event in frame.events if "ν changes faster" in event.message]
    assert told == loose[:1]
    assert told


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
