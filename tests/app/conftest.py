"""A run made of formulas, with every series that gradient descent gives, and an engine that plays it: these tests train nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cflows_app.session as session_module
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import Session
from cflows_app.stored import Stored
from cflows_app.toylab import results
from cflows_core.config import RunConfig
from cflows_core.engine.journal import Journal
from cflows_core.engine.queue import Queue
from cflows_core.errors import ConfigError
from cflows_core.facts import Facts
from cflows_core.frames import COORDINATES, Event, Frame
from cflows_core.history import History
from cflows_core.presets import DEFAULT
from cflows_core.rules import ABLATIONS

MODES = 6
EDGE_AT = 200  # the step at which the made-up run reaches the edge


def synthetic_frame(step: int, config: RunConfig) -> Frame:
    """One step: sharpness rises to the edge until `EDGE_AT`, then the optimizer oscillates and the flows stay at the edge."""
    rng = np.random.default_rng([config.seed, step])
    edge = step >= EDGE_AT
    rise = 2.0 * min(1.0, 0.35 + 0.65 * step / EDGE_AT)
    swing = 0.05 * math.sin(step / 11) if edge else 0.0
    amplitude = 0.012 * (1 + 0.5 * math.sin(step / 37)) * (1 - math.exp(-(step - EDGE_AT) / 30)) if edge else 0.0
    base = 0.08 + 0.42 * math.exp(-step / 260)
    eigs = _modes([rise + swing, 0.8 * rise, 0.6 * rise, 0.5 * rise])
    held = _modes([min(rise, 2.0), 0.8 * rise, 0.6 * rise, 0.5 * rise])
    across, along = (-1) ** step * math.sqrt(amplitude), 0.01 * (step - EDGE_AT)
    squared = 0.02 * math.exp(-step / 300)
    centre = np.array([0.02 * math.sin(step / 60), along])
    flows = {
        "discrete": {
            "loss": base + amplitude * (1 + 0.4 * rng.standard_normal()),
            "loss_midpoint": base,
            "grad_norm_sq": squared + 4 * amplitude * abs(1 + 0.3 * rng.standard_normal()),
            "effective_eigs": eigs,
            "hessian_eigs": eigs / config.lr,
            "half_difference": math.sqrt(amplitude),
            "valley": centre + np.array([across, 0.0]),
            "valley_centre": centre,
            "valley_basis": float(EDGE_AT if edge else 0),
            "period": 2.0 if edge else 1.0,
        },
        "stable": {
            "loss": 0.06 + 0.44 * math.exp(-step / 220),
            "grad_norm_sq": 0.8 * squared,
            "effective_eigs": _modes([2.0 * (0.35 + 0.65 * step / EDGE_AT) ** 0.8, rise]),
            "valley": centre + np.array([0.01 * max(0, step - EDGE_AT) / 30, 0.3 * along]),
        },
        "central": {
            "loss": base,
            "grad_norm_sq": squared,
            "effective_eigs": held,
            "predicted_loss": base + amplitude,
            "predicted_grad_norm_sq": squared + 4 * amplitude,
            "covariance_eigs": _modes([amplitude]) if edge else _modes([]),
            "covariance_eigs_weights": _modes([amplitude * config.lr]) if edge else _modes([]),
            "measured_variance": _modes([amplitude * (1 + 0.4 * rng.standard_normal())]) if edge else _modes([]),
            "rank": float(edge),
            "valley": centre,
            "valley_covariance": np.array([amplitude, 0.0, 0.002 * amplitude]),
        },
        "rod": {
            "loss": base,
            "grad_norm_sq": squared,
            "effective_eigs": held,
            "predicted_loss": base + 0.97 * amplitude,
            "predicted_grad_norm_sq": squared + 3.9 * amplitude,
            "extent": math.sqrt(amplitude),
            "valley": centre + np.array([0.0, 0.01]),
            "valley_extent": np.array([math.sqrt(amplitude), 0.02]),
        },
    }
    for name in ABLATIONS:
        flows[name] = {"loss": 0.9 * base, "grad_norm_sq": 0.9 * squared, "effective_eigs": held, "nu_norm": 0.9 * squared}
    _observe(flows, config, squared, amplitude)
    flows = {name: flows[name] for name in config.flows}
    distance = {"stable": 2e-4 * step, "central": 2e-5 * step, "rod": 5e-6 * step, **dict.fromkeys(ABLATIONS, 1e-4 * step)}
    events = (Event(step, "central", "rank", "Σ has rank 1 from here on."),) if step == EDGE_AT else ()
    others = [name for name in config.flows if name != "discrete"]
    return Frame(step, 0.02 * step, 40.0 * step, flows, {f: distance[f] for f in others}, dict.fromkeys(config.flows, "running"), events)


def _observe(flows: dict[str, dict[str, Any]], config: RunConfig, squared: float, amplitude: float) -> None:
    """What is measured beyond the flows, where the configuration asks for it."""
    weights = np.linspace(0.1, 1.0, COORDINATES)
    if "average" in config.observe:
        flows["discrete"]["loss_average"] = flows["discrete"]["loss_midpoint"] + 0.1 * amplitude
    if "coordinates" in config.observe:
        for name, share in zip(flows, np.linspace(1.0, 2.0, len(flows)), strict=True):
            flows[name]["grad_sq_coordinates"] = share * (squared + 4 * amplitude) * weights
            flows[name] |= {"nu_coordinates": share * squared * weights, "step_size_coordinates": config.lr / (share * weights)}
    if "stationary" in config.observe:
        speeds = {"speed_stationary": 3 * squared, "speed_minimal_trace": 4 * squared, "speed_vanilla": squared}
        flows["central"] |= speeds | {"nu_stationary_cosine": 0.9, "nu_stationary_coordinates": squared * weights}


def synthetic_history(n: int, config: RunConfig | None = None) -> History:
    """The first `n` steps."""
    config = config or RunConfig()
    return History(synthetic_frame(step, config) for step in range(n))


def _modes(values: list[float]) -> np.ndarray:
    return np.array([*values, *[np.nan] * (MODES - len(values))])


class FakeRunner:
    """Plays the formulas as `cflows_core.engine.Runner` plays a simulation, but only when told: `play(n)`."""

    def __init__(self, engine: FakeEngine, config: RunConfig, history: History | None = None, owner: str = ""):
        self.engine, self.config, self.owner = engine, config, owner
        self.catching_up, self.recovering, self.turn = False, False, Queue().join(owner, lambda: 0.0)
        self.history = History() if history is None else history
        self.viewers, self.running, self.pausing, self.finished, self.closed = 0, False, False, False, False
        self.error, self.speed, self.steps_per_second, self.limited_by = "", None, 0.0, ""
        self.facts = Facts(1482, "cpu", "", "float64", 1, "differences")
        self.info = self.facts.to_plain() | {"pid": 1}

    def play(self, n: int) -> None:
        first = len(self.history)
        self.history.append(synthetic_frame(step, self.config) for step in range(first, first + n))

    @property
    def step_number(self) -> int:
        return self.history.last

    def run(self) -> None:
        self.running = not self.finished

    def pause(self) -> None:
        self.running = False

    async def paused(self) -> None:
        self.running = False

    async def step(self, n: int = 1) -> None:
        self.running = False
        self.play(n)

    async def set(self, **changes: float) -> None:
        for name, value in changes.items():
            RunConfig.check(name, value)
            self.config = self.config.replace(changes=[*self.config.changes, (len(self.history), name, value)])

    async def extend(self, steps: int) -> None:
        self.config, self.finished = self.config.replace(steps=self.config.steps + steps), False

    async def save(self, path: Path) -> None:
        path.write_bytes(b"a checkpoint")

    async def fork(self, *, owner: str = "", share: bool = False) -> FakeRunner:
        twin = self.engine.made(FakeRunner(self.engine, self.config, self.history.copy(), owner))
        twin.finished = self.finished
        if share:
            self.engine.open[self.config.hash] = twin
        return twin

    def retain(self) -> FakeRunner:
        self.viewers += 1
        return self

    async def release(self) -> None:
        self.viewers -= 1
        self.closed = self.viewers <= 0


class FakeEngine:
    """Makes fake runners, and remembers them."""

    def __init__(self) -> None:
        self.made_here: list[FakeRunner] = []
        self.open: dict[str, FakeRunner] = {}
        self.journal: Journal | None = None
        self.fails = ""

    @property
    def runners(self) -> list[FakeRunner]:
        return [runner for runner in self.made_here if not runner.closed]

    def shared(self, config: RunConfig) -> FakeRunner | None:
        same = self.open.get(config.hash)
        return None if same is None or same.closed or same.config.hash != config.hash else same

    def made(self, runner: FakeRunner) -> FakeRunner:
        self.made_here.append(runner)
        return runner.retain()

    async def start(
        self, config: RunConfig, out: str | None = None, *, share: bool = True, owner: str = "", base: Any = None, history: Any = None
    ) -> FakeRunner:
        if self.fails:
            raise ConfigError(self.fails)
        same = self.shared(config)
        if share and same is not None:
            return same.retain()
        runner = self.made(FakeRunner(self, config, None if history is None else synthetic_history(len(history)), owner))
        if share:
            self.open[config.hash] = runner
        return runner


@pytest.fixture
def make_history():
    """n -> a history of n steps."""
    return synthetic_history


@pytest.fixture
def stored(monkeypatch, tmp_path_factory):
    """The first preset has a stored run of 300 steps."""
    path = tmp_path_factory.mktemp("stored") / "first.zarr"
    path.mkdir()
    run = Stored(path, RunConfig(), synthetic_history(300))
    monkeypatch.setattr(session_module, "stored_run", lambda name: run if name == DEFAULT else None)
    return run


@pytest.fixture
def fake_engine() -> FakeEngine:
    return FakeEngine()


def play(engine: FakeEngine, scene: Callable[[Session], Coroutine]) -> None:
    """Open a session on the engine, act, and let everything finish."""

    async def whole() -> None:
        async def ready() -> FakeEngine:
            return engine

        session = Session(ready)
        await scene(session)
        await session.release()
        assert engine.runners == []

    asyncio.run(whole())


def play_page(engine: FakeEngine, scene: Callable[[ExplorePage], Coroutine]) -> None:
    """The same with a page before the session."""

    async def whole(session: Session) -> None:
        await scene(ExplorePage(session))

    play(engine, whole)


async def done(page: ExplorePage) -> None:
    """Let the session's actions finish, and draw."""
    while page.session._tasks:
        await asyncio.gather(*page.session._tasks)
    page.tick()


@pytest.fixture
def quick(monkeypatch):
    """Pages whose flows and tables are not computed: their walks and diagrams are."""
    monkeypatch.setattr(results, "followed", results.walked)
    monkeypatch.setattr(results, "expected", lambda setting: [])
    monkeypatch.setattr(results, "_transient", lambda setting: 100)
    monkeypatch.setattr(results, "COLUMNS", 40)
    monkeypatch.setattr(results, "KEPT", 48)
    monkeypatch.setattr(results, "SIDE", 8)
    results._diagram.cache_clear()
    yield
    results._diagram.cache_clear()
