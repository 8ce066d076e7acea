"""A sweep on worker processes: local ones and those of a cluster, which are killed; GPUs by resource; stops; two sweeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="Dask is missing: pip install 'cflows[app]'")

import psutil
import torch

from cflows_core import running, sweep
from cflows_core.config import RunConfig
from cflows_core.errors import EngineError
from cflows_core.store import Run
from cflows_core.sweep.running import Progress
from cflows_core.sweep.task import where
from tests.core.cluster import Cluster
from tests.core.sweep.tiny import LONG, TINY, same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).parent


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "logs").mkdir()
    made = Cluster(tmp_path / "logs")
    yield made
    made.close()


def computing(path: Path) -> list[int]:
    """Processes that have the run open for writing."""
    lock, found = str(path / "writer.lock"), []
    for process in (psutil.Process(), *psutil.process_iter()):
        try:
            if any(file.path == lock for file in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


class KillOnce:
    """Kills, the hard way, the process that computes a run, once the run is well beyond a checkpoint."""

    def __init__(self, folder: Path, config: RunConfig, rows: int = 40):
        self.path, self.rows, self.killed, self.at, self.progress = where(folder, config), rows, 0, 0, None

    def __call__(self, progress: Progress) -> None:
        self.progress = progress
        if self.killed or not (self.path / "checkpoint.pt").exists():
            return
        stored = Run.open(self.path)
        owners = computing(self.path)
        if stored.rows >= self.rows and owners:
            self.killed, self.at = owners[0], stored.rows
            assert self.killed != os.getpid()
            os.kill(self.killed, signal.SIGKILL)


def test_a_killed_local_worker_costs_nothing_that_was_committed(tmp_path: Path) -> None:
    wanted = sweep.from_plain({"base": {**LONG, "steps": 300}, "axes": {"seed": [0]}})
    config = wanted.cases[0].config
    kill = KillOnce(tmp_path / "out", config)
    table = sweep.run(wanted, tmp_path / "out", workers=1, on_progress=kill)
    assert kill.killed
    assert table.rows[0]["state"] == "finished"
    found = table.run(table.rows[0])
    assert [entry["rows"] >= kill.at for entry in found.meta["resumed"]] == [True]
    assert same(found, running.run(config, tmp_path / "alone.zarr", progress=False))


def test_a_run_goes_on_at_another_worker_of_the_cluster(tmp_path: Path, cluster: Cluster) -> None:
    workers = {process.pid: process for process in (cluster.worker(), cluster.worker())}
    wanted = sweep.from_plain({"base": {**LONG, "steps": 300}, "axes": {"seed": [0]}})
    config = wanted.cases[0].config
    kill = KillOnce(tmp_path / "out", config)
    table = sweep.run(wanted, tmp_path / "out", scheduler=cluster.address, on_progress=kill)
    assert kill.killed in workers
    survivors = [process for pid, process in workers.items() if pid != kill.killed]
    assert survivors[0].poll() is None
    assert table.rows[0]["state"] == "finished"
    assert len(table.run(table.rows[0]).meta["resumed"]) == 1
    assert same(table.run(table.rows[0]), running.run(config, tmp_path / "alone.zarr", progress=False))


def test_configurations_for_a_gpu_go_to_workers_that_have_one(tmp_path: Path, cluster: Cluster) -> None:
    """Simulated: one worker declares a GPU and computes on its processor; anywhere else `cuda` fails, as there is none."""
    cluster.worker("--name", "plain")
    wanted = sweep.from_plain({"base": TINY, "axes": {"device": ["cuda", "cpu"], "seed": [0, 1]}})
    address = cluster.address
    with pytest.raises(EngineError, match="declares the resource GPU"):
        sweep.run(wanted, tmp_path / "none", scheduler=address)
    cluster.worker("--name", "gpu", "--resources", "GPU=1", "--preload", str(HERE / "preload_gpu.py"))
    seen: list[Progress] = []
    table = sweep.run(wanted, tmp_path / "out", scheduler=cluster.address, on_progress=seen.append)
    assert [row["state"] for row in table.rows] == ["finished"] * 4, [row["sentence"] for row in table.rows]
    by_device = {
        device: {seen[-1].outcomes[row["run"]].worker for row in table.rows if row["device"] == device} for device in ("cuda", "cpu")
    }
    assert len(by_device["cuda"]) == 1
    if not torch.cuda.is_available():
        for row, twin in zip(table.rows[:2], table.rows[2:], strict=True):
            assert same(table.run(row), table.run(twin))


def test_actors_for_a_gpu_go_there_too(cluster: Cluster) -> None:
    import asyncio

    from cflows_core.engine import Engine

    cluster.worker("--name", "plain")
    cluster.worker("--name", "gpu", "--resources", "GPU=1", "--preload", str(HERE / "preload_gpu.py"))
    address = cluster.address

    async def scenario() -> list[int]:
        async with await Engine.connect(address, threads=1) as engine:
            base = RunConfig(**TINY)
            runners = [await engine.start(base.replace(device="cuda", seed=seed)) for seed in range(3)]
            for runner in runners:
                await runner.step(2)
            return [runner.info["pid"] for runner in runners]

    assert asyncio.run(scenario()) == [cluster.workers[1].pid] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_leaves_everything_stored_and_the_same_sweep_goes_on(tmp_path: Path, workers: int) -> None:
    wanted = sweep.from_plain({"base": {**LONG, "steps": 80, "checkpoint_every": 1000}, "axes": {"seed": [0, 1, 2]}})

    def stop(progress: Progress) -> None:
        if any(step >= 10 for step in progress.reached.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(wanted, tmp_path / "out", workers=workers, on_progress=stop)
    begun = [Run.open(path) for path in sorted((tmp_path / "out").glob("*.zarr"))]
    assert 1 <= len(begun) <= workers + 1
    assert all(run.checkpoint_path is not None and run.meta["closed"] for run in begun)
    table = sweep.run(wanted, tmp_path / "out", workers=workers)
    assert [row["state"] for row in table.rows] == ["finished"] * 3
    whole = running.run(begun[0].config, tmp_path / "alone.zarr", progress=False)
    assert same(Run.open(begun[0].path), whole)


def test_an_error_that_nobody_foresaw_is_tried_again(tmp_path: Path, cluster: Cluster) -> None:
    """A worker whose first two tries fail: the third is the result; one that always fails is a row."""
    preload = tmp_path / "fails.py"
    preload.write_text(FAILS)
    cluster.worker("--preload", str(preload))
    wanted = sweep.from_plain({"base": TINY, "axes": {"seed": [1, 2, 3]}})
    table = sweep.run(wanted, tmp_path / "out", scheduler=cluster.address)
    assert [row["state"] for row in table.rows] == ["finished", "finished", "failed"]
    assert table.rows[2]["sentence"] == "It failed 3 times (MemoryError: no room): the steps before that are kept."


FAILS = """
from cflows_core.sweep import task

