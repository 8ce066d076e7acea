"""`Simulation`: a discrete optimizer and its flows in lockstep, one frame a step.

Everything that moves is immutable data (the flows' states), so a fork shares it, a checkpoint is it, and a change of the learning rate
replaces the
flow objects only.
"""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, ConfigError, StoreError
from cflows_core.flows import FLOWS
from cflows_core.flows.base import Flow, Options, Start, from_plain, to_plain
from cflows_core.frames import Event, Frame
from cflows_core.observe import NESTED, Watch, observe
from cflows_core.optimizers import Optimizer, State
from cflows_core.problems.build import Problem, build_problem
from cflows_core.problems.objective import Objective
from cflows_core.schedules import Schedule

CHECKPOINT_VERSION = 6
LOOSE = 5e-3  # a residual of the complementarity problem that a reader should know of


class Simulation:
    """Runs `config`; iterate it for one `Frame` a step, or `advance` it by time or steps.

    objective, weights: a problem of your own instead of the one that the configuration names (`weights`: flat tensor [p]). schedule: a
    function from time in steps to a factor on η, in place of the configuration's. No configuration describes what is your own, so such a
    run's `config.hash` is not its own and it cannot be shared as a configuration; a checkpoint needs it given again.
    Raises `ConfigError`, `DataError` or `ModelError`, one sentence each.

    >>> sim = Simulation(RunConfig(n_train=50, steps=2))
    >>> [frame.step for frame in sim]
    [0, 1, 2]
    """

    def __init__(
        self, config: RunConfig, objective: Objective | None = None, weights: Tensor | None = None, *, schedule: Schedule | None = None
    ):
        if (objective is None) != (weights is None):
            raise ConfigError(
                "A simulation of your own problem needs both `objective` and `weights` (a flat tensor of its n_params numbers)."
            )
        if objective is not None and weights is not None:
            if weights.shape != (objective.n_params,):
                raise ConfigError(f"`weights` must be flat with {objective.n_params} numbers, got shape {list(weights.shape)}.")
            problem = Problem(objective, weights.detach().to(objective.device, objective.dtype))
        else:
            problem = build_problem(config)
        self.config, self.problem = config, problem
        self.own_objective, self._schedule = objective is not None, schedule
        self.objective = problem.objective
        self.step = 0
        self.wall_time = 0.0
        self._emitted = False
        self._spent = dict.fromkeys(config.flows, 0.0)
        self._events = [Event(0, "", "note", note) for note in self.objective.notes]
        self._statuses: dict[str, str] = {}
        self._ranks: int | None = None
        self._told: tuple[str, ...] = ()
        self.watch = Watch()
        self._flows = self._make_flows(self._value_at(0))
        begin = time.perf_counter()
        self.states: dict[str, Any] = {}
        initial = State(problem.weights)
        start = Start(initial, initial, torch.zeros_like(problem.weights))
        self.states["discrete"] = self._counted("discrete", lambda flow: flow.init(start))
        if config.warm_start == 0:
            self._start_flows()
        self.wall_time += time.perf_counter() - begin

    # Running

    @property
    def step_number(self) -> int:
        """The optimizer step of the next frame."""
        return self.step + self._emitted

    @property
    def last_step(self) -> int:
        """The optimizer step of the last frame: warm start and steps."""
        return self.config.warm_start + self.config.steps

    @property
    def finished(self) -> bool:
        return self.step_number > self.last_step

    @property
    def optimizer(self) -> Optimizer:
        return self._flows["discrete"].optimizer

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self.finished:
            raise StopIteration
        begin = time.perf_counter()
        whole = self.fork()
        try:
            if self._emitted:
                self._advance()
            self._emitted = True
            flows, distance, self.watch = observe(self)
        except BaseException:
            # An interrupt in mid-step must not leave some flows a step ahead of others: what is saved now is to resume bit for bit.
            self.__dict__.update(whole.__dict__)
            raise
        self._note_changes_of_state(flows)
        if self.finished:
            self._events.append(Event(self.step, "", "finished", f"The run is complete: {self.step:,} steps."))
        self.wall_time += time.perf_counter() - begin
        events, self._events = tuple(self._events), []
        return Frame(self.step, self.wall_time, sum(self._spent.values()), flows, distance, dict(self._statuses), events)

    def advance(self, seconds: float | None = None, steps: int | None = None) -> list[Frame]:
        """The next frames: as many as fit in `seconds` (at least one), at most `steps`; fewer at the end of the run."""
        if seconds is None and steps is None:
            raise ConfigError("advance needs a bound: seconds=0.08 or steps=10, for example.")
        begin, frames = time.perf_counter(), []
        while not self.finished and (steps is None or len(frames) < steps):
            frames.append(next(self))
            if seconds is not None and time.perf_counter() - begin >= seconds:
                break
        return frames

    def _advance(self) -> None:
        self.step += 1
        for field, value in self._changes_at(self.step).items():
            self._apply({field: value})
        for name, state in self.states.items():
            if not state.stopped:
                self.states[name] = self._counted(name, lambda flow, state=state: flow.step(state))
        if self.step == self.config.warm_start and not self.states["discrete"].stopped:
            self._start_flows()

    def _counted(self, name: str, work: Callable[[Any], Any]) -> Any:
        """The result of work with a flow, whose gradients are counted for it."""
        before = self.objective.gradients_spent
        result = work(self._flows[name])
        self._spent[name] += self.objective.gradients_spent - before
        return result

    def _start_flows(self) -> None:
        """Every flow but the discrete starts: from the initial weights, or from the centre of two iterates after a warm start (math.md
        9)."""
        self.states["discrete"] = replace(self.states["discrete"], travelled=0.0)
        between = self.config.warm_start > 0
        discrete = self.states["discrete"]
        start = self._counted("discrete", lambda flow: flow.start(discrete, between))
        for name in self.config.flows:
            if name != "discrete":
                self.states[name] = self._counted(name, lambda flow: flow.init(start))
                self._events.append(Event(self.step, name, "start", f"The {name} flow starts."))

    def centre(self, name: str) -> Tensor:
        """The optimizer's centre [p] that a flow is compared with at this step (math.md 9)."""
        discrete = self.states["discrete"]
        return (discrete.centre if self.starts_between(name) else discrete.midpoint).w

    def starts_between(self, name: str) -> bool:
        """Whether a flow follows (w_t + w_{t+1})/2 rather than the midpoint at w_t."""
        return name == "rod" or self.config.warm_start > 0

    # Changes

    def set(self, **fields: Any) -> None:
        """Change live fields (`RunConfig.LIVE`) from the next step on; recorded in `config.changes`. Raises `ConfigError`."""
        changes = [(self.step + 1, name, value) for name, value in fields.items()]
        kept = [c for c in self.config.changes if (c[0], c[1]) not in {(step, name) for step, name, _ in changes}]
        self.config = self.config.replace(changes=[*kept, *changes])

    def extend(self, steps: int) -> None:
        """Let the run go on for `steps` more steps than it was to have."""
        self.config = self.config.replace(steps=self.config.steps + steps)

    def _value_at(self, step: int) -> RunConfig:
        """The configuration as changed up to a step."""
        live = {name: value for at, name, value in self.config.changes if at <= step}
        return self.config.replace(changes=(), **live)

    def _changes_at(self, step: int) -> dict[str, Any]:
        return {name: value for at, name, value in self.config.changes if at == step}

    def _apply(self, fields: dict[str, Any]) -> None:
        self._flows = self._make_flows(self._value_at(self.step))
        for name, value in fields.items():
            label = self.config.param[name].label
            self._events.append(Event(self.step, "", "change", f"{label} is {value:g} from here on."))
        for name, state in self.states.items():
            if not state.stopped:
                self.states[name] = self._counted(name, lambda flow, state=state: flow.changed(state))

    def _make_flows(self, config: RunConfig) -> dict[str, Flow]:
        optimizer = Optimizer.of(config, self._schedule)
        options = Options(config.substeps, config.n_eigs, config.rod_rank, config.rod_coordinates, config.rod_correction)
        return {name: FLOWS[name](self.objective, optimizer, options) for name in config.flows}

    def flow(self, name: str) -> Flow:
        """The flow object of a name, under the present parameters."""
        return self._flows[name]

    def spent(self, name: str) -> float:
        """Gradient-equivalents that a flow has spent."""
        return self._spent[name]

    # What a reader should be told

    def _note_changes_of_state(self, flows: dict[str, Any]) -> None:
        for name, state in self.states.items():
            old, new = self._statuses.get(name), self._flows[name].status(state)
            if new == old:
                continue
            self._statuses[name] = new
            if new == "stopped":
                kind = "diverged" if name == "discrete" else "stopped"
                self._events.append(Event(self.step, name, kind, state.stopped))
            elif new == "settling":
                message = f"The {name} flow is above the edge and settling: until it is back its Σ and predictions mean nothing."
                self._events.append(Event(self.step, name, "settling", message))
            elif old == "settling":
                self._events.append(Event(self.step, name, "settled", f"The {name} flow has settled at the edge."))
        rank = flows.get("central", {}).get("rank", math.nan)
        if not math.isnan(rank) and int(rank) != self._ranks:
            if self._ranks is not None or rank:
                self._events.append(Event(self.step, "central", "rank", f"Σ has rank {int(rank)} from here on."))
            self._ranks = int(rank)
            if int(rank) >= self.config.n_eigs and self.config.n_eigs < self.objective.n_params:
                self._note_once("As many eigenvalues are at the edge as are tracked, so more may go unseen: start with more `n_eigs`.")
        if not math.isnan(rank) and flows["central"].get("sdcp_residual", 0.0) > LOOSE:
            self._note_once(
                "ν changes faster than the central flow can follow: its eigenvalues and Σ are off by a per cent or more from here on. "
                "More `substeps` or `n_eigs` may help."
            )

    def _note_once(self, message: str) -> None:
        """A remark on the central flow, of which one in a run is enough."""
        if message not in self._told:
            self._told = (*self._told, message)
            self._events.append(Event(self.step, "central", "note", message))

    # Forking and keeping

    def fork(self) -> Simulation:
        """An independent simulation that goes on from here; the objective, which holds no state but its counter, is shared."""
        twin = object.__new__(Simulation)
        twin.__dict__.update(self.__dict__)
        twin.states, twin._flows = dict(self.states), dict(self._flows)
        twin._spent, twin._statuses, twin._events = dict(self._spent), dict(self._statuses), list(self._events)
        return twin

    def checkpoint(self) -> dict[str, Any]:
        """All that is needed to go on bit for bit: tensors, numbers and strings only."""
        return {
            "version": CHECKPOINT_VERSION,
            "config": self.config.to_json(),
            "own_objective": self.own_objective,
            "own_schedule": self._schedule is not None,
            "step": self.step,
            "emitted": self._emitted,
            "wall_time": self.wall_time,
            "spent": dict(self._spent),
            "statuses": dict(self._statuses),
            "rank": self._ranks,
            "told": list(self._told),
            "watch": to_plain(self.watch),
            "states": {name: to_plain(state) for name, state in self.states.items()},
        }

    @classmethod
    def from_checkpoint(
        cls, checkpoint: dict[str, Any], objective: Objective | None = None, *, schedule: Schedule | None = None
    ) -> Simulation:
        """The simulation that `checkpoint` described; `objective` and `schedule` again for a run with one's own."""
        version = checkpoint.get("version")
        if version != CHECKPOINT_VERSION:
            raise StoreError(
                f"This checkpoint has version {version}, and this cflows reads version {CHECKPOINT_VERSION}: use the cflows that wrote it."
            )
        if checkpoint["own_objective"] and objective is None:
            raise StoreError(
                "This run trains an objective of its own, which no file holds: give it again, as Simulation.load(path, objective)."
            )
        if checkpoint["own_schedule"] != (schedule is not None):
            needs = "needs its own schedule, a function that no file holds" if schedule is None else "follows its configuration's schedule"
            raise StoreError(f"This run {needs}: load it as Simulation.load(path{'' if schedule else ', schedule=function'}).")
        config = RunConfig.from_json(checkpoint["config"])
        simulation = object.__new__(cls)
        simulation.config, simulation.own_objective, simulation._schedule = config, objective is not None, schedule
        states = {name: from_plain(FLOWS[name].state_type, plain) for name, plain in checkpoint["states"].items()}
        simulation.problem = build_problem(config) if objective is None else Problem(objective, states["discrete"].point.w)
        simulation.objective = simulation.problem.objective
        simulation.step, simulation._emitted = checkpoint["step"], checkpoint["emitted"]
        simulation.wall_time, simulation._spent = checkpoint["wall_time"], dict(checkpoint["spent"])
        simulation._statuses, simulation._ranks, simulation._events = dict(checkpoint["statuses"]), checkpoint["rank"], []
        simulation.watch, simulation._told = from_plain(Watch, checkpoint["watch"], NESTED), tuple(checkpoint["told"])
        simulation._flows = simulation._make_flows(simulation._value_at(simulation.step))
        simulation.states = states
        return simulation

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the checkpoint; a file at `path` is replaced only once the new one is complete. Raises OSError."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:  # Python's: PyTorch's own reports a full disk by a RuntimeError of many wordings
            torch.save(self.checkpoint(), file)
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str], objective: Objective | None = None, *, schedule: Schedule | None = None) -> Simulation:
        """The simulation saved at `path`. Raises `StoreError` for a file that is none; nothing in the file is executed."""
        checkpoint = read_checkpoint(path, "cpu" if objective is None else objective.device)
        try:
            return cls.from_checkpoint(checkpoint, objective, schedule=schedule)
        except CflowsError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise StoreError(
                f"The checkpoint {path} is damaged ({type(error).__name__}): copy it again from where it came, or start the run again."
            ) from None


def read_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> dict[str, Any]:
    """What `Simulation.save` wrote at `path`, every checksum compared. Raises `StoreError` for a file that is none, or a torn one."""
    wrong = ""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip() or ""  # torch.load itself compares none
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        if not wrong and checkpoint.keys() >= {"version", "config", "step"}:
            return checkpoint
    except FileNotFoundError:
        raise StoreError(f"There is no checkpoint at {path}: give the path that `save` was given.") from None
    except Exception as error:
        wrong = type(error).__name__
    raise StoreError(
        f"The file {path} is no checkpoint of a simulation, or a damaged one ({wrong or 'of another content'}): "
        "give the path that `save` was given."
    )
