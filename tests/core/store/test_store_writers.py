"""Two writers never mix: with locks, without locks, and where a run is deleted or replaced under its recorder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cflows_core.errors import StoreError
from cflows_core.store import Recorder, Run, files
from cflows_core.store.files import LOCK, WriterLock, leftovers, writer

HOLDER = """
import sys
from cflows_core.config import RunConfig
from cflows_core.store import Recorder
recorder = Recorder(sys.argv[1], RunConfig())
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch):
    """Commits come when they are asked for, however slow the machine is."""
    monkeypatch.setattr("cflows_core.store.recorder.COMMIT_SECONDS", 1e9)


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""
    fcntl = pytest.importorskip("fcntl", reason="the system has no flock")

    def flock(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def record(recorder: Recorder, make_frame, steps) -> Recorder:
    for step in steps:
        recorder.append(make_frame(step))
    recorder.commit()
    return recorder


def test_another_process_is_named(tmp_path: Path, config) -> None:
    path = tmp_path / "run.zarr"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        who = f"(process {process.pid} on {socket.gethostname()}, since "
        for attempt in (lambda: Recorder.reopen(path), lambda: Recorder(path, config, overwrite=True)):
            with pytest.raises(StoreError, match="Only one recorder can write a run") as caught:
                attempt()
            assert who in str(caught.value)
        assert (writer(path) or "").startswith(who)
        process.kill()
        process.wait()
    assert writer(path) is None  # the note of the killed process is no lock
    Recorder.reopen(path).close()
    assert (path / LOCK).read_text() == ""


def test_many_threads_create_one_run(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    ready, won, lost = threading.Barrier(8), [], []

    def create(number: int) -> None:
        ready.wait()
        try:
            with Recorder(path, config, {"number": number}) as recorder:
                record(recorder, make_frame, range(20))
                won.append(number)
        except StoreError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1, "a run was written over"
    assert len(lost) == 7
    run = Run.open(path)
    assert (run.meta["number"], run.rows, run.damaged) == (won[0], 20, [])
    assert not leftovers(path)


def test_a_lock_on_a_deleted_run_is_none(tmp_path: Path, config, monkeypatch) -> None:
    """The lock file is opened, then the run replaced, then the old file locked: that must not count."""
    path = tmp_path / "run.zarr"
    Recorder(path, config).close()
    real, done = files._lock, []

    def lock(file, **kwargs):
        if not done:
            done.append(True)
            shutil.rmtree(path)
            path.mkdir()
            done.append(WriterLock(path))
        return real(file, **kwargs)

    monkeypatch.setattr(files, "_lock", lock)
    with pytest.raises(StoreError, match="Only one recorder"):
        WriterLock(path)
    done[1].release()


def test_without_locks_a_living_process_here_is_believed(tmp_path: Path, config, no_locks) -> None:
    path = tmp_path / "run.zarr"
    recorder = Recorder(path, config)
    with pytest.raises(StoreError, match=f"process {os.getpid()} on "):
        Recorder.reopen(path)
    assert writer(path) is not None
    recorder.close()
    assert writer(path) is None
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    (path / LOCK).write_text(json.dumps({"pid": int(killed.stdout), "host": socket.gethostname(), "since": "2026-01-01"}))
    Recorder.reopen(path).close()


def test_without_locks_the_later_writer_wins_and_the_former_stops(tmp_path: Path, config, make_frame, same_frames, no_locks) -> None:
    """Two machines on one network disk: neither sees the other's process, each sees what the other commits."""
    path = tmp_path / "run.zarr"
    first = record(Recorder(path, config), make_frame, range(20))
    (path / LOCK).write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "2026-01-01"}))
    second = record(Recorder.reopen(path), make_frame, range(20, 30))
    for step in range(20, 25):
        first.append(make_frame(step))
    for attempt in (first.commit, first.close, first.commit):
        with pytest.raises(StoreError, match="was written by another recorder, or replaced, while it was being recorded"):
            attempt()
    record(second, make_frame, range(30, 35)).close()
    run = Run.open(path)
    assert [same_frames(frame, make_frame(step)) for step, frame in enumerate(run.frames())] == [True] * 35


