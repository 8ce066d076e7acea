"""Where a stored run goes on: at its checkpoint if that is whole and of this run, else at its beginning, which repeats what is stored."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from cflows_core._version import __version__
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.problems.objective import Objective
from cflows_core.schedules import Schedule
from cflows_core.simulation import CHECKPOINT_VERSION, Simulation, read_checkpoint
from cflows_core.store.run import Run

logger = logging.getLogger(__name__)


def restored(run: Run, objective: Objective | None = None, schedule: Schedule | None = None) -> Simulation:
    """The simulation that goes on with a stored run, with the run's configuration: changes made after the checkpoint are replayed.

    A checkpoint that is torn, or does not fit the rows, is passed over, and the log says so: from the beginning the same steps come again,
    bit for bit. Raises StoreError for one of another version, which may compute otherwise, and where the beginning is stored nowhere.
    """
    checkpoint, problem = usable_checkpoint(run, "cpu" if objective is None else objective.device)
    if checkpoint is not None:
        check_version(run, checkpoint)
        simulation = Simulation.from_checkpoint(checkpoint, objective, schedule=schedule)
    elif objective is not None or run.meta.get("own_objective"):
        raise StoreError(
            f"{problem or f'The run at {run.path} has no checkpoint yet'}, and where a run with an objective of its own began is stored "
            "nowhere else: run it again, with overwrite=True."
        )
    else:
        if problem:
            logger.warning("%s: the run is computed again from its beginning, which repeats what is stored.", problem)
        simulation = Simulation(run.config, schedule=schedule)
    simulation.config = run.config
    return simulation


def usable_checkpoint(run: Run, device: Any = "cpu") -> tuple[dict[str, Any] | None, str]:
    """The run's checkpoint, None if there is none to go on from; and what is wrong with it, "" if nothing is."""
    path = run.checkpoint_path
    if path is None:
        return None, ""
    try:
        checkpoint = read_checkpoint(path, device)
        problem = "" if checkpoint["version"] != CHECKPOINT_VERSION else _misfit(run, checkpoint)
    except (StoreError, OSError):
        checkpoint, problem = None, f"The checkpoint of {run.path} is damaged"
    return (None, problem) if problem else (checkpoint, "")


def check_version(run: Run, checkpoint: dict[str, Any]) -> None:
    """Raises StoreError for a checkpoint that another version wrote, with the ways to go on."""
    version = checkpoint["version"]
    if version != CHECKPOINT_VERSION:
        by = run.meta.get("versions", {}).get("cflows", "of that time")
        raise StoreError(
            f"The checkpoint of {run.path} has version {version}, and this cflows {__version__} reads version {CHECKPOINT_VERSION}: "
            f"go on with the cflows that wrote it ({by}), or put it aside with `cflows check --repair {run.path}`, "
            "and resume computes the run again."
        )


def _misfit(run: Run, checkpoint: dict[str, Any]) -> str:
    """Why a checkpoint is not of this run as it is stored, "" if it is."""
    step = int(checkpoint["step"])
    try:
        config = RunConfig.from_json(checkpoint["config"])
    except CflowsError:
        return f"The checkpoint of {run.path} has another configuration"
    if config.replace(steps=run.config.steps, changes=()) != run.config.replace(changes=()):
        return f"The checkpoint of {run.path} has another configuration"
    past = [[change for change in changes if change[0] <= step] for changes in (config.changes, run.config.changes)]
    if past[0] != past[1]:
        return f"The checkpoint of {run.path}, of step {step:,}, is of another course than its rows"
    last = last_whole_step(run)
    if checkpoint["emitted"] and last < step - step % config.record_every:
        return (
            f"The checkpoint of {run.path} is of step {step:,}, and the rows end at step {last:,}"
            if last >= 0
            else (f"The checkpoint of {run.path} is of step {step:,}, and there are no rows")
        )
    return ""


def last_whole_step(run: Run) -> int:
    """The last step before the first that a power cut has torn from the array of steps; -1: none is there."""
    steps = run.steps
    torn = np.flatnonzero(np.diff(steps) <= 0)
    end = int(torn[0]) if len(torn) else len(steps) - 1
    return int(steps[end]) if end >= 0 else -1
