"""`Engine`: starts simulations in process, in local worker processes or on a cluster, and shares identical ones."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.backends import Backend, Handle, InProcess, WorkerLost
from cflows_core.engine.dask_cluster import DaskCluster
from cflows_core.engine.runner import Runner
from cflows_core.errors import CflowsError, ConfigError, EngineError
from cflows_core.history import History

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile
    from cflows_core.problems.objective import Objective

PathLike = str | os.PathLike[str]


class Engine:
    """Where simulations run. Made by `local`, `connect` or `in_process`; asynchronous, for one event loop.

    start_seconds: how long it took until runs could be started; workers then warm up by themselves (see `ready`).

    >>> async with Engine.in_process() as engine:                       # doctest: +SKIP
    ...     runner = await engine.start(RunConfig(warm_start=240))
    ...     await runner.step(100)
    """

    def __init__(self, backend: Backend, start_seconds: float = 0.0):
        self.backend = backend
        self.start_seconds = start_seconds
        self._runners: list[Runner] = []
        self._opening: set[asyncio.Task[Any]] = set()
        self._shared: dict[tuple[str, str | None], asyncio.Task[Runner]] = {}

    @classmethod
    async def local(cls, n_workers: int = 1, threads: int = 1, problems: Sequence[ProblemFile] = ()) -> Engine:
        """Worker processes on this machine, which only it can reach.

        threads: PyTorch's CPU threads in each simulation whose configuration leaves them open. problems: files whose
        problems configurations may name; workers execute them, and no others. Raises ConfigError for
        fewer than one of either; EngineError where processes cannot be started, or Dask is missing.
        """
        for name, value in (("n_workers", n_workers), ("threads", threads)):
            if value < 1:
                raise ConfigError(f"`{name}` must be a whole number of at least 1, got {value}.")
        begin = time.perf_counter()
        return cls(await DaskCluster.local(n_workers, threads, tuple(problems)), time.perf_counter() - begin)

    @classmethod
    async def connect(cls, address: str, threads: int = 0, problems: Sequence[ProblemFile] = ()) -> Engine:
        """The workers of a running Dask cluster, for example "tcp://10.0.0.5:8786"; paths are those of its machines.

        Connect only to a cluster you trust: whoever reaches its scheduler can run code. Raises EngineError where none
        answers, where it has no workers, or where they lack cflows.
        """
        begin = time.perf_counter()
        return cls(await DaskCluster.connect(address, threads, tuple(problems)), time.perf_counter() - begin)

    @classmethod
    def in_process(cls, threads: int = 0, problems: Sequence[ProblemFile] = ()) -> Engine:
        """This process, a thread for each simulation: for notebooks, tests, and where processes cannot be started."""
        return cls(InProcess(threads, tuple(problems)))

    @property
    def runners(self) -> tuple[Runner, ...]:
        """All runs that are not closed."""
        return tuple(self._runners)

    async def ready(self) -> list[float]:
        """Wait until every worker has imported and rehearsed what a run needs; the seconds that took each."""
        return await self.backend.ready()

    async def start(self, config: RunConfig, out: PathLike | None = None, *, share: bool = True, **problem: Any) -> Runner:
        """A paused run of `config`, stored at `out` if given; `objective` and `weights` replace the problem's fields.

        An identical run that nobody has changed is shared: the same runner, with one viewer more, unless `share` is
        false. The caller is a viewer, and calls `release` when done. Raises CflowsError for what is wrong with the
        configuration, the data or the path.
        """
        path = None if out is None else os.fspath(out)
        task = None
        if share and not problem:
            task = self._shared.get((config.hash, path))
        if task is None or not _still_same(task, config):
            task = self._open("start", (config.to_dict(), path, problem), path, problem=problem)
            if share and not problem:
                self._shared[config.hash, path] = task
        return await self._view(task)

    async def resume(
        self, path: PathLike, *, record: bool = True, objective: Objective | None = None, history: History | None = None
    ) -> Runner:
        """A paused run from a stored one's last checkpoint, with its history up to there.

        It goes on writing to `path`; `record=False` leaves the store as it is. `objective` again, if the run was started
        on one of your own. `history`: the run's rows, if the caller has read them already, so that the worker need not
        read and send them. Raises StoreError where there is no run, or another recorder at work.
        """
        name = os.fspath(path)
        problem = {} if objective is None else {"objective": objective}
        known = int(history.steps[-1]) if history else -1
        args = (name, record, objective, known)
        return await self._view(self._open("resume", args, name if record else None, problem=problem, history=history))

    async def close(self) -> None:
        """Close every run, then the workers this engine started."""
        await asyncio.gather(*self._opening, return_exceptions=True)
        for runner in list(self._runners):
            await runner.close()
        await self.backend.close()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.close()

    # Inside

    async def _view(self, task: asyncio.Task[Runner]) -> Runner:
        """The runner that `task` opens, with one viewer more; closed if its only viewer left before it opened."""
        try:
            return (await asyncio.shield(task)).retain()
        except asyncio.CancelledError:
            self._later(self._close_unwatched(task))
            raise

    async def _close_unwatched(self, task: asyncio.Task[Runner]) -> None:
        await asyncio.wait({task})
        await asyncio.sleep(0)  # others who waited for the same run take hold of it first
        if not task.cancelled() and task.exception() is None and task.result().viewers == 0:
            await task.result().close()

    def _open(self, method: str, args: tuple[Any, ...], out: str | None, **rest: Any) -> asyncio.Task[Runner]:
        """Begin to open a runner; by a task, so that a caller who is cancelled leaves nothing half open."""
        return self._later(self._opened(method, args, out, **rest))

    def _later(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return task

    async def _opened(
        self,
        method: str,
        args: tuple[Any, ...],
        out: str | None,
        *,
        problem: dict[str, Any] | None = None,
        history: History | None = None,
        near: Handle | None = None,
    ) -> Runner:
        """A runner whose actor began by `method`: "start", "resume" or "adopt"."""
        handle: Handle | None = None
        try:
            handle = await self.backend.place(near)
            state = await handle.call(method, *args)
        except WorkerLost as lost:
            raise EngineError(
                "The worker process was lost while it prepared this run (killed, or out of memory): start it again."
            ) from lost
        except CflowsError:
            if handle is not None:
                with suppress(CflowsError):
                    await handle.close()
            raise
        if method == "resume":
            rows, state = state
            if history and not rows["n"]:
                history = await asyncio.to_thread(history.until, state["step"])
            else:
                history = History()
                history.extend(rows)
        runner = Runner(self, handle, state, out, history, problem)
        self._runners.append(runner)
        return runner

    def _forget(self, runner: Runner) -> None:
        if runner in self._runners:
            self._runners.remove(runner)
        for key, task in list(self._shared.items()):
            if task.done() and not task.cancelled() and task.exception() is None and task.result() is runner:
                del self._shared[key]


def _still_same(task: asyncio.Task[Runner], config: RunConfig) -> bool:
    """Whether the run that `task` opened, or is opening, is still one of this very configuration."""
    if not task.done():
        return True
    if task.cancelled() or task.exception() is not None:
        return False
    runner = task.result()
    return not runner.closed and not runner.error and runner.config.hash == config.hash
