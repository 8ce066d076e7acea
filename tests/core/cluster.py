"""A Dask cluster whose processes a test may kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


def command(*words: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", "dask", *words], stdout=file, stderr=subprocess.STDOUT)


class Cluster:
    """A scheduler and workers without nannies, each a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler()

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{kind}-{time.monotonic_ns()}.log"
        return command(kind, *words, "--scheduler-file", str(self.file), log=log)

    def scheduler(self, port: int = 0) -> subprocess.Popen[bytes]:
        started = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.processes.append(started)
        return started

    def worker(self, *words: str) -> subprocess.Popen[bytes]:
        started = self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", *words)
        self.processes.append(started)
        self.workers.append(started)
        return started

    @property
    def address(self) -> str:
        """Once all workers are there."""
        from distributed import Client

        end = time.monotonic() + 60
        while not self.file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        address = json.loads(self.file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=60)
        return address

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait(10)
