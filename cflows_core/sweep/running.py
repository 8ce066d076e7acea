"""Computes a sweep: in this process, on worker processes of this machine, or on a Dask cluster; what is finished is not computed again.

Every configuration is one Dask task, which opens, continues or begins the run in the sweep's folder. A task whose worker is lost is given
to another one, and goes on there from the last checkpoint; the lost process's locks went with it. All workers must see the folder.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.dask_cluster import GPU, DaskCluster
from cflows_core.engine.host import describe
from cflows_core.errors import ConfigError, EngineError, StoreError
from cflows_core.sweep import task
from cflows_core.sweep.grid import Sweep
from cflows_core.sweep.table import TABLE, Table
from cflows_core.sweep.task import BUSY, FAILED, STOPPED, Outcome

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile

RETRIES = 2  # further tries of a run that ended in an error that nobody foresaw
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 2.0  # until a run that someone else computes is looked at again
STOP_SECONDS = 60.0  # for the step and the checkpoint that are under way
STEP = "step"


@dataclass
class Progress:
    """How far a sweep is. outcomes: of what has ended, by hash. reached: step of what is being computed. elsewhere: what another sweep
    computes. computed: steps computed by this one."""

    sweep: Sweep
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    begun: float = field(default_factory=time.monotonic)
    computed: int = 0
    saved: int = 0  # steps of runs that were finished before

    @property
    def steps(self) -> int:
        """Steps of all runs together."""
        return sum(map(last_step, self.sweep.configs.values()))

    @property
    def step(self) -> int:
        """Steps behind us."""
        ended = sum(last_step(self.sweep.configs[name]) for name in self.outcomes)
        return ended + sum(step for name, step in self.reached.items() if name not in self.outcomes)

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None before there is one."""
        done, passed = self.step - self.saved, time.monotonic() - self.begun
        return (self.steps - self.step) * passed / done if done > 0 else None

    def note(self, name: str, outcome: Outcome) -> None:
        self.elsewhere.discard(name)
        if outcome.state == BUSY:
            self.elsewhere.add(name)
        elif outcome.state != STOPPED:
            self.outcomes[name] = outcome
            if not outcome.computed:
                self.saved += last_step(self.sweep.configs[name])


def last_step(config: RunConfig) -> int:
    return config.warm_start + config.steps


def run(
    sweep: Sweep,
    out: str | Path | None = None,
    *,
    workers: int = 1,
    threads: int = 1,
    scheduler: str = "",
    problems: tuple[ProblemFile, ...] = (),
    on_progress: Callable[[Progress], Any] = lambda progress: None,
) -> Table:
    """Compute what is not finished of a sweep, and return its table, which is also written to `out`/table.csv.

    out: the folder, `runs/NAME` by default; a cluster's workers must reach it by the same path. workers: processes of this machine, 0 for
    this process alone. scheduler: the address of a Dask cluster in place of them. threads: PyTorch's CPU threads of a run
    whose configuration leaves them open. problems: files whose problems configurations may name. on_progress: called several times a
    second; what it raises stops the sweep between two steps, with everything stored. A run that diverges or fails is a row of the table.
    Raises ConfigError, EngineError, StoreError.
    """
    for name, value, least in (("workers", workers, 0), ("threads", threads, 0)):
        if not isinstance(value, int) or value < least:
            raise ConfigError(f"`{name}` must be a whole number of at least {least}, got {value}.")
    folder = _folder(Path("runs") / sweep.name if out is None else Path(out).expanduser())
    progress = Progress(sweep)
    left = _left(progress, folder)
    on_progress(progress)
    if left and workers == 0 and not scheduler:
        _here(left, progress, folder, threads, problems, on_progress)
    elif left:
        driver = _Driver(left, progress, folder, threads, problems, on_progress)
        _in_a_thread(partial(driver.drive, min(workers, len(left)), scheduler), driver.leave)
    table = Table.of(sweep, folder, progress.outcomes)
    table.to_csv(folder / TABLE)
    return table


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The sweep's folder {out} cannot be made ({(error.strerror or str(error)).lower()}): name another.") from None
    return out.absolute()


def _left(progress: Progress, folder: Path) -> dict[str, RunConfig]:
    """What is not finished, after noting what is. A run that cannot be read is left to its task, which says so."""
    left = {}
    for name, config in progress.sweep.configs.items():
        try:
            ended = task.state(task.where(folder, config), config)
        except StoreError:
            ended = None
        if ended is None:
            left[name] = config
        else:
            progress.note(name, ended)
    return left


def _here(left: dict[str, RunConfig], progress: Progress, folder: Path, threads: int, problems: Any, on_progress: Any) -> None:
    """One after another in this process; an exception of `on_progress` passes through a run, which is checkpointed."""
    waiting = list(left.items())
    while waiting:
        name, config = waiting.pop(0)

        def tell(step: int, name: str = name) -> None:
            progress.reached[name] = step
            on_progress(progress)

        outcome = task.compute("", config.to_dict(), str(folder), threads, problems, tell)
        progress.note(name, outcome)
        if outcome.state == BUSY:
            waiting.append((name, config))
            time.sleep(AGAIN_SECONDS if len(waiting) == len(progress.elsewhere) else 0)
        on_progress(progress)


