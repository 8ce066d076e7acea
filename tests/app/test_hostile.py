"""Visitors who are quick, clumsy or unlucky: what they do at the wrong moment harms no one, and nothing is said that is not so."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import ImportedStyleSheet

from cflows_app.export import Snapshot, snapshot
from cflows_app.pages.compare import ComparePage
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import Session
from cflows_app.shelf import Shelf
from cflows_app.shell import page_template
from cflows_app.streaming import single
from cflows_app.texts import waits
from cflows_core.config import RunConfig
from cflows_core.errors import EngineError, StoreError
from tests.app.conftest import FakeRunner, done, play, play_page

OTHER = "digits-mlp-many"


@pytest.fixture
def slow_copies(monkeypatch) -> asyncio.Event:
    """Copies of runs are made only once this is set; a run that was closed meanwhile cannot be copied."""
    made, fork = asyncio.Event(), FakeRunner.fork

    async def slow(runner: FakeRunner) -> FakeRunner:
        await made.wait()
        if runner.closed:
            raise EngineError("This run is closed: start it again.")
        return await fork(runner)

    monkeypatch.setattr(FakeRunner, "fork", slow)
    return made


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("turn", [lambda session: session.choose(OTHER), lambda session: session.edit("width", "7")])
@pytest.mark.parametrize("action", ["fork", "pause", "step", "_slow_down"])
def test_what_a_visitor_turns_to_meanwhile_stands_and_others_keep_theirs(stored, fake_engine, slow_copies, action, turn, shared):
    async def scene(session: Session):
        session.edit("width", "5")
        await session.do(session.run)
        runner = session.runner
        if shared:
            runner.retain()
        doing = session.do(getattr(session, action))
        await asyncio.sleep(0)
        turn(session)
        wanted = session.config
        await asyncio.sleep(0)
        slow_copies.set()
        await doing
        assert (session.runner, session.former, session.config, session.error) == (None, None, wanted, "")
        assert runner.viewers == shared  # the other visitor's run goes on
        assert runner.closed != shared
        if shared:
            await runner.release()

    play(fake_engine, scene)


def test_what_is_kept_is_the_run_that_was_on_screen(stored, fake_engine, monkeypatch, tmp_path):
    async def scene(session: Session):
        await session.do(session.run)
        save = session.runner.save

        async def slow(path):
            session.choose(OTHER)
            await save(path)

        monkeypatch.setattr(session.runner, "save", slow)
        taken = await snapshot(session, tmp_path)
        assert (taken.config, len(taken.rows)) == (RunConfig(), 300)

    play(fake_engine, scene)


STRANGE = [3, None, True, -5, 1e99, math.nan, math.inf, "", "x", "nan", "\0", "é" * 500, [], [[]], [3], {}, {"a": 1}]
MESSAGES = {
    "form": ["edit", "flows", "preset"],
    "transport": ["action", "speed", "drawn"],
    "scrubber": ["moment"],
    "viewbar": ["smoothing", "unit", "span", "follow"],
    "takeaway": ["keep"],
    "status": ["dismiss"],
}
EDITED = ["lr", "dataset", "architecture", "optimizer", "observe", "changes", "schedule", "width", "max_memory", "nonsense"]


@pytest.mark.parametrize("part", [*MESSAGES, "legend"])
def test_a_message_that_no_script_of_ours_sends_harms_no_page(stored, fake_engine, part):
    messages: list[Any] = [*STRANGE, *({key: value} for key in MESSAGES.get(part, ["toggle", "choose"]) for value in STRANGE)]
    if part == "form":
        messages += [{"edit": field, "value": value} for field in EDITED for value in STRANGE]
    if part == "legend":
        messages += [{"choose": "scale", "value": value} for value in STRANGE]

    async def scene(page: ExplorePage):
        await page.session.do(page.session.step)
        component = page.legends["loss"] if part == "legend" else getattr(page, part)
        for message in messages:
            component._handle_msg(message)
            await done(page)
            assert "went wrong" not in page.session.error, message
        assert page.viewbar.state["smoothing"] >= 0
        assert page.session.status in ("paused", "new", "stored")
        component._handle_msg({"action": "run"} if part == "transport" else {})
        await done(page)
        assert (page.session.status == "running") == (part == "transport")

    play_page(fake_engine, scene)


def test_a_browser_that_breaks_its_own_page_fills_no_log(stored, fake_engine, caplog):
    async def scene(page: ExplorePage):
        await page.session.do(page.session.step)
        page.draw()
        sound = dict(page.canvas.table.source.data)
        page.canvas.table.source.data = {}  # as a patch of the document does
        for _ in range(3):
            page._stale = True
            page.draw()
        assert [record.getMessage() for record in caplog.records] == ["a page of Explore cannot be drawn"]
        page.canvas.table.source.data = sound
        page.draw()
        assert len(caplog.records) == 1

    play_page(fake_engine, scene)


@pytest.mark.parametrize(("asked", "shown"), [(1e99, 299), (-5, 0), (True, 1), (17.5, 17)])
def test_a_moment_beyond_the_run_is_its_nearest_step(stored, fake_engine, asked, shown):
    async def scene(page: ExplorePage):
        page.scrubber._handle_msg({"moment": asked})
        page.tick()
        assert page.scrubber.state["moment"] == shown

    play_page(fake_engine, scene)


@pytest.mark.parametrize("speed", [0, -4])
def test_a_speed_that_is_none_is_refused_before_a_run_is_made(stored, fake_engine, speed):
    async def scene(page: ExplorePage):
        page.transport._handle_msg({"speed": speed})
        assert f"is a positive number of steps a second, or unlimited, got {speed}" in page.session.error
        page.transport._handle_msg({"action": "run"})
        await done(page)
        assert (page.session.status, page.session.runner.speed) == ("running", None)

    play_page(fake_engine, scene)


DAMAGE = {
    "no number of rows": lambda run, arrays: run.pop("rows"),
    "rows in words": lambda run, arrays: run.update(rows="many"),
    "fewer rows than none": lambda run, arrays: run.update(rows=-1),
    "a truth for a number of rows": lambda run, arrays: run.update(rows=False),
    "no configuration": lambda run, arrays: run.pop("config"),
    "a list for a configuration": lambda run, arrays: run.update(config=[1]),
    "events of another kind": lambda run, arrays: run.update(events=[{"x": 1}]),
    "no arrays": lambda run, arrays: arrays.clear(),
    "no steps": lambda run, arrays: arrays.pop("step"),
    "arrays without a kind": lambda run, arrays: [entry.pop("node_type") for entry in arrays.values()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_told_and_hides_no_other(tmp_path, make_history, damage):
    shelf = Shelf(tmp_path)
    for name in ("whole", "hurt"):
        shelf.keep(name, Snapshot(name, RunConfig(steps=5), make_history(5), {}).to_zarr)
    root = tmp_path / "hurt.zarr" / "zarr.json"
    document = json.loads(root.read_text())
    DAMAGE[damage](document["attributes"]["cflows"], document["consolidated_metadata"]["metadata"])
    root.write_text(json.dumps(document))
    told = {entry.label: entry.problem for entry in shelf.entries()}
    assert told.pop("whole") == ""
    assert "is damaged (zarr.json): copy the run again from where it came, or delete it." in told["hurt"]
    with pytest.raises(StoreError, match="is damaged"):
        shelf.open("hurt.zarr")
    shelf.delete("hurt.zarr")
    assert [entry.label for entry in shelf.entries()] == ["whole"]


def test_a_name_that_the_disk_does_not_hold_is_told_as_that(tmp_path):
    with pytest.raises(StoreError, match=r"takes 250 bytes on the disk at most, got 320: shorten it\."):
        Shelf(tmp_path).keep("\U00020000" * 80, lambda path: path.mkdir())


def test_of_two_that_keep_one_name_at_once_the_second_is_told(tmp_path, make_history):
    shelf, taken = Shelf(tmp_path), Snapshot("", RunConfig(steps=5), make_history(5), {})

    def slow(path):
        shelf.keep("same", taken.to_zarr)  # another page's, while this one is being written
        taken.to_zarr(path)

    with pytest.raises(StoreError, match="There is a run called `same` already: choose another name"):
        shelf.keep("same", slow)
    assert [entry.label for entry in shelf.entries()] == ["same"]
    assert [path.name for path in tmp_path.iterdir()] == ["same.zarr"]


@pytest.mark.parametrize("make", [lambda session, folder: ExplorePage(session), lambda session, folder: ComparePage(Shelf(folder))])
def test_a_page_made_again_for_a_browser_that_came_late_asks_no_one_else(stored, fake_engine, tmp_path, make):
    """A browser that takes longer than the server waits gets a document made by its socket, without a request: by that, too, from here."""

    async def scene(session: Session):
        document = page_template(make(session, tmp_path), "light").server_doc(Document())
        assert len(document.roots) > 5
        sheets = [model.url for model in document.models if isinstance(model, ImportedStyleSheet)]
        assert sheets
        assert all(url.startswith("static/") for url in sheets), sheets

    play(fake_engine, scene)


def test_a_run_deleted_while_it_is_open_is_told_and_what_is_drawn_can_be_kept(tmp_path, fake_engine, make_history):
    shelf = Shelf(tmp_path)
    shelf.keep("first", Snapshot("first", RunConfig(steps=5), make_history(5), {}).to_zarr)

    async def scene(session: Session):
        session.shelf = shelf
        session.visit("first.zarr")
        await asyncio.gather(*session._tasks)
        shelf.delete("first.zarr")
        await session.do(session.run)
        assert session.error == "first.zarr was deleted, so it cannot go on: Keep what is drawn, or Reset to begin again."
        await session.do(session.keep, "again")
        assert session.kept == (1, "again", "")
        assert len(shelf.open("again.zarr").history) == 5

    play(fake_engine, scene)


def test_a_run_that_cannot_go_on_from_its_end_says_so(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        session.runner.catching_up = True
        assert waits(session) == [
            ("remark", "The last checkpoint is older than step 299: the steps in between are computed again, unseen.")
        ]
        await session.do(session.pause)
        assert waits(session) == []

    play(fake_engine, scene)


def test_what_a_divergence_leaves_is_infinite_without_a_warning():
    np.testing.assert_array_equal(single(np.array([1e300, -1e300, 0.5, np.nan])), np.array([np.inf, -np.inf, 0.5, np.nan], np.float32))
