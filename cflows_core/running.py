"""A whole run in one call: simulate, record, show progress; and the same for a stored run that goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cflows_core.config import RunConfig
from cflows_core.facts import Facts
from cflows_core.frames import Frame
from cflows_core.problems.objective import Objective
from cflows_core.schedules import Schedule
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder, Run
from cflows_core.store.resuming import restored


def run(
    config: RunConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    objective: Objective | None = None,
    weights: Tensor | None = None,
    schedule: Schedule | None = None,
    progress: bool = True,
    overwrite: bool = False,
    until: int | None = None,
    on_frame: Callable[[Frame], Any] | None = None,
) -> Run:
    """Run a configuration to its end and return it; stored at `out` (a new directory), or in memory.

    objective, weights, schedule: of your own, as `Simulation` takes them. progress: show a bar. until: pause after this optimizer step.
    on_frame: called with every frame. Paused, interrupted by the keyboard or by an error, all that is recorded is committed and
    checkpointed first, so that `resume` goes on. Raises `ConfigError`, `DataError`, `ModelError` or `StoreError`.
    """
    _use_threads(config)
    simulation = Simulation(config, objective, weights, schedule=schedule)
    meta = {**Facts.of(simulation.objective).to_plain(), "own_objective": objective is not None}
    with Recorder(out, config, meta, overwrite=overwrite) as recorder:
        _drive(simulation, recorder, progress, on_frame, until)
    return recorder.run


def resume(
    path: str | os.PathLike[str],
    steps: int = 0,
    *,
    objective: Objective | None = None,
    schedule: Schedule | None = None,
    progress: bool = True,
    on_frame: Callable[[Frame], Any] | None = None,
) -> Run:
    """Go on with the run stored at `path` from its last checkpoint to its end, and `steps` steps further. Raises `StoreError`.

    Without a checkpoint, or with a torn one, the run is computed again from its beginning, which repeats what is stored.
    """
    stored = Run.open(path)
    _use_threads(stored.config)
    simulation = restored(stored, objective, schedule)
    if steps:
        simulation.extend(steps)
    with Recorder.reopen(path) as recorder:
        recorder.config = simulation.config
        _drive(simulation, recorder, progress, on_frame)
    return Run.open(path)


def _use_threads(config: RunConfig) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)


def _drive(
    simulation: Simulation,
    recorder: Recorder,
    progress: bool,
    on_frame: Callable[[Frame], Any] | None,
    until: int | None = None,
) -> None:
    try:
        with _progress(simulation, progress) as advance:
            for frame in simulation:
                recorder.append(frame)
                if frame.step % simulation.config.checkpoint_every == 0 and recorder.path is not None:
                    recorder.checkpoint(simulation)
                advance(frame)
                if on_frame is not None:
                    on_frame(frame)
                if until is not None and frame.step >= until:
                    break
    finally:
        if recorder.path is not None:
            recorder.checkpoint(simulation)


@contextmanager
def _progress(simulation: Simulation, show: bool) -> Iterator[Callable[[Frame], None]]:
    """A bar with the step, the loss and the top eigenvalue against the edge."""
    if not show:
        yield lambda frame: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=simulation.last_step, completed=simulation.step)

        def advance(frame: Frame) -> None:
            series = frame.flows["discrete"]
            eigenvalues = series.get("effective_eigs")
            edge = "" if eigenvalues is None else f"  λ/c {eigenvalues[0] / simulation.optimizer.threshold:.3f}"  # type: ignore[index]
            bar.update(task, completed=frame.step, description=f"loss {series['loss']:.4f}{edge}")

        yield advance
