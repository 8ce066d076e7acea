"""The line at the foot of the page."""

from __future__ import annotations

import pytest

import cflows_app.session as session_module
from cflows_app.footing import footing, limit
from cflows_app.session import Session
from cflows_app.stored import Stored, stored_run
from cflows_app.turns import Turns
from cflows_core.config import RunConfig
from cflows_core.facts import Facts
from cflows_core.presets import PRESETS
from tests.app.conftest import play


@pytest.fixture(autouse=True)
def _stored(monkeypatch, make_history, tmp_path):
    run = Stored(tmp_path, RunConfig(), make_history(301), Facts(10, "cpu", "", "float64", 2, "exact"))
    monkeypatch.setattr(session_module, "stored_run", lambda name: run)


def texts(session: Session, drawing: float = 0.0) -> list[str]:
    return [part["text"] for part in footing(session, drawing)]


def test_a_stored_run_says_what_its_document_knows(fake_engine):
    async def scene(session: Session):
        # The made-up run takes 0.02 s and 40 gradients a step.
        assert texts(session) == ["CPU, 2 threads", "50 steps/s on average", "12,000 gradients", "exact derivatives", "at rest: stored run"]

    play(fake_engine, scene)


def test_the_bundled_run_knows_its_device_and_derivatives():
    stored = stored_run(next(iter(PRESETS)))
    assert stored is not None
    assert stored.facts.where.startswith("CPU")
    assert stored.facts.how


def test_a_new_run_knows_nothing_yet(fake_engine):
    async def scene(session: Session):
        session.edit("width", "8")
        assert texts(session) == ["at rest: not started"]

    play(fake_engine, scene)


def test_what_limits_a_run(fake_engine):
    async def scene(session: Session):
        session.busy = True  # an engine that is not there yet
        assert limit(session, 0.0) == "waiting for a worker"
        await session.do(session.run)
        for held, drawing, sentence in [
            ("", 0.0, "running"),
            ("computing", 0.9, "limited by computing"),
            ("speed", 0.0, "limited by the speed you set"),
            ("waiting", 0.0, "waiting for a worker"),
            ("waiting", 0.9, "limited by the page's drawing"),
        ]:
            session.runner.limited_by = held
            assert limit(session, drawing) == sentence
        session.runner.steps_per_second = 52.4
        assert texts(session)[:2] == ["CPU, 1 thread", "52 steps/s"]
        assert "derivatives by differences of gradients" in texts(session)
        await session.do(session.pause)
        assert limit(session, 0.0) == "at rest: paused"

    play(fake_engine, scene)


def test_the_share_of_time_that_drawing_takes():
    turns = Turns()
    turns.took(0.5, 1.0)
    turns.took(0.5, 2.5)
    assert turns.share(2.6) == 0.5
    assert turns.share(4.0) == 0.25
