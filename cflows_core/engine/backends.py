"""Where a simulation's actor lives: `InProcess` here, the workers of a cluster in dask_cluster.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from cflows_core.engine.actor import SimulationActor
from cflows_core.engine.warm import warm_up
from cflows_core.errors import EngineError

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile


class WorkerLost(EngineError):
    """The process that held a simulation is gone, and the simulation with it."""


class Handle(Protocol):
    """A simulation's actor, wherever it lives. `call` raises WorkerLost once `lost` is true, and CflowsError."""

    @property
    def lost(self) -> bool: ...
    async def call(self, method: str, *args: Any) -> Any: ...
    async def close(self) -> None: ...


class Backend(Protocol):
    """A place for actors.

    place: a new actor, in the process of `near` if given, else where there is the configuration's `device`. ready: wait until the
    processes are warm; seconds each took.
    """

    async def place(self, near: Handle | None = None, device: str = "auto") -> Handle: ...
    async def ready(self) -> list[float]: ...
    async def close(self) -> None: ...


class LocalHandle:
    """An actor in this process."""

    lost = False

    def __init__(self, actor: SimulationActor):
        self._actor = actor

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self._actor, method)(*args)

    async def close(self) -> None:
        await self._actor.close()


class InProcess:
    """Actors in this process, each computing in its own thread."""

    def __init__(self, threads: int = 0, problems: tuple[ProblemFile, ...] = ()):
        self.threads, self.problems = threads, problems

    async def place(self, near: Handle | None = None, device: str = "auto") -> LocalHandle:
        return LocalHandle(SimulationActor(self.threads, self.problems))

    async def ready(self) -> list[float]:
        return [await asyncio.to_thread(warm_up)]

    async def close(self) -> None:
        """Nothing to do: the actors' threads end with their runs."""
