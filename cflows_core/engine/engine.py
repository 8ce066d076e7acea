"""`Engine`: starts simulations in process, in local worker processes or on a cluster, and shares identical ones."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.backends import Backend, Handle, InProcess, WorkerLost
from cflows_core.engine.dask_cluster import DaskCluster
from cflows_core.engine.journal import Journal
from cflows_core.engine.queue import Queue
from cflows_core.engine.runner import LOSSES, Runner
from cflows_core.errors import CflowsError, ConfigError, StoreError
from cflows_core.history import History

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile
    from cflows_core.problems.objective import Objective

PathLike = str | os.PathLike[str]
logger = logging.getLogger("cflows")


class Engine:
    """Where simulations run. Made by `local`, `connect` or `in_process`; asynchronous, for one event loop.

    start_seconds: how long it took until runs could be started; workers then warm up by themselves (see `ready`). journal: where runs
    are stored that name no path; without one they are lost with their workers. queue: which runs compute when many go (all, at first).

    >>> async with Engine.in_process() as engine:                       # doctest: +SKIP
    ...     runner = await engine.start(RunConfig(warm_start=240))
    ...     await runner.step(100)
    """

    def __init__(self, backend: Backend, start_seconds: float = 0.0):
        self.backend = backend
        self.start_seconds = start_seconds
        self.journal: Journal | None = None
        self.queue = Queue()
        self._runners: list[Runner] = []
        self._opening: set[asyncio.Task[Any]] = set()
        self._shared: dict[tuple[str, str | None], asyncio.Task[Runner]] = {}  # by configuration and path

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

    async def ready(self) -> list[float]:
        """Wait until every worker has imported and rehearsed what a run needs; the seconds that took each."""
        return await self.backend.ready()

    @property
    def runners(self) -> tuple[Runner, ...]:
        """The runs that are open."""
        return tuple(self._runners)

    def shared(self, config: RunConfig) -> Runner | None:
        """The open run of this very configuration that `start` would share, None if there is none."""
        task = self._shared.get((config.hash, None))
        if task is None or not task.done() or not _still_same(task, config):
            return None
        return task.result()

    async def start(
        self,
        config: RunConfig,
        out: PathLike | None = None,
        *,
        share: bool = True,
        owner: str = "",
        base: PathLike | None = None,
        history: History | None = None,
        **problem: Any,
    ) -> Runner:
        """A paused run of `config`, stored at `out` if given; `objective` and `weights` replace the problem's fields.

        An identical run that nobody has changed is shared: the same runner, with one viewer more, unless `share` is false. Without `out`
        it is stored in the journal, where there is one, and goes on from an identical one there. base: a stored run of the same
        configuration from which to go on where the journal has none that got as far; its store is only read; history: its rows, if
        the caller has read them. owner: for whom it is computed, which the queue goes by. The caller is a viewer, and calls `release`
        when done. Raises CflowsError for what is wrong with the configuration, the data or the path.
        """
        path = None if out is None else os.fspath(out)
        share = share and not problem
        task = self._shared.get((config.hash, path)) if share else None
        if task is None or not _still_same(task, config):
            if path is None and not problem:
                task = self._later(self._begun(config, share, owner, base, history))
            else:
                task = self._open("start", (config.to_dict(), path, problem), path, problem=problem, owner=owner)
            if share:
                self._shared[config.hash, path] = task
                task.add_done_callback(partial(self._forget_failed, (config.hash, path)))
        return await self._view(task)

    async def resume(
        self, path: PathLike, *, record: bool = True, objective: Objective | None = None, history: History | None = None
    ) -> Runner:
        """A paused run from a stored one's last checkpoint, with all that is stored: steps after the checkpoint are computed again unseen.

        It goes on writing to `path`; `record=False` leaves the store as it is. `objective` again, if the run was started
        on one of your own. `history`: the run's rows, if the caller has read them already, so that the worker need not
        read and send them. Raises StoreError where there is no run, or another recorder at work.
        """
        return await self._view(self._later(self._resumed(os.fspath(path), record, objective, history, "")))

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

    async def _begun(self, config: RunConfig, share: bool, owner: str, base: PathLike | None, history: History | None) -> Runner:
        """A runner for `config`, in the journal: on from what is stored there or at `base`, or from the beginning."""
        if self.journal is None:
            if base is not None:
                return await self._resumed(os.fspath(base), False, None, history, owner)
            return await self._opened("start", (config.to_dict(), None, {}), None, owner=owner)
        path = None
        for anew in (not share, True):  # what is there may turn out not to be gone on with
            try:
                place, there = await asyncio.to_thread(self.journal.place, config, base, anew, self._stores())
                if there:
                    return await self._resumed(os.fspath(place), True, None, history, owner)
                path = os.fspath(place)
                break
            except StoreError as problem:  # no reason not to compute, if need be without a store
                logger.warning("%s", problem)
        if base is not None and path is None:
            return await self._resumed(os.fspath(base), False, None, history, owner)
        return await self._opened("start", (config.to_dict(), path, {}), path, owner=owner)

    def _resumed(
        self, path: str, record: bool, objective: Objective | None, history: History | None, owner: str
    ) -> Coroutine[Any, Any, Runner]:
        known = int(history.steps[-1]) if history else -1
        problem = {} if objective is None else {"objective": objective}
        args = (path, record, objective, known)
        return self._opened("resume", args, path if record else None, problem=problem, history=history, owner=owner)

    async def _opened(
        self,
        method: str,
        args: tuple[Any, ...],
        out: str | None,
        *,
        problem: dict[str, Any] | None = None,
        history: History | None = None,
        near: Handle | None = None,
        owner: str = "",
    ) -> Runner:
        """A runner whose actor began by `method`: "start", "resume" or "adopt"."""
        handle: Handle | None = None
        try:
            handle = await self.backend.place(near, args[0]["device"] if method == "start" else "auto")
            state = await handle.call(method, *args)
        except WorkerLost as lost:
            raise WorkerLost("The worker process was lost while it prepared this run (killed, or out of memory): start it again.") from lost
        except CflowsError:
            if handle is not None:
                with suppress(CflowsError):
                    await handle.close()
            raise
        if method == "resume":
            rows, state = state
            history = History() if history is None else await asyncio.to_thread(history.copy)
            history.extend(rows)
        runner = Runner(self, handle, state, out, history, problem, owner)
        self._runners.append(runner)
        return runner

    async def _again(
        self, path: str | None, objective: Objective | None, known: int, config: RunConfig
    ) -> tuple[Handle, dict[str, Any], dict[str, Any]]:
        """A stored run in another worker: its actor, rows beyond step `known`, and state. Raises CflowsError."""
        handle = await self.backend.place(device=config.device)
        try:
            rows, state = await handle.call("resume", path, True, objective, known, config.to_dict())
        except CflowsError:
            with suppress(CflowsError):
                await handle.close()
            raise
        return handle, rows, state

    async def _fork(self, runner: Runner, out: str | None, owner: str, share: bool) -> Runner:
        """See `Runner.fork`."""
        for _ in range(LOSSES):
            with suppress(WorkerLost):  # with the fork that waited in it; the run itself goes on elsewhere, to be forked there
                return await self._forked(runner, out, owner, share)
        return await self._forked(runner, out, owner, share)

    async def _forked(self, runner: Runner, out: str | None, owner: str, share: bool) -> Runner:
        async with runner._turn:  # the simulation must not go on meanwhile
            token = await runner._call("park")
            copied = None
            if out is None and runner.out is not None and self.journal is not None:
                await runner._call("commit")
                try:
                    copied = os.fspath(await asyncio.to_thread(self.journal.copy, Path(runner.out), runner.config, self._stores()))
                except StoreError as problem:
                    logger.warning("%s", problem)
            history = runner.history.copy()
        rest = {"problem": runner._problem, "history": history, "near": runner._handle, "owner": owner}
        task = self._open("adopt", (token, out or copied, copied is not None), out or copied, **rest)
        if share:
            self._shared[runner.config.hash, None] = task
        try:
            fork = await self._view(task)
        except CflowsError:
            with suppress(CflowsError):
                await runner._handle.call("unpark", token)
            raise
        fork.speed = runner.speed
        return fork

    def _stores(self) -> frozenset[Path]:
        """Where open runs are stored, also those whose worker was lost, which nobody writes until they are asked for again."""
        return frozenset(Path(runner.out) for runner in self._runners if runner.out is not None)

    def _forget(self, runner: Runner) -> None:
        if runner in self._runners:
            self._runners.remove(runner)
        for key, task in list(self._shared.items()):
            if task.done() and not task.cancelled() and task.exception() is None and task.result() is runner:
                del self._shared[key]

    def _forget_failed(self, key: tuple[str, str | None], task: asyncio.Task[Runner]) -> None:
        if self._shared.get(key) is task and (task.cancelled() or task.exception() is not None):
            del self._shared[key]


def _still_same(task: asyncio.Task[Runner], config: RunConfig) -> bool:
    """Whether the run that `task` opened, or is opening, is still one of this very configuration."""
    if not task.done():
        return True
    if task.cancelled() or task.exception() is not None:
        return False
    runner = task.result()
    return not runner.closed and not runner.error and runner.config.hash == config.hash
