"""What a visitor takes along gives the run on screen again: the script and the command line to the bit, the files number by number."""

from __future__ import annotations

import asyncio
import csv
import io
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

import cflows_app.session as session_module
from cflows_app.code import command, script
from cflows_app.export import ENDINGS, NOTHING, ExportHandler, Exports, snapshot
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import Session
from cflows_app.share import Asked, query
from cflows_app.stored import first_config
from cflows_app.takeaway import takeaway
from cflows_core.cli import main
from cflows_core.config import RunConfig
from cflows_core.engine import Engine
from cflows_core.errors import StoreError
from cflows_core.history import History
from cflows_core.presets import DEFAULT
from cflows_core.store import Run

TINY = RunConfig(n_train=30, width=4, n_eigs=2, observe=["test"], flows=["discrete", "central"], steps=24, seed=3)


async def watched(scene) -> None:
    """A session on a real engine in this process, opened at `TINY`, changed twice while it ran, and finished."""
    async with Engine.in_process(threads=1) as engine:

        async def ready():
            return engine

        session = Session(ready)
        session.open(Asked(DEFAULT, TINY))
        await session.do(session.step)
        for step, lr in ((5, "0.2"), (9, "0.05")):
            while session.history.steps[-1] < step:
                await session.do(session.step)
            session.edit("lr", lr)
        await session.do(session.run)
        await session.runner.wait_for(10**6)
        assert session.status == "finished"
        assert [name for _, name, _ in session.shared.changes] == ["lr", "lr"]
        await scene(session)
        await session.release()


def losses(run: Run | History, flow: str) -> bytes:
    return np.ascontiguousarray(run.series(flow, "loss")).tobytes()


def test_script_and_command_line_give_the_run_on_screen_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def scene(session: Session):
        shown = takeaway(session, "")
        assert f"threads={session.threads}" in shown["python"]
        found: dict = {}
        exec(shown["python"].replace("print(run)", ""), found)  # what a visitor would paste
        words = shlex.split(shown["command"])
        assert words[0] == "cflows"
        assert main([*words[1:], "--quiet"]) == 0
        stored = Run.open(words[words.index("--out") + 1])
        for run in (found["run"], stored):
            assert run.config == session.shared.replace(threads=session.threads)
            assert np.array_equal(run.steps, session.history.steps)
            for flow in ("discrete", "central"):
                assert losses(run, flow) == losses(session.history, flow)

    asyncio.run(watched(scene))


def test_code_is_short_and_plain():
    config = first_config(DEFAULT).replace(lr=0.2, schedule="cosine(300, 0.1)", observe=[], changes=[(400, "lr", 0.1)])
    line = command(config)
    assert line.startswith(
        f"cflows run --preset {DEFAULT} --lr 0.2 --schedule 'cosine(300, 0.1)' --threads 1 --observe= --changes 400:lr=0.1 "
    )
    assert 'changes=[(400, "lr", 0.1)],' in script(config)
    assert script(RunConfig()).splitlines()[2] == "config = cf.RunConfig()"


# Files


async def written(session: Session, folder: Path, form: str) -> Path:
    path = (await snapshot(session, folder)).write(form, folder)
    assert path.name.endswith(ENDINGS[form])
    return path


def unpacked(path: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.parent / "unpacked")
    return path.parent / "unpacked" / path.name.removesuffix(".zip")


def test_files_of_a_run_have_what_is_drawn(tmp_path):
    xarray = pytest.importorskip("xarray")

    async def scene(session: Session):
        history = session.history
        (tmp_path / "live").mkdir()
        with (await written(session, tmp_path / "live", "csv")).open() as file:
            rows = [row for row in csv.DictReader(file) if row["flow"] == "central"]
        assert [float(row["loss"]) for row in rows] == history.series("central", "loss").tolist()
        with xarray.open_dataset(await written(session, tmp_path / "live", "netcdf"), engine="scipy") as dataset:
            np.testing.assert_array_equal(dataset.loss.sel(flow="discrete"), history.series("discrete", "loss"))
            assert RunConfig.from_json(dataset.attrs["config"]) == session.run_config
        run = Run.open(unpacked(await written(session, tmp_path / "live", "zarr")))
        assert run.config == session.run_config
        assert losses(run, "central") == losses(history, "central")
        assert [event.kind for event in run.events] == [event.kind for event in history.events]
        assert main(["resume", str(run.path), "--steps", "3"]) == 0  # cflows goes on with what was exported
        assert Run.open(run.path).steps[-1] == 27

    asyncio.run(watched(scene))


def test_a_stored_run_is_exported_with_its_checkpoint(tmp_path):
    session = Session(lambda: None)
    stored = session.stored
    assert stored is not None
    path = unpacked(asyncio.run(written(session, tmp_path, "zarr")))
    assert Run.open(path).checkpoint_path is not None
    assert losses(Run.open(path), "central") == losses(stored.history, "central")


@pytest.mark.parametrize("form", ENDINGS)
def test_without_a_step_there_is_a_sentence(tmp_path, form):
    session = Session(lambda: None)
    session.turn(TINY)
    with pytest.raises(StoreError, match="nothing to save"):
        asyncio.run(written(session, tmp_path, form))
    assert takeaway(session, "")["lacks"] == NOTHING


def test_the_server_sends_the_file_or_a_sentence(monkeypatch, fake_engine):
    monkeypatch.setattr(session_module, "stored_run", lambda name: None)

    async def scene() -> None:
        async def ready():
            return fake_engine

        exports = Exports()
        page = exports.came(ExplorePage(Session(ready)))
        page.session.open(Asked(DEFAULT, RunConfig()))
        server = HTTPServer(Application([(r"/export/([\w-]+)/(\w+)", ExportHandler, {"exports": exports})]))
        socket, port = bind_unused_port()
        server.add_sockets([socket])

        async def ask(path: str):
            return await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/export/{path}", raise_error=False)

        answer = await ask(f"{page.ticket}/csv")
        assert (answer.code, answer.body.decode()) == (409, NOTHING)
        await page.session.do(page.session.run)
        page.session.runner.play(40)
        answers = await asyncio.gather(*(ask(f"{page.ticket}/{form}") for form in ENDINGS))  # the run goes on meanwhile
        assert [answer.code for answer in answers] == [200, 200, 200], [answer.body[:400] for answer in answers]
        for answer, ending in zip(answers, ENDINGS.values(), strict=True):
            assert f'{ending}"' in answer.headers["Content-Disposition"]
        text = answers[list(ENDINGS).index("csv")].body.decode()
        assert len({row["step"] for row in csv.DictReader(io.StringIO(text))}) == 40
        answer = await ask("no-such-ticket/csv")
        assert (answer.code, "reload" in answer.body.decode()) == (404, True)
        answer = await ask(f"{page.ticket}/hdf5")
        assert (answer.code, "csv, netcdf, zarr" in answer.body.decode()) == (404, True)
        await page.session.release()
        server.stop()
        await server.close_all_connections()

    asyncio.run(scene())


def test_too_long_an_address_is_a_sentence():
    session = Session(lambda: None)
    session.turn(RunConfig(changes=[(step, "lr", 0.1 + step / 1e5) for step in range(2000)]))
    shown = takeaway(session, "")
    assert (shown["query"], query(session.shared)) == ("", "")
    assert "the 2,000 changes of this run need more: take its code" in shown["too_long"]
