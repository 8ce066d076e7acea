"""Nothing committed is ever lost: killed writers, full disks, torn files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cflows_core.errors import StoreError
from cflows_core.frames import Frame
from cflows_core.store import Recorder, Run, files, layout

KILLS = 20

# One process imports once and forks the writers, because importing takes longer than all the writing. A writer tells the number of rows
# after each commit through a pipe; the kill comes at a random moment after the first of these.
WRITER = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from cflows_core.config import RunConfig
from cflows_core.frames import Event, Frame
from cflows_core.store import Recorder, layout

layout.CHUNK_ROWS = 16

class Simulation:
    def __init__(self, config, step):
        self.config, self.step = config, step
    def save(self, path):
        with open(path, "wb") as file:
            for _ in range(50):  # in pieces, so that a kill can fall between them
                file.write(f"{self.step:08d}".encode() * 100)
                file.flush()

def frame(t):
    central = {"loss": t + 0.5, "effective_eigs": np.array([t, -t]), "rank": 1.0}
    flows = {"discrete": {"loss": float(t)}, **({"central": central} if t >= 20 else {})}
    return Frame(t, t * 1e-3, float(t), flows, {"central": t * 2.0} if t >= 20 else {}, {}, (Event(t, "", "note", str(t)),))

def write(path, tell):
    config = RunConfig(n_eigs=3)
    recorder = Recorder(path, config)
    os.write(tell, b"0\\n")
    t = 0
    while True:
        recorder.append(frame(t))
        t += 1
        if t % 3 == 0:
            recorder.commit()
            os.write(tell, f"{t}\\n".encode())
        if t % 40 == 0:
            recorder.checkpoint(Simulation(config, t))
        if t % 90 == 0:  # resume from the checkpoint: the last rows once more
            recorder.close()
            recorder = Recorder.reopen(path)
            t = t // 40 * 40

random.seed(0)
for index in range(int(sys.argv[2])):
    path = Path(sys.argv[1]) / f"{index}.zarr"
    receive, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        try:
            write(path, tell)
        finally:
            os._exit(1)
    os.close(tell)
    told = os.read(receive, 1 << 16)
    time.sleep(random.uniform(0.0, 0.25))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(receive, 1 << 16):
        told += more
    os.close(receive)
    print(index, max(map(int, told.split())), os.WTERMSIG(status), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork and no SIGKILL")
def test_a_killed_writer_leaves_every_committed_step(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(KILLS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    outcomes = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    assert len(outcomes) == KILLS
    assert {killed for _, _, killed in outcomes} == {9}
    assert len({told for _, told, _ in outcomes}) > 1, "the kills all came at the same moment"
    for index, told, _ in outcomes:
        path = tmp_path / f"{index}.zarr"
        run = Run.open(path)
        rows = len(run)
        assert rows >= told
        t = np.arange(rows)
        assert run.damaged == []
        np.testing.assert_array_equal(run.steps, t)
        np.testing.assert_array_equal(run.series("discrete", "loss"), t.astype(float))
        np.testing.assert_array_equal(run.series("central", "loss"), np.where(t >= 20, t + 0.5, np.nan))
        np.testing.assert_array_equal(run.series("central", "distance"), np.where(t >= 20, t * 2.0, np.nan))
        assert [event.step for event in run.events] == t.tolist()
        if run.checkpoint_path is not None:
            content = run.checkpoint_path.read_bytes()
            step = int(content[:8])
            assert content == content[:8] * 5000, "the checkpoint is torn"
            assert step <= rows
        with Recorder.reopen(path) as recorder:  # and it goes on
            recorder.append(Frame(rows, 0.0, 0.0, {"discrete": {"loss": -1.0}}))
        assert Run.open(path).series("discrete", "loss")[-2:].tolist() == ([rows - 1.0, -1.0] if rows else [-1.0])


@pytest.fixture
def disk(monkeypatch):
    """A disk with `disk.room` bytes left: writes beyond it are cut short, then fail, as a full file system's do."""
    state = SimpleNamespace(room=10**12)
    real = files._write_all

    def write(file, content) -> None:
        fits = content[: state.room]
        real(file, fits)
        state.room -= len(fits)
        if len(fits) < len(content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write_all", write)
    return state


@pytest.mark.parametrize("room", [0, 100, 3_000, 30_000, 60_000])
def test_a_full_disk_loses_nothing(tmp_path: Path, config, make_frame, same_frames, disk, monkeypatch, room) -> None:
    monkeypatch.setattr(layout, "CHUNK_ROWS", 32)
    path = tmp_path / "run.zarr"
    recorder = Recorder(path, config)
    for step in range(40):
        recorder.append(make_frame(step))
    recorder.commit()
    disk.room = room
    for step in range(40, 90):
        recorder.append(make_frame(step))
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            recorder.commit()
        sentence = str(caught.value)
        assert "The disk is full" in sentence
        assert "the 40 steps committed so far are safe" in sentence
        assert "\n" not in sentence
    run = Run.open(path)
    assert [same_frames(frame, make_frame(step)) for step, frame in enumerate(run.frames())] == [True] * 40
    with pytest.raises(StoreError, match="disk is full"):
        recorder.close()
    disk.room = 10**12  # space was made: everything that waited is written
    for step in range(90, 95):
        recorder.append(make_frame(step))
    recorder.close()
    run = Run.open(path)
    assert [same_frames(frame, make_frame(step)) for step, frame in enumerate(run.frames())] == [True] * 95


def test_a_full_disk_while_appending_keeps_the_frames(tmp_path: Path, config, make_frame, disk) -> None:
    recorder = Recorder(tmp_path / "run.zarr", config)
    disk.room = 0
    errors = 0
    for step in range(450):  # a caller that does not stop is told at every attempt to commit, and the buffers grow
        try:
            recorder.append(make_frame(step))
        except StoreError:
            errors += 1
    assert errors == 4
    disk.room = 10**12
    recorder.commit()
    assert Run.open(tmp_path / "run.zarr").steps.tolist() == list(range(450))
    recorder.close()


def test_a_full_disk_while_creating(tmp_path: Path, config, disk) -> None:
    disk.room = 10
    with pytest.raises(StoreError, match=r"The disk is full.*the 0 steps"):
        Recorder(tmp_path / "run.zarr", config)
    disk.room = 10**12
    Recorder(tmp_path / "run.zarr", config).close()  # what is left there does not stand in the way
    with pytest.raises(StoreError, match="cannot be written"):
        Recorder(Path(os.devnull) / "run.zarr", config)


def test_a_disk_that_is_full_for_long_is_no_other_recorder(tmp_path: Path, config, make_frame, disk) -> None:
    """Each attempt fails in the root's document, with other content than the one before."""
    path = tmp_path / "run.zarr"
    recorder = Recorder(path, config)
    recorder.append(make_frame(0))
    recorder.commit()
    disk.room = 0
    for step in range(1, 5):
        recorder.config = config.replace(changes=[(1, "lr", 0.01 * step)])
        with pytest.raises(StoreError, match="disk is full"):
            recorder.commit()
    disk.room = 10**12
    recorder.append(make_frame(1))
    recorder.close()
    assert Run.open(path).steps.tolist() == [0, 1]


@pytest.mark.parametrize("problem", ["disk", "torch"])
def test_a_checkpoint_that_fails_leaves_the_last_one(tmp_path: Path, config, make_frame, monkeypatch, problem) -> None:
    class Simulation:
        def __init__(self, content: bytes, fail: bool):
            self.config, self.content, self.fail = config, content, fail

        def save(self, path) -> None:
            Path(path).write_bytes(self.content[: -3 if self.fail else None])
            if self.fail and problem == "disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            if self.fail:
                raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    recorder = Recorder(tmp_path / "run.zarr", config)
    recorder.append(make_frame(0))
    recorder.checkpoint(Simulation(b"first state", fail=False))
    recorder.append(make_frame(1))
    with pytest.raises(StoreError, match="the 2 steps committed so far are safe"):
        recorder.checkpoint(Simulation(b"second state", fail=True))
    run = Run.open(tmp_path / "run.zarr")
    assert len(run) == 2  # rows are committed before the checkpoint is taken
    assert run.checkpoint_path is not None
    assert run.checkpoint_path.read_bytes() == b"first state"
    recorder.checkpoint(Simulation(b"second state", fail=False))
    assert run.checkpoint_path.read_bytes() == b"second state"
    recorder.close()
    assert not list((tmp_path / "run.zarr").rglob("*.partial"))


def test_other_errors_of_a_simulation_pass(tmp_path: Path, config) -> None:
    class Simulation:
        def __init__(self):
            self.config = config

        def save(self, path) -> None:
            raise RuntimeError("a bug")

    with Recorder(tmp_path / "run.zarr", config) as recorder, pytest.raises(RuntimeError, match="a bug"):
        recorder.checkpoint(Simulation())


@pytest.mark.parametrize("damage", ["garbage", "short", "shorter", "uncommitted file lost"])
def test_a_torn_tail_is_not_read_and_is_repaired(tmp_path: Path, config, make_frame, same_frames, monkeypatch, damage) -> None:
    """Whatever became of the rows behind the committed ones: they do not count, and writing goes on over them."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 32)
    path, later = tmp_path / "run.zarr", tmp_path / "later.zarr"
    recorder = Recorder(path, config)
    for step in range(60):
        recorder.append(make_frame(step))
    recorder.commit()
    root = (path / "zarr.json").read_bytes()
    for step in range(60, 80):
        recorder.append(make_frame(step))
    recorder.commit()
    shutil.copytree(path, later)
    (later / "zarr.json").write_bytes(root)  # killed after the rows were written, before they were committed
    for chunk in later.rglob("c.*"):
        spec = recorder._table.specs[chunk.parent.relative_to(later).as_posix()]
        index = int(chunk.name.split(".")[1])
        width = chunk.stat().st_size // 32
        if index == 1:  # rows 32 to 63, of which 32 to 59 count
            content = bytearray(chunk.read_bytes())
            if damage == "garbage":
                content[28 * width :] = bytes(range(1, 256)) * 16
            elif damage.startswith("short"):
                del content[28 * width + (3 if damage == "short" else 0) :]
            chunk.write_bytes(content)
        elif index == 2 and damage == "uncommitted file lost":
            chunk.unlink()
        assert spec.chunk_rows == 32
    run = Run.open(later)
    assert run.damaged == []
    assert [same_frames(frame, make_frame(step)) for step, frame in enumerate(run.frames())] == [True] * 60
    with Recorder.reopen(later) as again:
        for step in range(60, 70):
            again.append(make_frame(step))
    run = Run.open(later)
    assert [same_frames(frame, make_frame(step)) for step, frame in enumerate(run.frames())] == [True] * 70
    whole = {chunk.stat().st_size for chunk in later.rglob("c.1*")}
    assert whole == {chunk.stat().st_size for chunk in path.rglob("c.1*")}
    recorder.close()


def test_an_incomplete_copy_says_so(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    with Recorder(path, config) as recorder:
        for step in range(60):
            recorder.append(make_frame(step))
    chunk = path / "rod" / "extent" / "c.0"
    chunk.write_bytes(chunk.read_bytes()[: 50 * 8 + 3])
    run = Run.open(path)
    assert run.damaged == ["rod/extent"]
    assert "incomplete on disk, read as NaN: rod/extent" in repr(run)
    extent = run.series("rod", "extent")
    np.testing.assert_array_equal(np.isnan(extent), (np.arange(60) < 5) | (np.arange(60) >= 50))
    assert json.loads((path / "zarr.json").read_text())["attributes"]["cflows"]["rows"] == 60
