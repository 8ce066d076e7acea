"""`SimulationHost`: one simulation and its recorder, stepped together where the computing happens."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.facts import Facts
from cflows_core.frames import Frame
from cflows_core.history import History

if TYPE_CHECKING:
    from cflows_core.problems.objective import Objective
    from cflows_core.simulation import Simulation
    from cflows_core.store import Recorder

logger = logging.getLogger("cflows")


def use_threads(threads: int) -> None:
    """Set PyTorch's CPU threads for the calling thread; 0 leaves the machine's setting.

    The setting belongs to a thread, but a thread's first operation takes over what any other thread set last. Reading
    it first gets that over with, so that simulations with different settings can share a process.
    """
    import torch

    torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)


def describe(problem: Exception) -> str:
    """An unexpected exception in the middle of a sentence: its kind and the beginning of its message, on one line."""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"


class SimulationHost:
    """A simulation and its recorder (None: not stored). Synchronous; to be used from one thread."""

    def __init__(self, simulation: Simulation, recorder: Recorder | None):
        self.simulation = simulation
        self.recorder = recorder
        self._held_back = False  # frames wait in the recorder since a commit failed

    @classmethod
    def start(cls, config: RunConfig, out: str | None, **problem: Any) -> SimulationHost:
        """A new run; `problem` may give `objective` and `weights`. Raises CflowsError."""
        from cflows_core.simulation import Simulation

        return cls.adopt(Simulation(config, **problem), out)

    @classmethod
    def resume(
        cls, path: str, record: bool, objective: Objective | None, known: int = -1, config: RunConfig | None = None
    ) -> tuple[SimulationHost, History]:
        """A stored run from its last checkpoint, and all its rows beyond step `known`; `record`: go on writing to `path`.

        objective: again that of a run on an objective of one's own. config: with changes that were not stored any more, which are made
        again. Raises StoreError.
        """
        from cflows_core.store import Recorder, Run
        from cflows_core.store.resuming import last_whole_step, restored

        run = Run.open(path)
        simulation = restored(run, objective)
        if config is not None:
            simulation.config = config
        last = last_whole_step(run)
        history = History() if known >= last else History.from_run(run).until(last + 1).beyond(known)
        recorder = Recorder.reopen(path) if record else None
        if recorder is not None:
            recorder.config = simulation.config
        return cls(simulation, recorder), history

    @classmethod
    def adopt(cls, simulation: Simulation, out: str | None, behind: bool = False) -> SimulationHost:
        """A simulation that exists already, stored from here on at `out` if given, `behind` the rows of its past that lie there.

        Raises StoreError.
        """
        from cflows_core.store import Recorder

        if out is None:
            return cls(simulation, None)
        meta = {**Facts.of(simulation.objective).to_plain(), "own_objective": simulation.own_objective}
        recorder = Recorder.reopen(out) if behind else Recorder(out, simulation.config, meta)
        if simulation.step_number:  # a fork, whose beginning its store may lack
            recorder.checkpoint(simulation)
        return cls(simulation, recorder)

    def state(self) -> dict[str, Any]:
        """Where the simulation stands and how it runs, as plain values."""
        simulation = self.simulation
        return {
            "step": simulation.step_number,
            "finished": simulation.finished,
            "config": simulation.config.to_dict(),
            "pid": os.getpid(),
            **Facts.of(simulation.objective).to_plain(),
        }

    def advance(self, seconds: float, max_steps: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """As many steps as fit in `seconds`, at least one, at most `max_steps`: (rows, info).

        Rows are as `History.pack` gives them. The info holds `step`, `finished`, `seconds` of computing and `error`, a
        sentence for what went wrong after these frames, or "". Nothing is raised, so that no computed frame is lost.
        """
        frames: list[Frame] = []
        begin = time.perf_counter()
        error = ""
        try:
            if self._held_back:
                self.commit()  # is there room now? Computing what cannot be stored would only fill the memory
            while not self.simulation.finished:
                frames.append(next(self.simulation))
                self._record(frames[-1])
                if len(frames) == max_steps or time.perf_counter() - begin >= seconds:
                    break
            if self.simulation.finished:
                self.checkpoint()
        except StoreError as problem:
            self._held_back, error = True, str(problem)
        except CflowsError as problem:
            error = str(problem)
        except Exception as problem:
            logger.exception("the simulation failed at step %d", self.simulation.step_number)
            error = (
                f"The simulation failed at step {self.simulation.step_number:,} ({describe(problem)}): "
                "the steps before it are kept, and Reset starts it again."
            )
        info = {"step": self.simulation.step_number, "finished": self.simulation.finished, "error": error}
        return History(frames).pack(), {**info, "seconds": time.perf_counter() - begin}

    def _record(self, frame: Frame) -> None:
        if self.recorder is not None:
            self.recorder.append(frame)
            if frame.step % self.simulation.config.checkpoint_every == 0:
                self.recorder.checkpoint(self.simulation)

    def set(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change live fields from the next step on; the new state. Raises ConfigError, and then nothing has changed."""
        self.simulation.set(**changes)
        return self._changed()

    def extend(self, steps: int) -> dict[str, Any]:
        """Let the simulation run `steps` further than planned; the new state."""
        self.simulation.extend(steps)
        return self._changed()

    def _changed(self) -> dict[str, Any]:
        if self.recorder is not None:
            self.recorder.config = self.simulation.config
        return self.state()

    def commit(self) -> None:
        """Make every frame so far readable. Raises StoreError."""
        if self.recorder is not None:
            self.recorder.commit()
        self._held_back = False

    def checkpoint(self) -> None:
        """Commit, and make the present state the one that a resume starts from. Raises StoreError."""
        if self.recorder is not None:
            self.recorder.checkpoint(self.simulation)
        self._held_back = False

    def save(self, path: str) -> None:
        """Save the simulation's state to a file on this machine. Raises StoreError."""
        try:
            self.simulation.save(path)
        except (OSError, RuntimeError) as problem:  # torch reports a missing folder or a full disk by RuntimeError
            raise StoreError(f"The state cannot be saved to {path} ({describe(problem)}): choose another path.") from None

    def close(self) -> None:
        """Commit, checkpoint and release the store. Raises StoreError; the store is released all the same."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            try:
                recorder.checkpoint(self.simulation)
            finally:
                recorder.close()
