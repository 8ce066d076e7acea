"""`DaskCluster`: actors on Dask workers, in processes of this machine that it starts or on a running cluster."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import multiprocessing
import sys
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflows_core.engine.actor import SimulationActor
from cflows_core.engine.backends import Handle, WorkerLost
from cflows_core.engine.warm import warm_up
from cflows_core.errors import EngineError

if TYPE_CHECKING:
    from cflows_core.problems.files import ProblemFile

CONNECT_SECONDS = 10.0
PLACE_SECONDS = 60.0  # a restarted worker takes some seconds; on a busy machine, many
CLOSE_SECONDS = 10.0
WATCH_SECONDS = 0.5
GPU = "GPU"  # the resource by which workers say that they have one
_GUARD = "`if __name__ == '__main__':`"


class DaskHandle:
    """An actor on a Dask worker."""

    def __init__(self, actor: Any, future: Any, address: str):
        self._actor, self._future, self.address = actor, future, address

    @property
    def lost(self) -> bool:
        return self._future.status != "finished"

    async def call(self, method: str, *args: Any) -> Any:
        if method in ("start", "resume"):
            _check_sendable(args)
        call = asyncio.ensure_future(self._call(method, *args))
        try:
            # A call to a dead worker may wait for a connection's time limit, or for ever; the scheduler knows at once.
            while not (await asyncio.wait({call}, timeout=WATCH_SECONDS))[0]:
                if self.lost:
                    raise WorkerLost("The worker process was lost.")
            return call.result()
        except (OSError, RuntimeError, LookupError) as problem:
            raise WorkerLost("The worker process was lost.") from problem
        finally:
            call.cancel()

    async def _call(self, method: str, *args: Any) -> Any:
        return await getattr(self._actor, method)(*args)

    async def close(self) -> None:
        try:
            if not self.lost:
                await asyncio.wait_for(self.call("close"), CLOSE_SECONDS)
        except (WorkerLost, TimeoutError):
            pass
        finally:
            self._future.release()


class DaskCluster:
    """Actors on the workers of a cluster; made by `local` or `connect`.

    encrypted: whether its connections use TLS. On this machine they do if the package `cryptography` is installed: then
    no other user of the machine can hand code to the workers.
    """

    def __init__(self, client: Any, cluster: Any | None, threads: int, problems: tuple[ProblemFile, ...] = ()):
        self.client, self.cluster, self.threads, self.problems = client, cluster, threads, problems
        self.encrypted = client.scheduler.address.startswith("tls://")
        self._address = ""  # of a cluster that is not ours
        self._turn = asyncio.Lock()

    @classmethod
    async def local(cls, n_workers: int, threads: int, problems: tuple[ProblemFile, ...] = ()) -> DaskCluster:
        """Start worker processes on this machine. Raises EngineError."""
        _check_entry_point()
        distributed = await _distributed()
        import dask.config

        encrypt = importlib.util.find_spec("cryptography") is not None
        quiet = {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # Dask sets these for the whole process: what fails in the dashboard's own callbacks must still be told.
            "logging": {"distributed": "critical", "bokeh": "error", "tornado": "critical", "tornado.application": "error"},
            # Dask's own without MALLOC_TRIM_THRESHOLD_: memory given back at once must be fetched again, a third of a step's time.
            "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
            # Threads that would take the interpreter from the simulation 50 to 100 times a second.
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.interval": "1s",
        }
        # Read when a worker is lost: one that has not restarted by then is given up for good, and 15 s, Dask's default,
        # are too short for a busy machine.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"})
        cluster = None
        try:
            with dask.config.set(quiet):
                cluster = await distributed.LocalCluster(
                    n_workers=n_workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    security=distributed.Security.temporary() if encrypt else None,
                    dashboard_address="127.0.0.1:0",  # Dask's web server cannot be left out: any free port, no pages
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,  # a limit would pause or kill workers at a share of the memory that nobody chose
                    preload=["cflows_core.engine.warm"],
                    asynchronous=True,
                    silence_logs=logging.CRITICAL,
                )
            client = await distributed.Client(cluster, asynchronous=True, direct_to_workers=True, set_as_default=False)
        except Exception as problem:
            if cluster is not None:
                await _close(cluster)
            raise EngineError(
                f"The worker processes did not start ({_message(problem)}): a script must start them under {_GUARD}, "
                "or use Engine.in_process()."
            ) from None
        return cls(client, cluster, threads, problems)

    @classmethod
    async def connect(cls, address: str, threads: int, problems: tuple[ProblemFile, ...] = ()) -> DaskCluster:
        """Use the cluster whose scheduler is at `address`. Raises EngineError."""
        distributed = await _distributed()
        client = None
        try:
            client = distributed.Client(address, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False)
            await client
        except (OSError, ValueError) as problem:
            if client is not None:
                await _close(client)
            raise EngineError(
                f"No Dask scheduler answers at {address} ({_message(problem)}): start one with `dask scheduler`, or "
                "compute on this machine."
            ) from None
        self = cls(client, None, threads, problems)
        self._address = address
        try:
            await client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            await self.ready()
        except TimeoutError:
            await self.close()
            raise EngineError(f"The scheduler at {address} has no workers: start one with `dask worker {address}`.") from None
        except ImportError as problem:
            await self.close()
            raise EngineError(
                f"The workers at {address} lack something that runs need ({_message(problem)}): install this version of cflows there."
            ) from None
        return self

    async def gpu_workers(self) -> list[str]:
        """Addresses of the workers that declare the resource `GPU` (`dask worker --resources GPU=1`)."""
        resources = await self.client.run(_resources)
        return [address for address, declared in resources.items() if declared.get(GPU, 0) >= 1]

    async def place(self, near: Handle | None = None, device: str = "auto") -> DaskHandle:
        """A new actor, on the worker that has fewest unless `near` says. Raises EngineError where none is free.

        device: of the configuration; one for "cuda" goes to a worker that declares the resource `GPU`, if there is one.
        """
        await self._reconnect()
        where: dict[str, Any] = {}
        if isinstance(near, DaskHandle):
            where = {"workers": [near.address], "allow_other_workers": False}
        elif device == "cuda" and (declared := await self.gpu_workers()):
            where = {"workers": declared, "allow_other_workers": False}
        future = self.client.submit(SimulationActor, self.threads, self.problems, actor=True, pure=False, **where)
        try:
            with self.client.as_current():  # an actor's handle looks for its client while it is unpacked
                actor = await _placed(future, near)
        except TimeoutError:
            future.release()
            raise EngineError(f"No worker was free within {PLACE_SECONDS:.0f} s: wait until one is, or start more of them.") from None
        except (RuntimeError, CancelledError) as problem:  # killed meanwhile, it or the scheduler
            future.release()
            raise WorkerLost("The worker process was lost.") from problem
        return DaskHandle(actor, future, actor._address)

    async def _reconnect(self) -> None:
        """After a lost scheduler: look for the one that has taken its place. Raises EngineError where none has."""
        async with self._turn:
            if self._address and self.client.status != "running":
                fresh = await self.connect(self._address, self.threads, self.problems)
                lost, self.client = self.client, fresh.client
                await _close(lost)

    async def ready(self) -> list[float]:
        workers = await self.client.nthreads()
        warm = [self.client.submit(warm_up, workers=[worker], pure=False) for worker in workers]
        return list(await self.client.gather(warm))

    async def close(self) -> None:
        for part in (self.client, self.cluster):
            if part is not None:
                await _close(part)


async def _placed(future: Any, near: Handle | None) -> Any:
    """The actor that a worker makes. Raises TimeoutError, and RuntimeError once there is no worker that could."""
    placing, end = asyncio.ensure_future(future.result()), time.monotonic() + PLACE_SECONDS
    try:
        while not (await asyncio.wait({placing}, timeout=WATCH_SECONDS))[0]:
            if near is not None and near.lost:
                raise RuntimeError("the worker that was asked for is gone")
            if time.monotonic() > end:
                raise TimeoutError
        return placing.result()
    finally:
        placing.cancel()


def _resources(dask_worker: Any) -> dict[str, float]:
    return dict(dask_worker.state.total_resources)


def _message(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120]


async def _close(part: Any) -> None:
    with suppress(TimeoutError, OSError):
        await asyncio.wait_for(part.close(), CLOSE_SECONDS)


def _check_sendable(args: Any) -> None:
    """Dask never answers a call whose arguments it cannot send, which an objective of one's own may turn out to be."""
    from distributed.protocol.serialize import serialize

    try:
        serialize(args, on_error="raise")
    except Exception as problem:
        raise EngineError(
            f"An objective of your own must be sent to a worker process, which failed ({_message(problem)}): use "
            "Engine.in_process() for it."
        ) from None


async def _distributed() -> Any:
    """Import Dask in a thread: half a second during which an event loop should go on."""
    try:
        return await asyncio.to_thread(importlib.import_module, "distributed")
    except ImportError:
        raise EngineError(
            "Worker processes need Dask, which is not installed: pip install 'cflows[app]', or use Engine.in_process()."
        ) from None


def _check_entry_point() -> None:
    """A spawned process imports the main script again: refuse a script without a guard, and one that is no file."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # We are in the child, whose only way out is to end; a traceback from each of them would bury the sentence.
        raise SystemExit(f"Worker processes import your script again: put what starts them under {_GUARD}.")
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not Path(script).exists():
        raise EngineError(
            f"Worker processes import your script again, and {script} is no file: save the script, or use Engine.in_process()."
        )
