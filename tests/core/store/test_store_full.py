"""Real limits of the system: files that may not grow, a small file system that fills up while a checkpoint is written."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import cflows_core as cf
from cflows_core.errors import StoreError
from cflows_core.store import Recorder, Run
from cflows_core.store.check import check

CONFIG = cf.RunConfig(dataset="chebyshev", width=4, n_train=30, n_eigs=2, flows=("discrete", "stable"), steps=40)


@contextmanager
def longest(size: int):
    """Files may have at most `size` bytes."""
    resource = pytest.importorskip("resource", reason="the system has no limits of file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def advance(simulation: cf.Simulation, recorder: Recorder, steps: int) -> None:
    for frame in simulation.advance(steps=steps):
        recorder.append(frame)


def failure(recorder: Recorder, simulation: cf.Simulation) -> str:
    """Checkpoint; what is said if that fails, else ""."""
    try:
        recorder.checkpoint(simulation)
    except StoreError as error:
        return str(error)
    return ""


def is_unharmed(path: Path, rows: int) -> None:
    run = Run.open(path)
    assert run.rows >= rows
    assert run.steps.tolist() == list(range(run.rows))
    assert np.isfinite(run.series("discrete", "loss")).all()
    assert check(path).whole


@pytest.mark.parametrize("size", [0, 100, 5_000, 20_000, 30_000, 60_000])
def test_files_that_may_not_grow(tmp_path: Path, size) -> None:
    path = tmp_path / "run.zarr"
    simulation, recorder = cf.Simulation(CONFIG), Recorder(path, CONFIG)
    advance(simulation, recorder, 10)
    recorder.checkpoint(simulation)
    state = (path / "checkpoint.pt").read_bytes()
    advance(simulation, recorder, 10)
    with longest(size):
        sentence = failure(recorder, simulation)
    assert ("committed so far are safe" in sentence) == (size < len(state))
    if sentence:
        assert (path / "checkpoint.pt").read_bytes() == state
    is_unharmed(path, 10)
    recorder.checkpoint(simulation)
    recorder.close()
    assert Run.open(path).rows == 20
    assert cf.resume(path, progress=False).rows == 41
    assert not list(path.rglob("*.partial"))


def test_a_small_file_system_that_fills_up(tmp_path: Path) -> None:
    """Whatever is left on the disk, to the page: a sentence, and nothing committed is lost."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system; limits of file sizes are tried instead")
    try:
        path, filler = tmp_path / "run.zarr", tmp_path / "filler"
        simulation, recorder = cf.Simulation(CONFIG), Recorder(path, CONFIG)
        failures = 0
        for left in range(0, 100_000, 8192):
            rows = recorder.rows
            advance(simulation, recorder, 2)
            filler.touch()
            free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
            filler.write_bytes(bytes(max(free - left, 0)))
            sentence = failure(recorder, simulation)
            assert not sentence or "The disk is full" in sentence
            failures += sentence != ""
            filler.write_bytes(b"")
            is_unharmed(path, rows)
        assert failures > 3
        recorder.checkpoint(simulation)
        recorder.close()
        assert cf.resume(path, progress=False).rows == 41
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