def test_the_former_writer_adds_nothing_to_a_run_that_replaced_its_own(tmp_path: Path, config, make_frame, no_locks) -> None:
    path = tmp_path / "run.zarr"
    first = record(Recorder(path, config), make_frame, range(20))
    (path / LOCK).unlink()
    second = record(Recorder(path, config, overwrite=True), make_frame, range(5))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    first.append(make_frame(20))
    with pytest.raises(StoreError, match="by another recorder, or replaced"):
        first.commit()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    second.close()


def test_a_run_deleted_while_it_is_written_does_not_come_back_torn(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    recorder = record(Recorder(path, config), make_frame, range(20))
    shutil.rmtree(path)
    recorder.append(make_frame(20))
    for attempt in (recorder.commit, recorder.close):
        with pytest.raises(StoreError, match="was deleted while it was being recorded"):
            attempt()
    assert not path.exists()


def test_a_disk_that_fails_after_the_commit_is_no_other_writer(tmp_path: Path, config, make_frame, monkeypatch) -> None:
    path = tmp_path / "run.zarr"
    recorder = record(Recorder(path, config), make_frame, range(5))
    recorder.append(make_frame(5))
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", lambda folder: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(StoreError, match="input/output error"):
            recorder.commit()
    recorder.close()
    assert Run.open(path).rows == 6


def test_overwriting_is_whole_or_not_at_all(tmp_path: Path, config, make_frame, monkeypatch) -> None:
    path = tmp_path / "run.zarr"
    record(Recorder(path, config), make_frame, range(20)).close()

    class Killed(BaseException):
        pass

    def killed(folder, *args, **kwargs):
        for file in sorted(Path(folder).rglob("c.*"))[:7]:
            file.unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            Recorder(path, config, overwrite=True)
    assert not path.exists()  # never half of the old run
    record(Recorder(path, config), make_frame, range(3)).close()
    assert Run.open(path).rows == 3
    Recorder(path, config, overwrite=True).close()
    assert not list(tmp_path.glob(".*"))


def test_a_linked_run_is_written_and_overwritten_where_it_lies(tmp_path: Path, config, make_frame) -> None:
    place, link = tmp_path / "large-disk" / "run.zarr", tmp_path / "run.zarr"
    place.parent.mkdir()
    record(Recorder(place, config), make_frame, range(5)).close()
    link.symlink_to(place)
    record(Recorder.reopen(link), make_frame, range(5, 8)).close()
    assert Run.open(place).rows == 8
    record(Recorder(link, config, overwrite=True), make_frame, range(2)).close()
    assert link.is_symlink()
    assert Run.open(place).rows == 2


def test_a_run_from_elsewhere_writes_nowhere_else(tmp_path: Path, config, make_frame) -> None:
    """A link in the lock's place, or an array named outside the run."""
    path, precious = tmp_path / "run.zarr", tmp_path / "thesis.txt"
    record(Recorder(path, config), make_frame, range(8)).close()
    precious.write_text("text")
    (path / LOCK).unlink()
    (path / LOCK).symlink_to(precious)
    with pytest.raises(StoreError, match="cannot be written"):
        Recorder.reopen(path)
    assert precious.read_text() == "text"
    (path / LOCK).unlink()
    document = json.loads((path / "zarr.json").read_text())
    members = document["consolidated_metadata"]["metadata"]
    for name in ("../outside", "rod/../../outside", "/tmp/outside", "rod/a/b"):
        document["consolidated_metadata"]["metadata"] = {**members, name: members["rod/loss"]}
        (path / "zarr.json").write_text(json.dumps(document))
        for opener in (Run.open, Recorder.reopen):
            with pytest.raises(StoreError, match="not in the layout"):
                opener(path)


def test_a_folder_that_may_only_be_read(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "runs" / "run.zarr"
    record(Recorder(path, config), make_frame, range(5)).close()
    if sys.platform == "linux" and os.geteuid() == 0:  # whom no permission stops
        mount = ["mount", "--bind", str(path.parent), str(path.parent)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no right to mount")
        undo = ["umount", str(path.parent)]
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path.parent)], check=True)
    else:
        path.chmod(0o500)
        undo = ["chmod", "-R", "u+w", str(path)]
    try:
        assert Run.open(path).rows == 5
        assert writer(path) is None
        with pytest.raises(StoreError, match="cannot be written"):
            Recorder.reopen(path)
        with pytest.raises(StoreError, match="cannot be"):
            Recorder(path, config, overwrite=True)
    finally:
        subprocess.run(undo, check=True)
    assert Run.open(path).rows == 5