tried, run = {}, getattr(task.run, "inner", task.run)  # Dask runs this file twice

def failing(config, *rest, **more):
    tried[config.seed] = tried.get(config.seed, 0) + 1
    if config.seed == 3 or (config.seed == 2 and tried[2] < 3):
        raise MemoryError("no room")
    return run(config, *rest, **more)

failing.inner = run
task.run = failing
"""


def test_a_lost_scheduler_is_told(tmp_path: Path, cluster: Cluster) -> None:
    cluster.worker()
    address = cluster.address
    begun = time.monotonic()

    def kill(progress: Progress) -> None:
        if progress.reached:
            cluster.processes[0].kill()
        assert time.monotonic() - begun < 120

    with pytest.raises(EngineError, match="same command goes on"):
        sweep.run(
            sweep.from_plain({"base": {**LONG, "steps": 50_000}, "axes": {"seed": [0]}}),
            tmp_path / "out",
            scheduler=address,
            on_progress=kill,
        )


def test_two_commands_at_once_compute_each_run_once(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text('{"base": ' + str({**TINY, "steps": 60}).replace("'", '"') + ', "axes": {"seed": [0, 1, 2, 3]}}')
    words = [sys.executable, "-m", "cflows_core", "sweep", "rates.json", "--out", "out"]
    both = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=200)
        assert (process.returncode, errors) == (0, "")
        assert "4 configurations: 4 finished" in output
    stored = [Run.open(path) for path in (tmp_path / "out").glob("*.zarr")]
    assert len(stored) == 4
    assert not any(run.meta.get("resumed") for run in stored)


def test_ctrl_c_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "long.json").write_text('{"base": ' + str({**LONG, "seed": 0}).replace("'", '"') + ', "axes": {"seed": [0, 1]}}')
    words = [sys.executable, "-m", "cflows_core", "sweep", "long.json", "--workers", "2"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(list(tmp_path.glob("runs/long/*.zarr/checkpoint.pt"))) == 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert errors.startswith("cflows: interrupted; 0 of 2 runs are finished in runs/long")
    assert errors.count("\n") == 1
    assert output == "Stopping: what is computed is being stored. Ctrl-C again ends at once.\n"
    assert all(Run.open(path).meta["closed"] for path in tmp_path.glob("runs/long/*.zarr"))


def wait_for(condition: Callable[[], Any], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
