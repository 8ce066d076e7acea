"""The disk and the power: what a full disk, a lost place and kill -9 leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import cflows_core as cf
from tests.project.cli.lines import EDGE, FAST, TINY, Cli, is_a_sentence


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk(cflows: Cli, tmp_path: Path) -> None:
    """A real one, small, and filled up to the last byte between two runs."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system; tests of the store simulate the error instead")
    try:
        path, filler = tmp_path / "run.zarr", tmp_path / "filler"
        assert cflows("run", *TINY, *FAST, "--steps", "30", "--out", path, "--quiet")[0] == 0
        before = cf.Run.open(path).series("central", "loss").copy()
        fill(filler)

        for command in (("resume", path, "--steps", "20"), ("run", *TINY, *FAST, "--out", tmp_path / "new.zarr")):
            code, _, err = cflows(*command)
            assert code == 2
            assert is_a_sentence(err), err
            assert "disk is full" in err
            np.testing.assert_array_equal(cf.Run.open(path).series("central", "loss")[:31], before)

        filler.unlink()
        code, _, err = cflows("resume", path, "--steps", "20", "--quiet")
        assert (code, err) == (0, "")
        assert cf.Run.open(path).steps.tolist() == list(range(51))
        assert not cf.Run.open(path).damaged
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_place_that_cannot_be_written(cflows: Cli, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("no /proc, which nobody can write to, on this system")
    code, _, err = cflows("run", *TINY, "--steps", "2", "--out", "/proc/run.zarr")
    assert code == 2
    assert is_a_sentence(err), err
    assert "/proc/run.zarr" in err


class Background:
    """A `cflows run` in a process of its own."""

    def __init__(self, *argv: str | Path):
        line = [sys.executable, "-m", "cflows_core", "run", *map(str, argv)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_rows(self, path: Path, rows: int, seconds: float = 60.0) -> int:
        """Until so many steps are committed; returns how many are."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()[1]
            try:
                present = cf.Run.open(path).rows
            except cf.StoreError:
                present = 0
            if present >= rows:
                return present
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"{rows} steps were not committed within {seconds} s")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.slow
def test_kill_9_loses_nothing_committed_and_the_run_goes_on(cflows: Cli, tmp_path: Path) -> None:
    path, whole = tmp_path / "killed.zarr", tmp_path / "whole.zarr"
    plan = (*TINY, *EDGE, "--steps", "80", "--checkpoint-every", "10")
    background = Background(*plan, "--out", path)
    committed = background.wait_for_rows(path, 21)
    background.end(signal.SIGKILL)

    run = cf.Run.open(path)
    assert committed <= run.rows < 81
    assert run.steps.tolist() == list(range(run.rows))
    assert not run.damaged
    before = {flow: run.series(flow, "loss").copy() for flow in run.flows}

    for command in (("resume", path), ("run", *plan, "--out", whole)):
        assert cflows(*command, "--quiet") == (0, "", "")
    resumed, undisturbed = cf.Run.open(path), cf.Run.open(whole)
    assert resumed.steps.tolist() == list(range(81))
    for flow, loss in before.items():
        # Nothing committed was changed, and the whole is what an undisturbed run gives, bit for bit.
        np.testing.assert_array_equal(resumed.series(flow, "loss")[: len(loss)], loss)
        np.testing.assert_array_equal(resumed.series(flow, "loss"), undisturbed.series(flow, "loss"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT from another process on Windows")
def test_ctrl_c_says_what_is_saved_and_how_to_go_on(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "interrupted.zarr"
    background = Background(*TINY, *EDGE, "--steps", "100000", "--out", path)
    background.wait_for_rows(path, 1)
    code, err = background.end(signal.SIGINT)
    assert code == 130
    assert is_a_sentence(err), err
    rows = cf.Run.open(path).rows
    assert f"{rows:,} steps are saved" in err
    assert f"cflows resume {path}" in err
    # Everything computed was saved, together with the state to go on from.
    checkpoint = cf.Run.open(path).checkpoint_path
    assert checkpoint is not None
    assert cf.Simulation.load(checkpoint).step_number == rows


def test_a_reader_who_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m cflows_core presets | true"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
