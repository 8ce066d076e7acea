"""A visitor's actions on a made-up engine: what is started, continued, changed, forked and let go."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cflows_app import texts
from cflows_app.session import CUSTOM, Session
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.frames import Event
from cflows_core.presets import PRESETS
from tests.app.conftest import play, synthetic_frame

FIRST = next(iter(PRESETS))


def test_the_first_screen_is_the_stored_run(stored, fake_engine):
    async def scene(session: Session):
        assert (session.status, len(session.history)) == ("stored", 300)
        assert fake_engine.runners == []

    play(fake_engine, scene)


def test_run_continues_the_stored_run_and_pause_pauses(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        assert session.status == "running"
        session.runner.play(5)
        assert len(session.history) == 305
        assert len(stored.history) == 300  # everyone's: not appended to
        await session.do(session.pause)
        assert session.status == "paused"

    play(fake_engine, scene)


def test_step_is_exactly_one_step(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.step)
        assert (session.status, len(session.history)) == ("paused", 301)
        await session.do(session.run)
        await session.do(session.step)
        assert (session.status, len(session.history)) == ("paused", 302)

    play(fake_engine, scene)


def test_a_step_size_changed_while_running_acts_and_is_recorded(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        session.edit("lr", "0.1")
        await asyncio.sleep(0)
        await session.do(session.pause)  # actions queue: this one comes after the change
        assert session.run_config.changes == ((300, "lr", 0.1),)
        assert session.config.lr == 0.1

    play(fake_engine, scene)


def test_a_step_size_changed_before_run_is_applied_on_run(stored, fake_engine):
    async def scene(session: Session):
        session.edit("lr", "0.1")
        await session.do(session.run)
        assert session.run_config.changes == ((300, "lr", 0.1),)

    play(fake_engine, scene)


@pytest.mark.parametrize("text", ["-0.1", "0", "abc", "", "inf"])
def test_nonsense_is_told_beside_its_control_and_changes_nothing(stored, fake_engine, text):
    async def scene(session: Session):
        await session.do(session.run)
        before = session.config
        session.edit("lr", text)
        assert "`lr` must be" in session.errors["lr"]
        assert (session.config, session.status) == (before, "running")
        session.edit("lr", "0.2")
        assert session.errors == {}

    play(fake_engine, scene)


def test_a_problem_control_ends_the_run_and_run_starts_the_new_one(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        old = session.runner
        session.edit("width", "8")
        assert (session.status, len(session.history), session.preset) == ("new", 0, CUSTOM)
        await asyncio.sleep(0)
        assert old.closed
        await session.do(session.run)
        assert session.run_config.width == 8

    play(fake_engine, scene)


def test_reset_begins_again_without_changes_with_the_ticked_flows(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        await session.do(session.set, lr=0.1)
        session.show(["discrete", "central"])
        await session.do(session.reset)
        assert (session.status, len(session.history)) == ("paused", 0)
        assert session.run_config.changes == ()
        assert session.run_config.flows == ["discrete", "central"]
        assert session.config.lr == 0.3

    play(fake_engine, scene)


def test_identical_runs_are_shared_until_one_viewer_acts(stored, fake_engine):
    async def scene(session: Session):
        async def ready():
            return fake_engine

        other = Session(ready)
        for visitor in (session, other):
            visitor.edit("width", "8")
            await visitor.do(visitor.run)
        assert session.runner is other.runner
        await other.do(other.pause)
        assert (session.status, other.status) == ("running", "paused")
        assert session.runner.viewers == other.runner.viewers == 1
        await other.release()
        assert session.status == "running"

    play(fake_engine, scene)


def test_a_paused_run_of_another_viewer_stays_paused(stored, fake_engine):
    async def scene(session: Session):
        async def ready():
            return fake_engine

        other = Session(ready)
        session.edit("width", "8")
        await session.do(session.run)
        await session.do(session.pause)
        other.edit("width", "8")
        await other.do(other.run)
        assert (session.status, other.status) == ("paused", "running")
        await other.release()

    play(fake_engine, scene)


def test_what_goes_wrong_is_a_sentence(stored, fake_engine):
    fake_engine.fails = "There is no data of that name: choose another."

    async def scene(session: Session):
        session.edit("width", "8")
        await session.do(session.run)
        assert session.sentence == fake_engine.fails
        assert session.status == "new"
        session.dismiss()
        assert session.sentence == ""

    play(fake_engine, scene)


def test_an_error_of_the_run_is_told(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        session.runner.error = "The disk is full."
        assert (session.status, session.sentence) == ("failed", "The disk is full.")

    play(fake_engine, scene)


def test_a_finished_run_goes_on_when_asked(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)
        session.runner.running, session.runner.finished = False, True
        assert session.status == "finished"
        await session.do(session.run)
        assert session.status == "running"
        assert session.run_config.steps == 2 * RunConfig().steps

    play(fake_engine, scene)


def test_a_choice_made_while_a_run_starts_wins(stored, fake_engine):
    async def scene(session: Session):
        starting = session.do(session.run)
        await asyncio.sleep(0)
        session.edit("width", "8")
        await starting
        assert (session.runner, session.status) == (None, "new")
        assert session.sentence == ""

    play(fake_engine, scene)


def test_leaving_lets_the_run_go(stored, fake_engine):
    async def scene(session: Session):
        await session.do(session.run)

    play(fake_engine, scene)
    assert [runner.closed for runner in fake_engine.made_here] == [True]


def test_leaving_while_a_run_starts_lets_it_go(stored, fake_engine):
    async def scene(session: Session):
        for action in (session.run, session.reset):
            session.do(action)
        await asyncio.sleep(0)

    play(fake_engine, scene)
    assert fake_engine.runners == []


def test_flows_that_the_run_lacks_are_told(stored, fake_engine):
    async def scene(session: Session):
        session.show(["discrete", "stable"])
        await session.do(session.reset)
        session.runner.play(3)
        session.show(["discrete", "stable", "rod"])
        told = "This run was started without the rod flow: Reset begins again with what is ticked."
        assert texts.notes(session) == [("absent", told)]
        assert texts.sentence(session)[1] == [("warning", told)]

    play(fake_engine, scene)


def test_a_remark_on_the_central_flow_stands_while_it_holds(stored, fake_engine):
    async def scene(session: Session):
        note = Event(300, "central", "note", "ν changes faster than the central flow can follow.")
        for step, residual, events in ((300, 0.02, (note,)), (301, 1e-9, ())):
            frame = synthetic_frame(step, session.run_config)
            frame.flows["central"]["sdcp_residual"] = residual
            session.history.append([replace(frame, events=events)])
            assert texts.notes(session) == ([("note", note.message)] if events else [])

    play(fake_engine, scene)


def test_a_flow_that_the_optimizer_lacks_leaves_with_it(stored, fake_engine):
    async def scene(session: Session):
        session.edit("optimizer", "rmsprop")
        session.show([*FLOW_NAMES, "central_no_curvature", "stationary"])
        session.edit("observe", ["valley", "stationary"])
        await session.do(session.run)
        assert session.run_config.flows == session.shown == [*FLOW_NAMES, "central_no_curvature", "stationary"]
        session.edit("optimizer", "scalar_rmsprop")
        assert session.shown == session.config.flows == [*FLOW_NAMES, "central_no_curvature"]
        assert session.config.observe == ["valley"]
        session.edit("optimizer", "gd")
        assert session.shown == session.config.flows == list(FLOW_NAMES)
        session.show([*FLOW_NAMES, "stationary"])  # a box that was just being hidden
        assert session.config.flows == list(FLOW_NAMES)
        assert session.errors == {}

    play(fake_engine, scene)


def test_what_needs_the_central_flow_leaves_with_it(stored, fake_engine):
    async def scene(session: Session):
        session.edit("optimizer", "rmsprop")
        session.edit("observe", ["stationary"])
        await session.do(session.run)
        session.show(["discrete", "rod"])
        assert session.config.observe == []
        await session.do(session.reset)
        assert (session.run_config.observe, session.sentence) == ([], "")
        session.edit("observe", ["stationary"])
        assert "central flow" in session.errors["observe"]

    play(fake_engine, scene)


def test_flows_that_cannot_be_told_beside_their_boxes(stored, fake_engine):
    async def scene(session: Session):
        session.edit("optimizer", "rmsprop")
        session.edit("bias_correction", "on")
        session.show([*FLOW_NAMES, "stationary"])
        assert "bias correction" in session.errors["flows"]
        assert session.shown == list(FLOW_NAMES)
        session.show(["discrete"])
        assert session.errors == {}

    play(fake_engine, scene)


def test_an_unknown_preset_is_one_sentence(stored, fake_engine):
    async def scene(session: Session):
        session.choose("nonsense")
        assert "There is no preset 'nonsense'" in session.sentence
        assert session.preset == FIRST

    play(fake_engine, scene)


def test_what_a_reader_should_know_of_the_model_is_said_throughout(stored, fake_engine) -> None:
    """The note of a model with kinks is an event of the first frame, and stands while its run is shown."""

    async def scene(session: Session) -> None:
        note = Event(0, "", "note", "The model has kinks.")
        session.history.append(
            [replace(synthetic_frame(300, session.run_config), events=(note,)), synthetic_frame(301, session.run_config)]
        )
        assert ("note", "The model has kinks.") in texts.notes(session)

    play(fake_engine, scene)


def test_a_fork_goes_on_beside_its_former_version(fake_engine):
    async def scene(session):
        await session.do(session.run)
        session.runner.play(20)
        former = session.runner
        await session.do(session.fork)
        assert session.former is former
        assert session.runner is not former
        assert session.runner.running
        assert former.running
        session.edit("lr", "0.125")
        await asyncio.gather(*session._tasks)
        assert session.runner.config.changes[-1][2] == 0.125
        assert former.config.changes != session.runner.config.changes
        await session.do(session.pause)
        assert not former.running
        assert not session.runner.running
        before = len(former.history), len(session.runner.history)
        await session.do(session.step)
        assert (len(former.history), len(session.runner.history)) == (before[0] + 1, before[1] + 1)
        again = session.runner
        await session.do(session.fork)  # of the fork: the oldest version is let go
        assert former.closed
        assert session.former is again
        await session.do(session.drop)
        assert again.closed
        assert session.former is None

    play(fake_engine, scene)


def test_a_new_problem_lets_both_versions_go(fake_engine):
    async def scene(session):
        await session.do(session.run)
        await session.do(session.fork)
        versions = session.runner, session.former
        session.edit("width", "8")
        await asyncio.gather(*session._tasks)
        assert all(version.closed for version in versions)
        assert session.former is None

    play(fake_engine, scene)
