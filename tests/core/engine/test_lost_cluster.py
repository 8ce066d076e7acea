"""A cluster that is not ours, and dies: its scheduler, its workers, one after another; the run goes on where they come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="Dask is missing: pip install 'cflows[app]'")

from cflows_core.engine import Engine
from cflows_core.engine.journal import Journal
from cflows_core.simulation import Simulation
from tests.core.cluster import Cluster
from tests.core.engine.stand_in import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = SMALL.replace(steps=100_000, checkpoint_every=5)


def test_a_lost_scheduler_costs_a_wait(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    cluster = Cluster(tmp_path / "logs")

    async def scenario() -> None:
        async with await Engine.connect(address, threads=1) as engine:
            engine.journal = Journal(tmp_path / "journal")
            runner = await engine.start(LONG)
            runner.run()
            assert await runner.wait_for(20, 60)
            for process in list(cluster.processes):
                process.kill()
            before = len(runner.history)
            await asyncio.sleep(1)
            cluster.scheduler(port)
            cluster.worker()
            assert await runner.wait_for(before + 20, 120), runner.error
            assert runner.running
            await runner.paused()
            losses = runner.history.series("discrete", "loss").tolist()
            assert runner.history.steps.tolist() == list(range(len(losses)))
            assert losses[:60] == [frame.flows["discrete"]["loss"] for frame in Simulation(LONG).advance(steps=60)][: len(losses)]

    try:
        cluster.worker()
        address = cluster.address
        port = int(address.rpartition(":")[2])
        asyncio.run(asyncio.wait_for(scenario(), 240))
    finally:
        cluster.close()
