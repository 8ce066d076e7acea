"""Further victims of faults.py: the workers of an engine, the scheduler of a cluster, the dashboard's server. All store into a journal.

They differ from `cflows run` in who goes on: an engine looks for another worker by itself, and waits for a scheduler that comes back; of a
server that was killed, the next one on the same folder goes on when somebody opens the run's address.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cflows_core import running
from cflows_core.config import RunConfig
from cflows_core.engine import Engine, Runner
from cflows_core.engine.journal import Journal
from cflows_core.errors import EngineError, StoreError
from cflows_core.store import Run
from cflows_core.store.files import ROOT

if TYPE_CHECKING:
    from faults import Tally
    from viewer import Viewer
    from visit import Dashboard

CONFIG = RunConfig(
    dataset="chebyshev", n_train=30, width=4, n_eigs=2, lr=0.3, flows=("discrete", "stable", "central", "rod"), steps=400,
    checkpoint_every=20, threads=1,
)  # fmt: skip
LIFE = 1.5  # seconds of computing within which a victim is killed
PATIENCE = 120.0  # seconds until a run must have gone on
GONE = 30.0  # seconds until the workers of a killed server must have ended


def whole(config: RunConfig = CONFIG) -> Run:
    """The undisturbed run, in memory."""
    return running.run(config, progress=False)


async def killed_again_and_again(engine: Engine, folder: Path, tally: Tally, kill: Callable[[Runner], Awaitable[None]]) -> None:
    """Runs of an engine, whose `kill` ends what they depend on and brings back what nobody else does."""
    undisturbed, moments = await asyncio.to_thread(whole), random.Random(0)
    engine.journal = Journal(folder)
    while not tally.enough:
        runner = await engine.start(CONFIG, share=False)
        assert runner.out is not None
        path = Path(runner.out)
        runner.run()
        while not runner.finished:
            assert await runner.wait_for(len(runner.history) + 1, PATIENCE) or runner.finished, runner.error
            await asyncio.sleep(moments.uniform(0.0, LIFE))
            if runner.finished or tally.enough:
                break
            known, pid = Run.open(path).rows if path.exists() else -1, runner.info["pid"]
            await kill(runner)
            tally.after_kill(path, known, undisturbed)
            print(f"kill {tally.kills}: {known} steps were committed, the page shows {len(runner.history)}", flush=True)
            end = time.monotonic() + PATIENCE
            while runner.info["pid"] == pid and not (runner.error or runner.finished):  # what was computed before may still arrive
                assert time.monotonic() < end, "a run did not go on"
                await asyncio.sleep(0.02)
        while not runner.finished:
            assert await runner.wait_for(len(runner.history) + 1, PATIENCE) or runner.finished, runner.error
        await runner.paused()
        await runner.close()
        tally.after_end(path, undisturbed, runner.history)


def kill_workers(tally: Tally) -> None:
    """The only worker process of an engine."""

    async def kill(runner: Runner) -> None:
        os.kill(runner.info["pid"], signal.SIGKILL)

    async def play(folder: Path) -> None:
        async with await Engine.local(1) as engine:
            await killed_again_and_again(engine, folder, tally, kill)

    with tempfile.TemporaryDirectory(prefix="cflows-faults-") as folder:
        asyncio.run(play(Path(folder)))


class Cluster:
    """A scheduler and a worker, each a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        common = ("--host", "127.0.0.1", "--no-dashboard")
        self._start("scheduler", "--port", str(self.port), *common)
        self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60", *common)

    def _start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            self.processes.append(subprocess.Popen([sys.executable, "-m", "dask", *words], stdout=log, stderr=subprocess.STDOUT))

    def kill_scheduler(self) -> None:
        """Its worker ends by itself; if not within ten seconds, it is ended."""
        self.processes[0].kill()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait(10)
        self.processes.clear()


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Engine]:
    """An engine on the cluster, once that is up."""
    cluster.start()
    end = time.monotonic() + PATIENCE
    while True:
        try:
            engine = await Engine.connect(cluster.address, threads=1)
            break
        except EngineError:
            if time.monotonic() > end:
                raise
    try:
        yield engine
    finally:
        await engine.close()


def kill_schedulers(tally: Tally) -> None:
    """The scheduler of a cluster that is not the engine's own; its worker goes with it, and a supervisor starts both again."""

    async def play(folder: Path) -> None:
        cluster = Cluster(folder)

        async def kill(runner: Runner) -> None:
            await asyncio.to_thread(cluster.kill_scheduler)
            cluster.start()

        try:
            async with connected(cluster) as engine:
                await killed_again_and_again(engine, folder / "journal", tally, kill)
        finally:
            for process in cluster.processes:
                process.kill()

    with tempfile.TemporaryDirectory(prefix="cflows-faults-") as folder:
        asyncio.run(play(Path(folder)))


async def _until(true: Callable[[], bool], viewer: Viewer) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if viewer.failures or time.monotonic() > end:
            raise SystemExit(f"a run did not go on within {PATIENCE:.0f} s: {'; '.join(viewer.failures) or 'its visitor saw no failure'}")
        await asyncio.sleep(0.02)


async def _visited(server: Dashboard, address: str, rows: Callable[[], int], seconds: float | None, end: int) -> int:
    """Open the run's address and press Run, as a visitor does; what was committed when it is time to kill the server.

    That is so many `seconds` after the first new commit, or when all rows up to `end` are there.
    """
    from viewer import Viewer

    before, leave, viewer = rows(), asyncio.Event(), Viewer(server.url + address)
    visit = asyncio.ensure_future(viewer.watch(leave))
    await _until(lambda: rows() > max(before, 0), viewer)
    if seconds is None:
        await _until(lambda: rows() == end, viewer)
    else:
        await asyncio.sleep(seconds)
    known = rows()
    if seconds is not None:
        await asyncio.to_thread(_kill_server, server.pid)
    leave.set()
    await visit
    return known


def _kill_server(pid: int) -> None:
    """Kill it; its workers end by themselves."""
    workers = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    if alive := psutil.wait_procs(workers, timeout=GONE)[1]:
        raise SystemExit(f"{GONE:.0f} s after their server's end, there are still {', '.join(map(str, alive))}")


def kill_apps(tally: Tally) -> None:
    """The dashboard's server; its workers notice. Then another one on the same folder, and a visitor who opens the same address."""
    from visit import dashboard  # here: worker processes import this file, too, and would wait for Panel whenever one is started again

    from cflows_app.main import JOURNAL
    from cflows_app.share import query

    moments, number = random.Random(0), 0
    while not tally.enough:
        config = CONFIG.replace(seed=number) if number else CONFIG
        number += 1
        undisturbed = whole(config)
        with tempfile.TemporaryDirectory(prefix="cflows-faults-") as folder:
            journal, complete = Path(folder) / JOURNAL, False

            def rows(journal: Path = journal) -> int:
                with suppress(StoreError):
                    return max((Run.open(root.parent).rows for root in journal.glob(f"*/{ROOT}")), default=-1)
                return -1

            while not complete:
                seconds = moments.uniform(0.0, LIFE) if not tally.enough else None
                with dashboard("--runs", folder, warm=0.0) as server:
                    known = asyncio.run(_visited(server, f"?{query(config)}", rows, seconds, undisturbed.rows))
                complete = rows() == undisturbed.rows
                (path,) = (root.parent for root in journal.glob(f"*/{ROOT}"))  # else the run was begun again
                if seconds is not None:
                    tally.after_kill(path, known, undisturbed)
                    print(f"kill {tally.kills}: {known} steps were committed, {rows()} are", flush=True)
            tally.after_end(path, undisturbed)