def _in_a_thread(drive: Callable[[], Any], leave: Callable[[], None]) -> None:
    """A notebook's thread has an event loop already, and a signal is better met outside of one."""
    with ThreadPoolExecutor(1, "cflows-sweep") as pool:
        done = pool.submit(lambda: asyncio.run(drive()))
        try:
            done.result()
        except BaseException:
            leave()
            raise


class _Driver:
    """Gives runs to workers and notes what becomes of them."""

    def __init__(
        self,
        left: dict[str, RunConfig],
        progress: Progress,
        folder: Path,
        threads: int,
        problems: tuple[ProblemFile, ...],
        on_progress: Callable[[Progress], Any],
    ):
        self.left, self.progress, self.folder, self.threads, self.problems = left, progress, folder, threads, problems
        self.on_progress = on_progress
        self.id = uuid.uuid4().hex
        self._leaving = threading.Event()

    def leave(self) -> None:
        """From any thread: stop soon."""
        self._leaving.set()

    async def drive(self, workers: int, scheduler: str) -> None:
        if scheduler:
            cluster = await self._unless_left(DaskCluster.connect(scheduler, self.threads, self.problems))
        else:
            cluster = await DaskCluster.local(workers, self.threads, self.problems)
        try:
            resources = await self._resources(cluster, scheduler)
            await self._all(cluster.client, resources)
        finally:
            await cluster.close()

    async def _unless_left(self, connecting: Any) -> DaskCluster:
        """Workers that are busy with others' work let one wait; a stop does not."""
        going = asyncio.ensure_future(connecting)
        try:
            while not (await asyncio.wait({going}, timeout=LOOK_SECONDS))[0]:
                self.on_progress(self.progress)
                if self._leaving.is_set():
                    raise asyncio.CancelledError
        except BaseException:
            going.cancel()
            await asyncio.wait({going}, timeout=LOOK_SECONDS)
            raise
        return going.result()

    async def _resources(self, cluster: DaskCluster, scheduler: str) -> dict[str, dict[str, float]]:
        """What each run needs of its worker: on a cluster, a GPU if it asks for one."""
        wanting = [name for name, config in self.left.items() if config.device == "cuda"]
        if not wanting or not scheduler:
            return {}
        if not await cluster.gpu_workers():
            raise EngineError(
                f"{len(wanting)} configurations ask for `device: cuda`, and no worker at {scheduler} declares the resource {GPU}: "
                f"start one with `dask worker {scheduler} --resources {GPU}=1`, or leave out the device."
            )
        return {name: {GPU: 1} for name in wanting}

    async def _all(self, client: Any, resources: dict[str, dict[str, float]]) -> None:
        client.subscribe_topic(self.id, self._heard)
        going = {asyncio.ensure_future(self._one(client, name, resources.get(name))): name for name in self.left}
        try:
            while going:
                done, _ = await asyncio.wait(going, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    self.progress.note(going.pop(each), each.result())
                self.on_progress(self.progress)
                if self._leaving.is_set():
                    break
        finally:
            if going:
                await self._stop(client, going)
            with suppress(ValueError):
                client.unsubscribe_topic(self.id)

    async def _one(self, client: Any, name: str, resources: dict[str, float] | None) -> Outcome:
        """What becomes of a run, however often it must be given to a worker."""
        from distributed.scheduler import KilledWorker

        plain = self.left[name].to_dict()
        while True:
            future = client.submit(
                _compute, self.id, name, plain, str(self.folder), self.threads, self.problems,
                key=f"cflows-{name}-{uuid.uuid4().hex[:8]}", pure=False, retries=RETRIES, resources=resources,
            )  # fmt: skip
            try:
                outcome = await future
            except KilledWorker:
                reached = self.progress.reached.get(name, 0)
                return Outcome(FAILED, f"Its worker was lost again and again, at last near step {reached:,}: is there memory enough?")
            except (asyncio.CancelledError, Exception) as problem:
                if client.status != "running" and not self._leaving.is_set():
                    raise EngineError("The scheduler was lost: what was committed is safe, and the same command goes on.") from None
                if isinstance(problem, asyncio.CancelledError):
                    raise
                return Outcome(FAILED, f"It failed {RETRIES + 1} times ({describe(problem)}): the steps before that are kept.")
            finally:
                future.release()
            if outcome.state != BUSY:
                return outcome
            self.progress.note(name, outcome)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _stop(self, client: Any, going: dict[Any, str]) -> None:
        """End what runs between two steps, and wait for its checkpoint."""
        self._leaving.set()
        with suppress(Exception):  # a worker that cannot be told is lost, and its run goes on from its checkpoint all the same
            await asyncio.wait_for(client.run(task.stop, self.id, on_error="ignore"), STOP_SECONDS)
        done, late = await asyncio.wait(going, timeout=STOP_SECONDS)
        for each in done:
            if not each.cancelled() and each.exception() is None:
                self.progress.note(going[each], each.result())
        for each in late:
            each.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    def _heard(self, event: Any) -> None:
        _, message = event
        self.progress.reached[message["run"]] = message[STEP]


def _compute(sweep: str, name: str, plain: dict[str, Any], folder: str, threads: int, problems: tuple[ProblemFile, ...]) -> Outcome:
    """`task.compute` in a Dask worker, which tells its scheduler how far it is."""
    from distributed import get_worker

    worker = get_worker()
    return task.compute(sweep, plain, folder, threads, problems, lambda step: worker.log_event(sweep, {"run": name, STEP: step}))
