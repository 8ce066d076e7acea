"""The folder of stored runs: what is kept opens and goes on, what is deleted is gone, and nothing outside of it is ever touched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cflows_app.export import Snapshot
from cflows_app.session import CUSTOM, Session
from cflows_app.shelf import Shelf
from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.errors import StoreError
from cflows_core.store import Recorder, Run

TINY = RunConfig(dataset="digits", n_train=40, width=4, n_eigs=2, warm_start=0, steps=12, lr=0.2)


@pytest.fixture
def shelf(tmp_path: Path, make_history) -> Shelf:
    """Two runs, of 30 and 50 steps."""
    shelf = Shelf(tmp_path / "deep" / "runs")
    for name, steps in (("first", 30), ("second one", 50)):
        shelf.keep(name, Snapshot(name, RunConfig(steps=steps), make_history(steps), {}).to_zarr)
    return shelf


def test_what_is_kept_is_listed_and_opens(shelf, make_history):
    entries = {entry.label: entry for entry in shelf.entries()}
    assert set(entries) == {"first", "second one"}
    assert (entries["first"].rows, entries["first"].last, entries["first"].problem) == (30, 29, "")
    assert entries["second one"].config == RunConfig(steps=50)
    assert entries["first"].size == sum(file.stat().st_size for file in (shelf.folder / "first.zarr").rglob("*") if file.is_file())
    stored = shelf.open("first.zarr")
    np.testing.assert_array_equal(stored.history.series("central", "loss"), make_history(30).series("central", "loss"))
    assert shelf.open("first.zarr") is stored  # read once


def test_a_run_that_grew_is_read_again(shelf, tmp_path, make_history):
    before = shelf.open("first.zarr")
    assert {entry.label: entry.rows for entry in shelf.entries()}["first"] == 30
    with Recorder.reopen(shelf.folder / "first.zarr") as recorder:
        recorder.append(make_history(31).frames[30])
    assert {entry.label: entry.rows for entry in shelf.entries()}["first"] == 31
    assert len(shelf.open("first.zarr").history) == len(before.history) + 1


@pytest.mark.parametrize("name", ["", ".hidden", "../out", "a/b", "x" * 81, "a\nb", "*", "~"])
def test_a_name_that_is_none_is_refused(shelf, name):
    with pytest.raises(StoreError, match="A run's name has 1 to 80 letters"):
        shelf.keep(name, lambda path: path.mkdir())
    assert len(shelf.entries()) == 2


def test_a_name_is_taken_once(shelf):
    with pytest.raises(StoreError, match="There is a run called `first` already: choose another name"):
        shelf.keep("first", lambda path: path.mkdir())


def test_a_run_that_cannot_be_written_leaves_nothing(shelf, tmp_path):
    def full(path: Path) -> None:
        path.mkdir()
        (path / "zarr.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"cannot be kept in .*no space left on device.*: make room"):
        shelf.keep("third", full)
    assert sorted(path.name for path in shelf.folder.iterdir()) == ["first.zarr", "second one.zarr"]


def test_a_deleted_run_is_gone_and_the_others_stay(shelf):
    shelf.delete("first.zarr")
    assert [entry.label for entry in shelf.entries()] == ["second one"]
    assert not (shelf.folder / "first.zarr").exists()
    with pytest.raises(StoreError, match=r"There is no run called 'first\.zarr'"):
        shelf.delete("first.zarr")


def test_a_deletion_that_is_killed_frees_the_name(shelf, make_history, monkeypatch):
    """`kill -9` in the middle of removing files: nothing is listed any more, and the name can be taken; the rest goes an hour later."""

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            shelf.delete("first.zarr")
    assert [entry.label for entry in shelf.entries()] == ["second one"]
    (left,) = shelf.folder.glob(".deleting-*")
    again = Snapshot("first", RunConfig(steps=20), make_history(20), {}).to_zarr
    shelf.keep("first", again)
    assert left.exists()  # another server may be about it
    os.utime(left, (0, 0))
    shelf.keep("third", again)
    assert sorted(path.name for path in shelf.folder.iterdir()) == ["first.zarr", "second one.zarr", "third.zarr"]


def test_a_run_that_is_being_written_is_not_deleted(shelf):
    with Recorder.reopen(shelf.folder / "first.zarr"):
        with pytest.raises(StoreError, match=r"being written: stop what computes it"):
            shelf.delete("first.zarr")
        assert (shelf.folder / "first.zarr" / "zarr.json").exists()
    shelf.delete("first.zarr")


@pytest.mark.parametrize("name", ["..", "../precious.zarr", "/etc", "", ".", "first.zarr/central", "nothing"])
def test_nothing_outside_of_the_folder_is_opened_or_deleted(shelf, tmp_path, name):
    shelf.keep("x", Snapshot("x", RunConfig(), shelf.open("first.zarr").history, {}).to_zarr)
    precious = shelf.folder.parent / "precious.zarr"
    (shelf.folder / "x.zarr").rename(precious)
    for act in (shelf.open, shelf.delete):
        with pytest.raises(StoreError, match="There is no run called"):
            act(name)
    assert Run.open(precious).rows == 30


def test_a_damaged_run_is_listed_with_a_sentence(shelf):
    root = shelf.folder / "first.zarr" / "zarr.json"
    root.write_text(root.read_text()[:100])
    other = shelf.folder / "second one.zarr" / "zarr.json"
    document = json.loads(other.read_text())
    document["attributes"]["cflows"]["config"]["optimizer"] = "sorcery"
    other.write_text(json.dumps(document))
    entries = shelf.entries()
    assert len(entries) == 2
    assert all(entry.problem and entry.config is None for entry in entries)
    with pytest.raises(StoreError):
        shelf.open("first.zarr")


def test_rows_that_are_not_there_are_told(shelf):
    assert shelf.open("first.zarr").lacks == ""
    for name in ("central/loss", "rod/loss"):  # a chunk without a file would be one that was never written
        for chunk in (shelf.folder / "second one.zarr" / name).glob("c.*"):
            chunk.write_bytes(b"")
    stored = shelf.open("second one.zarr")
    assert stored.lacks == "second one.zarr lacks rows of central/loss, rod/loss, drawn as gaps: copy it again from where it came."
    assert np.isnan(stored.history.series("central", "loss")).all()
    assert np.isfinite(stored.history.series("discrete", "loss")).all()


def test_no_folder_is_no_runs(tmp_path):
    assert Shelf(tmp_path / "none").entries() == ()


def test_a_run_is_kept_while_it_goes_on_and_continues_where_it_was(tmp_path):
    """To the bit what it would have been without."""

    async def whole() -> None:
        shelf = Shelf(tmp_path)
        async with Engine.in_process(threads=1) as engine:

            async def ready() -> Engine:
                return engine

            session = Session(ready, shelf=shelf)
            session.config, session.stored = TINY, None
            for _ in range(5):
                await session.do(session.step)
            await session.keep("five")
            assert session.kept == (1, "five", "")
            await session.keep("five")
            assert session.kept[:2] == (2, "")
            assert "There is a run called `five` already" in session.kept[2]
            await session.do(session.run)
            await session.runner.wait_for(11, timeout=60)

            visitor = Session(ready, shelf=shelf)
            visitor.visit("five.zarr")
            assert visitor.opening == "five.zarr"
            assert not len(visitor.history)
            await asyncio.gather(*visitor._tasks)
            assert (visitor.opening, visitor.error, visitor.preset, visitor.status) == ("", "", CUSTOM, "stored")
            assert visitor.history.steps.tolist() == session.history.steps.tolist()[: len(visitor.history)]
            before = len(visitor.history)
            await visitor.do(visitor.step)
            assert len(visitor.history) == before + 1
            for flow in ("discrete", "central", "rod"):
                np.testing.assert_array_equal(
                    visitor.history.series(flow, "loss"), session.history.series(flow, "loss")[: before + 1], err_msg=flow
                )
            await visitor.release()
            await session.release()

    asyncio.run(whole())


def test_a_run_that_is_not_there_leaves_the_page_as_it_opens(tmp_path):
    async def whole() -> None:
        session = Session(lambda: None, shelf=Shelf(tmp_path))
        session.visit("gone")
        await asyncio.gather(*session._tasks)
        assert "There is no run called 'gone'" in session.error
        assert session.status == "new"

    asyncio.run(whole())
