"""`SimulationActor`: gives a simulation a thread of its own, whose work an event loop can await."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.host import SimulationHost, describe, use_threads
from cflows_core.errors import CflowsError, EngineError
from cflows_core.problems import files

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile
    from cflows_core.problems.objective import Objective
    from cflows_core.simulation import Simulation

logger = logging.getLogger("cflows")


class WorkThread:
    """One thread for one simulation and its forks, which share an objective and must not use it at the same time."""

    def __init__(self, threads: int):
        self._executor = ThreadPoolExecutor(1, "cflows-simulation", use_threads, (threads,))
        self._users = 1

    def share(self) -> WorkThread:
        self._users += 1
        return self

    def leave(self) -> None:
        """The last user to leave ends the thread."""
        self._users -= 1
        if not self._users:
            self._executor.shutdown(wait=False)

    async def do(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, done in the thread after what was asked before.

        Raises CflowsError only: other errors may not survive the way to another process, and no user should read them.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except CflowsError:
            raise
        except Exception as problem:
            logger.exception("a call to a simulation failed")
            raise EngineError(f"The simulation could not do that ({describe(problem)}): nothing was changed.") from None


# Forks that wait in this process, each with its thread, for the actor that will take them: their weights need not travel.
_parked: dict[str, tuple[Simulation, WorkThread]] = {}


class SimulationActor:
    """A Dask actor on a worker, a plain object in process. `start`, `resume` or `adopt` comes first, and once.

    Dask runs the plain methods of *all* actors of a worker in one thread, where a slow step of one simulation would
    hold up the others. Asynchronous methods run in the worker's event loop, and from there each actor hands its work
    to its own thread: calls to one simulation keep their order, different simulations share the processor as threads
    do, and each keeps its own PyTorch setting. Measured with two small simulations: switching costs them about a fifth
    of their speed, against waiting for the whole of the other's step. Forks stay in their original's thread.

    threads: PyTorch's CPU threads where the configuration leaves them open; 0 leaves the machine's setting. problems: files whose
    problems configurations may name.
    """

    def __init__(self, threads: int = 0, problems: tuple[ProblemFile, ...] = ()):
        self._threads = threads
        files.use(problems)
        self._thread: WorkThread | None = None
        self._host: SimulationHost | None = None

    async def start(self, config: dict[str, Any], out: str | None, problem: dict[str, Any]) -> dict[str, Any]:
        """Begin a run; its state. Raises CflowsError."""
        run_config = RunConfig.from_dict(config)
        self._thread = WorkThread(run_config.threads or self._threads)
        return await self._begin(lambda: SimulationHost.start(run_config, out, **problem))

    async def adopt(self, token: str, out: str | None, behind: bool = False) -> dict[str, Any]:
        """Take over the fork that another actor of this process parked; its state. Raises StoreError."""
        simulation, self._thread = _parked.pop(token)
        return await self._begin(lambda: SimulationHost.adopt(simulation, out, behind))

    async def resume(
        self, path: str, record: bool, objective: Objective | None, known: int = -1, config: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go on with a stored run; its history's rows unless the caller knows all up to `known`, and its state. Raises StoreError."""
        self._thread = WorkThread(self._threads)
        rows: list[dict[str, Any]] = []

        def load() -> SimulationHost:
            whole = None if config is None else RunConfig.from_dict(config)
            host, history = SimulationHost.resume(path, record, objective, known, whole)
            use_threads(host.simulation.config.threads)  # known only now
            rows.append(history.pack())
            return host

        state = await self._begin(load)
        return rows[0], state

    async def advance(self, seconds: float, max_steps: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        return await self._do(lambda host: host.advance(seconds, max_steps))

    async def set(self, changes: dict[str, Any]) -> dict[str, Any]:
        return await self._do(lambda host: host.set(changes))

    async def extend(self, steps: int) -> dict[str, Any]:
        return await self._do(lambda host: host.extend(steps))

    async def park(self) -> str:
        """Leave a fork of the simulation in this process; the token for another actor's `adopt`."""
        simulation = await self._do(lambda host: host.simulation.fork())
        assert self._thread is not None
        token = uuid.uuid4().hex
        _parked[token] = simulation, self._thread.share()
        return token

    async def unpark(self, token: str) -> None:
        """Let a fork go that no actor will take."""
        if token in _parked:
            _, thread = _parked.pop(token)
            thread.leave()

    async def commit(self) -> None:
        await self._do(lambda host: host.commit())

    async def checkpoint(self) -> None:
        await self._do(lambda host: host.checkpoint())

    async def save(self, path: str) -> None:
        await self._do(lambda host: host.save(path))

    async def close(self) -> None:
        """Close the store and leave the thread. Raises StoreError where the last frames could not be stored."""
        host, self._host = self._host, None
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                if host is not None:
                    await thread.do(host.close)
            finally:
                thread.leave()

    async def _begin(self, make: Callable[[], SimulationHost]) -> dict[str, Any]:
        assert self._thread is not None
        self._host = await self._thread.do(make)
        return await self._do(lambda host: host.state())

    async def _do(self, work: Callable[[SimulationHost], Any]) -> Any:
        host, thread = self._host, self._thread
        if host is None or thread is None:
            raise EngineError("This run is closed: start it again.")
        return await thread.do(lambda: work(host))
