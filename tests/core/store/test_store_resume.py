"""Where a run goes on: its checkpoint if that is whole and of this run, else its beginning, which repeats what is stored bit for bit."""

from __future__ import annotations

import io
import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import cflows_core as cf
from cflows_core.engine.host import SimulationHost
from cflows_core.errors import StoreError
from cflows_core.simulation import CHECKPOINT_VERSION
from cflows_core.store import Recorder, Run
from cflows_core.store.resuming import restored

CONFIG = cf.RunConfig(
    dataset="chebyshev", width=4, n_train=30, n_eigs=2, lr=0.3, flows=("discrete", "central"), steps=24, checkpoint_every=8
)


def same(run: Run, other: Run) -> None:
    assert run.events == other.events
    assert run.columns().keys() == other.columns().keys()
    for path, values in other.columns().items():
        if not path.endswith("wall_time"):
            np.testing.assert_array_equal(run.columns()[path], values, err_msg=path)


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole.zarr"
    cf.run(CONFIG, path, progress=False)
    return path


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """The same run, paused at step 16 of 24."""
    path = tmp_path_factory.mktemp("runs") / "begun.zarr"
    cf.run(CONFIG, path, progress=False, until=16)
    return path


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """One bit of a tensor, which the format itself would not notice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size if "/data/" in member.filename else 0)
        at = content.index(archive.read(largest))
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGE = {"cut": cut, "empty": lambda _: b"", "garbage": lambda c: bytes(range(256)) * 50, "a bit": flip, "zeros": lambda c: bytes(len(c))}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_checkpoint_is_passed_over(begun, whole, tmp_path: Path, caplog, damage) -> None:
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    checkpoint = path / "checkpoint.pt"
    checkpoint.write_bytes(DAMAGE[damage](checkpoint.read_bytes()))
    run = cf.resume(path, progress=False)
    assert warnings(caplog) == [
        f"The checkpoint of {path} is damaged: the run is computed again from its beginning, which repeats what is stored."
    ]
    same(run, Run.open(whole))
    assert cf.Simulation.load(checkpoint).finished


def test_a_missing_checkpoint_needs_no_words(begun, whole, tmp_path: Path, caplog) -> None:
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    (path / "checkpoint.pt").unlink()
    same(cf.resume(path, progress=False), Run.open(whole))
    assert not warnings(caplog)


def test_the_engine_does_the_same(begun, tmp_path: Path, caplog) -> None:
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    (path / "checkpoint.pt").write_bytes(b"torn")
    host, history = SimulationHost.resume(str(path), record=False, objective=None)
    assert host.simulation.step_number == 0
    assert history.last == Run.open(path).steps[-1]  # what is stored is shown, and computed again unseen
    assert "is damaged" in caplog.text


def test_a_checkpoint_of_later_steps_than_the_rows_is_passed_over(begun, whole, tmp_path: Path, caplog) -> None:
    """As after a power cut that took the newest rows: going on would leave a gap."""
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    shutil.copy(whole / "checkpoint.pt", path)
    same(cf.resume(path, progress=False), Run.open(whole))
    assert "is of step 24, and the rows end at step 16" in caplog.text


def test_a_checkpoint_of_earlier_steps_repeats_the_rows_after_it(begun, whole, tmp_path: Path, caplog) -> None:
    path = shutil.copytree(whole, tmp_path / "run.zarr")
    shutil.copy(begun / "checkpoint.pt", path)
    steps = []
    same(cf.resume(path, progress=False, on_frame=lambda frame: steps.append(frame.step)), Run.open(whole))
    assert steps == list(range(17, 25))
    assert not warnings(caplog)


def test_torn_rows_after_the_checkpoint_are_computed_again(whole, begun, tmp_path: Path) -> None:
    """A power cut: the root document counts rows that never reached the disk, and read as missing."""
    path = shutil.copytree(whole, tmp_path / "run.zarr")
    shutil.copy(begun / "checkpoint.pt", path)
    for spec in Run.open(path).arrays.values():
        spec.write(path, 20, spec.blank(5))
    assert "step" in Run.open(path).damaged
    same(cf.resume(path, progress=False), Run.open(whole))
    assert Run.open(path).damaged == []


def test_torn_rows_before_the_checkpoint_are_computed_again(whole, tmp_path: Path, caplog) -> None:
    path = shutil.copytree(whole, tmp_path / "run.zarr")
    for spec in Run.open(path).arrays.values():
        spec.write(path, 20, spec.blank(5))
    same(cf.resume(path, progress=False), Run.open(whole))
    assert "is of step 24, and the rows end at step 19" in caplog.text


@pytest.mark.parametrize("other", ["another run's", "another course's"])
def test_a_checkpoint_of_something_else_is_passed_over(begun, whole, tmp_path: Path, caplog, other) -> None:
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    simulation = cf.Simulation(CONFIG.replace(seed=1) if other == "another run's" else CONFIG)
    simulation.advance(steps=5)
    if other == "another course's":
        simulation.set(lr=0.2)
    simulation.advance(steps=5)
    simulation.save(path / "checkpoint.pt")
    same(cf.resume(path, progress=False), Run.open(whole))
    assert ("has another configuration" if other == "another run's" else "is of another course than its rows") in caplog.text


def test_a_checkpoint_of_another_version_says_both_ways_to_go_on(begun, tmp_path: Path) -> None:
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    checkpoint = torch.load(path / "checkpoint.pt", weights_only=True)
    torch.save(checkpoint | {"version": CHECKPOINT_VERSION - 1}, path / "checkpoint.pt")
    with pytest.raises(StoreError, match=rf"version {CHECKPOINT_VERSION - 1}.*reads version {CHECKPOINT_VERSION}.*wrote it.*--repair"):
        cf.resume(path, progress=False)
    assert Run.open(path).rows == 17


def test_an_objective_of_ones_own_is_never_replaced_by_another(tmp_path: Path) -> None:
    """The run's own beginning is in its checkpoint alone: without one, the configuration's network must not continue its rows."""
    objective = cf.Objective.from_function(lambda w: (w**4).sum(), 3)
    path = tmp_path / "own.zarr"
    cf.run(CONFIG, path, objective=objective, weights=torch.ones(3, dtype=torch.float64), progress=False, until=16)
    resumable = shutil.copytree(path, tmp_path / "resumable.zarr")
    (path / "checkpoint.pt").unlink()
    for given in (objective, None):
        with pytest.raises(StoreError, match="has no checkpoint yet, and where a run with an objective of its own began is stored nowhere"):
            cf.resume(path, objective=given, progress=False)
    assert Run.open(path).rows == 17
    assert cf.resume(resumable, objective=objective, progress=False).rows == 25


def test_a_new_course_never_mixes_with_the_old_one(begun, tmp_path: Path, monkeypatch) -> None:
    """A run set back takes another learning rate, and is killed between writing its rows and committing them."""
    path = shutil.copytree(begun, tmp_path / "run.zarr")
    old = Run.open(path)
    old.columns()
    simulation = cf.Simulation(CONFIG)
    simulation.advance(steps=10)
    simulation.set(lr=0.15)
    recorder = Recorder.reopen(path)
    recorder.config = simulation.config
    for frame in simulation.advance(steps=4):
        recorder.append(frame)
    writes = []
    real = Recorder._write_root

    def killed_before_the_last(self, rows, *rest, **kwargs) -> None:
        writes.append(rows)
        if len(writes) == 2:
            raise KeyboardInterrupt
        real(self, rows, *rest, **kwargs)

    monkeypatch.setattr(Recorder, "_write_root", killed_before_the_last)
    with pytest.raises(KeyboardInterrupt):
        recorder.commit()
    run = Run.open(path)
    assert run.steps.tolist() == list(range(10))  # what both courses share
    for name, values in run.columns().items():
        if not name.endswith("wall_time"):
            np.testing.assert_array_equal(values, old.columns()[name][:10], err_msg=name)
    monkeypatch.undo()
    recorder.commit()
    recorder.close()
    run = Run.open(path)
    assert run.steps.tolist() == list(range(14))
    assert run.changes == ((10, "lr", 0.15),)
    assert restored(run).step_number == 0  # the checkpoint, of step 16, is the old course's


def test_checksums_are_those_of_the_format(begun) -> None:
    """What the test of a flipped bit relies on: PyTorch writes a CRC of every member."""
    with zipfile.ZipFile(begun / "checkpoint.pt") as archive:
        assert archive.testzip() is None
        assert all(member.CRC for member in archive.infolist() if member.file_size)
