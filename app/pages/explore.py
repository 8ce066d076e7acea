"""*Explore*: one optimizer beside its flows, live. Wires a session to the controls and the panels; one periodic callback draws all news."""

from __future__ import annotations

import secrets
import time
from typing import Any

from cflows_app import texts
from cflows_app.broadcast import Broadcasts
from cflows_app.components import Component, Foot, Form, Scrubber, Status, Takeaway, Transport
from cflows_app.footing import footing
from cflows_app.form import specification
from cflows_app.pages.page import SMOOTHING, Page
from cflows_app.session import Session
from cflows_app.streaming import Reading, Table
from cflows_app.takeaway import takeaway
from cflows_app.turns import Turns
from cflows_app.views import VIEWS
from cflows_app.views.canvas import Canvas, at_once
from cflows_core.palette import LIGHT

PHASE_SECONDS = 0.4  # between looks for a new phase
IDLE_SECONDS = 3.0  # between looks at the controls while nothing seems to have changed
FOOT_SECONDS = 1.0  # between looks at what stands at the foot of the page
READ_ONLY = "This page follows a lecture, so only the lecturer acts on the run: Fork here makes it yours."
SAY_SECONDS = 10.0  # between steps told to screen readers


class ExplorePage(Page):
    """The page's parts, and what brings them up to date."""

    name = "Explore"
    description = "An optimizer beside its stable, central and rod flows, live."

    def __init__(self, session: Session, broadcasts: Broadcasts | None = None):
        canvas = Canvas(Table(SMOOTHING), LIGHT)
        super().__init__(canvas, [view(canvas) for view in VIEWS])
        self.session, self.broadcasts = session, Broadcasts() if broadcasts is None else broadcasts
        self.form = Form(self._on_form, spec=specification())
        self.transport = Transport(self._on_transport)
        self.status = Status(self._on_status)
        self.scrubber = Scrubber(self._on_scrubber)
        self.moment: int | None = None  # the step that the visitor looks back at
        self.foot = Foot(lambda _: None)
        self.takeaway = Takeaway(self._on_takeaway)
        self.ticket = secrets.token_urlsafe(16)  # by which this page's visitor, and no one else, asks for files of their run
        self.turns = Turns()
        self._drawn = session.history
        self._said, self._said_at, self._said_of = ("", []), 0.0, object()
        self._told, self._told_at, self._told_of = None, 0.0, ""
        self._footed: tuple[float, object] = (0.0, None)
        self._shown: tuple[object, ...] = ()
        self._shown_at = 0.0
        self.tick()

    @property
    def components(self) -> dict[str, Component]:
        """Name in the page's template -> the component that stands there."""
        parts = {"form": self.form, "takeaway": self.takeaway, "transport": self.transport, "status": self.status}
        return super().components | parts | {"scrubber": self.scrubber, "foot": self.foot}

    def tick(self) -> None:
        """Draw what is new; cheap when nothing is."""
        session = self.session
        if session.follows is not None:
            session.follows.keep_up(session)
        history = session.history
        if history is not self._drawn:
            if len(history) < len(self._drawn):
                self.axis.follow()  # another run begins: the steps that the visitor looked at are gone
                self.moment = None
            self._drawn, self._stale = history, True
        for view in self.views:
            if view.flows != tuple(session.shown):
                view.show(session.shown)
                self._stale = True
        now, drawn, asked = time.monotonic(), self.turns.number, self._stale
        if self._stale or self.turns.open(now):
            self._draw_former()
            self._draw(now)
        subject = self._subject(session)
        # Where the run is goes out with the drawings of it: told at every tick, it would cost fifty visitors' server more than they do.
        if asked or subject != self._shown or now - self._shown_at > IDLE_SECONDS:
            self._shown, self._shown_at = subject, now
            self._show_progress(session)
            self._show_controls(session)
        elif self.turns.number != drawn:
            self._show_progress(session)

    def tell(self, sentence: str) -> None:
        self.session.error = sentence

    async def leave(self) -> None:
        await self.session.release()

    # -- inside -------------------------------------------------------------------------------------------------------------------
    def _subject(self, session: Session) -> tuple[object, ...]:
        """What the controls show beside the run's progress, cheap to compare: what they said, and the visitor's state by identity."""
        heard = sum(part.heard for part in self.components.values())
        coming = session.history.steps[-1] + 1 if len(session.history) else 1
        past = sum(step <= coming for step, _, _ in session.run_config.changes)
        state = map(id, (session.config, session.run_config, session.history, session.errors, session.shown, session.kept, session.former))
        said = session.status, session.preset, session.error, session.sentence, session.busy, session.opening, session.speed
        return heard, past, self.moment, self.axis.following, *said, *_lecture(session), *state

    def _draw(self, now: float) -> None:
        session, history = self.session, self.session.history
        reading = Reading(history, session.run_config, self._options(), self.moment)
        self.canvas.look_back(None if self.moment is None else float(reading.place(self.moment)))
        self.axis.update(reading)
        if self.canvas.table.update(reading, self.axis.window) or self._stale:
            for view in self.views:
                view.refresh(reading, self.axis.follows(view))
                self._show_legend(view, view.note(reading), view.fact(reading))
            self._mark(texts.changes_to_mark(reading, self.canvas.steps.start, self.canvas.steps.end))
            self._stale = False
            self.turns.sent(now)
        self.turns.took(time.monotonic() - now, now)

    def _draw_former(self) -> None:
        """The version that was forked, beneath the one that the controls act on."""
        former = self.session.former
        reading = None if former is None else Reading(former.history, former.config, self._options(), self.moment)
        for view in self.views:
            view.former = reading
        if reading is not None:
            with at_once(self.views[0].figure):
                for view in self.views:
                    view.add_layer(1)
            self._stale |= self.canvas.layer(1).update(reading, self.axis.window)
        elif len(self.canvas.tables) > 1:
            self._stale |= self.canvas.layer(1).clear()

    def _show_progress(self, session: Session) -> None:
        """Where the run is, and what it is doing there."""
        runner, history, status = session.runner, session.history, session.status
        now = time.monotonic()
        former = 0 if session.former is None else len(session.former.history)
        at, waits = len(history) if self.moment is None else self.moment, tuple(texts.waits(session))
        subject = (status, at, history, tuple(session.shown), former, waits, *_lecture(session))
        if subject != self._said_of and (status != "running" or now - self._said_at > PHASE_SECONDS):
            self._said, self._said_at, self._said_of = texts.sentence(session, self.moment), now, subject
        sentence, notes = self._said
        step = int(history.steps[-1]) if len(history) else None
        if status != self._told_of or now - self._told_at > SAY_SECONDS:
            self._told, self._told_at, self._told_of = step, now, status
        rate = 0.0 if runner is None or texts.held_up(session) else runner.steps_per_second
        label = texts.status_label(session)
        self.transport.show(
            status=status,
            label=label,
            step=step,
            rate=round(rate, 1),
            limit=session.speed,
            busy=session.busy,
            forked=session.former is not None,
            drawing=self.turns.number,
            follows=session.follows is not None,
        )
        self.status.show(status=label, sentence=sentence, notes=notes, problem=session.sentence, step=self._told)
        first = int(history.steps[0]) if len(history) else 0
        self.scrubber.show(first=first, last=step or 0, moment=self.moment)
        if now - self._footed[0] > FOOT_SECONDS or self._footed[1] != (status, history):
            self._footed = now, (status, history)
            self.foot.show(items=footing(session, self.turns.share(now)))

    def _show_controls(self, session: Session) -> None:
        """What the visitor may choose, and has chosen."""
        self._show_viewbar()
        self.form.show(
            values=texts.values_shown(session),
            errors=session.errors,
            preset=session.preset,
            flows=list(session.shown),
            size=texts.problem_hint(session.config),
            hint=texts.step_size_hint(session.controls),
            changes=texts.changes_recorded(session.run_config),
            follows=session.follows is not None,
        )
        self.takeaway.show(**takeaway(session, self.ticket))

    def _on_form(self, message: dict[str, Any]) -> None:
        if self.session.follows is not None:
            self.session.error = READ_ONLY
        elif "edit" in message:
            self.session.edit(str(message["edit"]), message.get("value"))
        elif "preset" in message:
            self.session.choose(str(message["preset"]))
            self.axis.follow()
        elif "flows" in message:
            self.session.show([str(flow) for flow in message["flows"]])
        self._stale = True

    def _on_transport(self, message: dict[str, Any]) -> None:
        session = self.session
        actions = {"run": session.run, "pause": session.pause, "step": session.step, "reset": session.reset}
        actions |= {"fork": session.fork, "drop": session.drop}
        if "drawn" in message:
            self.turns.drawn(message["drawn"], time.monotonic())
        elif session.follows is not None and message.get("action") != "fork":
            session.error = READ_ONLY
        elif message.get("action") in actions:
            session.do(actions[message["action"]])
        elif "speed" in message:
            session.limit(message["speed"])

    def _on_status(self, _: dict[str, Any]) -> None:
        self.session.dismiss()

    def _on_takeaway(self, message: dict[str, Any]) -> None:
        if "keep" in message:
            self.session.do(self.session.keep, str(message["keep"]).strip())
        elif "lecture" in message:
            self.session.do(self._lecture, message["lecture"])

    async def _lecture(self, on: bool) -> None:
        """Begin or end a lecture of what is on screen."""
        session = self.session
        if not on and session.broadcast is not None:
            await session.broadcast.end()
        elif on and session.follows is None:
            session.error = await self.broadcasts.begin(session)

    def _on_scrubber(self, message: dict[str, Any]) -> None:
        history, moment = self.session.history, message["moment"]
        kept = moment is not None and len(history)
        self.moment = int(min(max(moment, history.steps[0]), history.steps[-1])) if kept else None
        self._stale = True


def _lecture(session: Session) -> tuple[object, ...]:
    """Which lecture is given or followed, and by how many; whether the lecturer is there."""
    lecture = session.broadcast or session.follows
    return session.broadcast is not None, lecture, *(() if lecture is None else (lecture.followers, lecture.away))
