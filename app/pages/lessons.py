"""*Lessons*: a story in steps, each a text beside a run, stored or computed before the reader's eyes, and a question before it goes on."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from cflows_app import texts
from cflows_app.comparison import in_words, outcomes
from cflows_app.components import Component, Contents, Differences, Feedback, Lectern, Status, Story
from cflows_app.lessons import feedback
from cflows_app.lessons.drawings import DRAWINGS, Drawing, SweepView
from cflows_app.lessons.lesson import Lesson, Scene, Step
from cflows_app.lessons.library import Library, Opened
from cflows_app.pages.page import SMOOTHING, Page
from cflows_app.session import Session
from cflows_app.share import query
from cflows_app.stored import Stored
from cflows_app.streaming import Reading, Table
from cflows_app.views import VIEWS
from cflows_app.views.base import View
from cflows_app.views.canvas import Canvas, at_once
from cflows_core.history import History
from cflows_core.palette import LIGHT
from cflows_core.store import Run
from cflows_core.store.export import recorded

REVEAL_SECONDS = 4.0  # that curves take to grow to where a step reveals them
RESULT_SECONDS = 1.0  # between looks at what came out, while a run goes on
COLORS = ("discrete", "raw")  # of the run and of the one beneath it


class Pair(Canvas):
    """A canvas whose second layer counts as much as the first: limits follow it, and the pointer reads it."""

    def leads(self, layer: int) -> bool:
        return True


class LessonsPage(Page):
    """The page's parts, and what brings them up to date.

    at: the number of the step, from 0. opened: steps whose answers were revealed. picked: step -> the answer that was chosen.
    """

    name = "Lessons"
    all_panels = False
    description = "How gradient descent and adaptive optimizers work, in steps: words, a run, and a question before each answer."

    def __init__(self, session: Session, library: Library):
        canvas = Pair(Table(SMOOTHING), LIGHT)
        self.drawings = [drawing(canvas) for drawing in DRAWINGS]
        super().__init__(canvas, [*(view(canvas) for view in VIEWS), *self.drawings])
        self.session, self.library = session, library
        self.story, self.contents, self.lectern = Story(self._on_story), Contents(self._on_story), Lectern(self._on_lectern)
        self.status, self.table, self.feedback = Status(self._on_status), Differences(lambda _: None), Feedback(lambda _: None)
        self.lesson: Lesson | None = None
        self.at, self.opened, self.picked = 0, set[int](), dict[int, int]()
        self.whole = False  # nothing is held back, for a handout
        self.shown = History()
        self.beside: Stored | None = None
        self.titles: dict[str, str] = {}  # lesson -> title
        self._runs: dict[str, Stored] = {}
        self._next: tuple[Opened, int] | None = None  # what was read, and the step to turn to
        self._source = self.shown
        self._scene = Scene()
        self._grown, self._ticked = 1.0, 0.0
        self._results: tuple[float, object, dict[str, Any]] = (0.0, None, {})

    @property
    def components(self) -> dict[str, Component]:
        legends = {name: part for name, part in super().components.items() if part is not self.viewbar}
        parts = {"story": self.story, "contents": self.contents, "lectern": self.lectern, "status": self.status}
        return legends | parts | {"results": self.table, "feedback": self.feedback}

    # -- where the reader is ------------------------------------------------------------------------------------------------------
    def open(self, name: str = "", step: int = 1) -> None:
        """Turn to a lesson's step, counted from 1; to the first lesson for no name. What cannot be read becomes a sentence in the page."""
        self._do(self._open(name, step))

    async def _open(self, name: str, step: int) -> None:
        self.titles = await asyncio.to_thread(self.library.titles)
        opened = await asyncio.to_thread(self.library.open, name or next(iter(self.titles)))
        self._next, self.error = (opened, step - 1), ""

    def go(self, at: int, whole: bool = False) -> None:
        """Turn to a step. whole: with all that it holds back, for this look only."""
        if self.lesson is not None:
            self.whole = whole
            self.at = min(max(at, 0), len(self.lesson.steps) - 1)
            self._show_scene()

    def reveal(self) -> None:
        """Show what the step holds back."""
        step = self.step
        if step is not None and step.revealed is not None and not self._open_now:
            self.opened.add(self.at)
            self._show_scene(growing=True)

    @property
    def step(self) -> Step | None:
        return self.lesson.steps[self.at] if self.lesson else None

    @property
    def scene(self) -> Scene:
        """What is shown now."""
        step = self.step
        if step is None:
            return Scene()
        return step.revealed if step.revealed is not None and self._open_now else step.scene

    @property
    def _open_now(self) -> bool:
        return self.whole or self.at in self.opened

    @property
    def live(self) -> bool:
        """The step's run is computed now, or was, rather than read."""
        return self._scene.config is not None and self.session.stored is None

    # -- drawing ------------------------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        if self._next is not None:
            (opened, at), self._next = self._next, None
            self.lesson, self._runs = opened.lesson, opened.runs
            self.opened, self.picked = set(), {}
            self.go(at)
        now = time.monotonic()
        elapsed, self._ticked = now - self._ticked, now
        self._hold_back()
        grew = self._grow(elapsed)
        if grew or self._stale:
            self._draw()
        self._show(now)

    async def leave(self) -> None:
        await super().leave()
        await self.session.release()

    def _show_scene(self, growing: bool = False) -> None:
        """Turn to the scene, with curves that grow to where it shows them, or are there at once."""
        former, scene = self._scene, self.scene
        self._scene, self._stale = scene, True
        if scene.same_run != former.same_run or (not growing and self.live):
            self._turn_to_run(scene)
        elif self.live and growing and scene.config is not None:
            self.session.do(self.session.run)
        self.beside = self._runs.get(scene.beside)
        for view in self.views:
            self._arrange(view, scene)
        sweep = next(drawing for drawing in self.drawings if isinstance(drawing, SweepView))
        if scene.runs and (scene.runs != former.runs or not sweep.runs):
            sweep.take([self._runs[path] for path in scene.runs])
        self._grown = 0.0 if growing or self.live else 1.0
        if not growing:
            self.shown = History()
        for drawing in self.drawings:
            if drawing.key in scene.panels:
                drawing.advance(0.0 if self._waits else self._grown)

    @property
    def _waits(self) -> bool:
        """Drawings are revealed, too: those of a step that asks are not drawn before it is answered."""
        step = self.step
        return step is not None and step.revealed is not None and not self._open_now

    def _turn_to_run(self, scene: Scene) -> None:
        if scene.config is not None:
            stored = self._runs.get(scene.stored)
            self.session.turn(scene.config, stored)
            if stored is None:
                self.session.do(self.session.run)
        elif self.session.status == "running":
            self.session.do(self.session.pause)  # nobody sees it
        self._source = self.shown = History()

    def compute(self) -> None:
        """Compute the step's run now, from its beginning."""
        scene = self.scene
        if scene.config is not None:
            self.session.turn(scene.config.replace(changes=()))
            self.session.do(self.session.run)
            self.shown, self._stale = History(), True

    def _arrange(self, view: View, scene: Scene) -> None:
        """Give a panel the choices, hidden entries and curves of the scene."""
        for option, values in view.options.items():
            chosen = scene.choices.get(f"{view.key}.{option}", next(iter(values)))
            if chosen in values and view.choices[option] != chosen:
                view.choose(option, chosen)
        view.hidden = set(scene.hidden.get(view.key, ()))
        flows = scene.curves or (scene.config.flows if scene.config else ())
        view.show(("discrete", *flows) if isinstance(view, Drawing) else flows)
        view.fit_again()

    @property
    def _target(self) -> int:
        """The number of rows that are to be shown of what there is."""
        history, until = self.session.history, self._scene.until
        if self._scene.config is None:
            return 0
        return len(history) if until is None else int((history.steps <= until).sum())

    def _hold_back(self) -> None:
        """Stop a live run where the step holds back the rest."""
        session, until = self.session, self._scene.until
        if self.live and until is not None and session.status == "running" and len(session.history) and session.history.steps[-1] >= until:
            session.do(session.pause)

    def _grow(self, elapsed: float) -> bool:
        """Show more of the run; whether anything was added."""
        history, target = self.session.history, self._target
        if history is not self._source:
            self._source, self.shown = history, History() if not len(self.shown) or not history.starts_with(self.shown) else self.shown
        missing = target - len(self.shown)
        share = 1.0 if self._grown >= 1 else min(1.0, max(elapsed, 0.02) / REVEAL_SECONDS)
        if self._grown < 1:
            self._grown = min(1.0, self._grown + share)
            for drawing in self.drawings:
                if drawing.key in self._scene.panels and not self._waits:
                    drawing.advance(self._grown)
        if missing <= 0:
            return False
        left = max(1.0 - self._grown + share, share)
        added = missing if self.live or self._grown >= 1 else math.ceil(missing * min(1.0, share / left))
        self.shown.extend(history.pack(len(self.shown), len(self.shown) + added))
        return True

    def _draw(self) -> None:
        scene = self._scene
        reading = Reading(self.shown, self.session.run_config, self._options())
        last = self._last_step()
        self.axis.fixed = (scene.start or 0, last) if scene.start is not None or last else None
        self.axis.update(reading)
        changed = self.canvas.table.update(reading, self.axis.window)
        beside = self.beside
        if beside is not None:
            with at_once(self.views[0].figure):
                for view in self.views:
                    view.add_layer(1)
            history = beside.history if scene.until is None else beside.history.until(scene.until + 1)
            self.canvas.layer(1).update(Reading(history, beside.config, self._options()), self.axis.window)
        elif len(self.canvas.tables) > 1:
            self.canvas.layer(1).clear()
        if changed or self._stale:
            for view in self.views:
                if view.key in scene.panels:
                    view.refresh(reading, self.axis.follows(view))
                    self._show_legend(view, view.note(reading), view.fact(reading))
            if "feedback" in scene.panels and len(self.shown):
                self.feedback.show(**feedback.state(self.shown, self.session.run_config, len(self.shown) - 1))
            self._mark(texts.changes_to_mark(reading, self.canvas.steps.start, self.canvas.steps.end))
            self._stale = False

    def _show_legend(self, view: View, note: str = "", fact: str = "") -> None:
        """Without the panel's choices, which are the scene's."""
        self.legends[view.key].show(key=view.key, entries=view.legend, choices=[], note=note, fact=fact, about=view.about_fact)

    def _last_step(self) -> int:
        """The last step that this step of the lesson will show, so that there is room for it on the axis."""
        scene = self.step.revealed if self.step is not None and self.step.revealed is not None else self._scene
        if scene.until is not None and scene.same_run == self._scene.same_run:
            return scene.until
        history, config = self.session.history, self._scene.config
        if self.live and config is not None:
            return config.warm_start + config.steps
        return int(history.steps[-1]) if len(history) else 0

    # -- what the components show -------------------------------------------------------------------------------------------------
    def _show(self, now: float) -> None:
        lesson, step, scene = self.lesson, self.step, self._scene
        self.status.show(status="Lessons", sentence="", notes=[], problem=self.error or self.session.sentence, step=None)
        name, titles = (lesson.name, [each.title for each in lesson.steps]) if lesson else ("", [])
        self.contents.show(lessons=list(self.titles.items()), lesson=name, steps=titles, at=self.at)
        if lesson is None or step is None:
            return
        opened = self._open_now
        self.story.show(
            title=step.title,
            lesson=lesson.title,
            about=lesson.about if self.at == 0 else "",
            words=step.words,
            choices=[[html, right if opened else None] for html, right in step.choices],
            picked=self.picked.get(self.at),
            answer=step.answer if opened else "",
            panels=[*scene.panels, *(["results"] if self._has_results else [])],
        )
        self._show_results(now)
        self.lectern.show(
            lesson=lesson.name,
            at=self.at,
            count=len(lesson.steps),
            drawn=self._all_drawn,
            reveals=step.revealed is not None and not opened,
            run="" if scene.config is None else self._run_state(),
            about="" if scene.config is None else in_words(scene.config),
            explore="" if scene.config is None else f"./?{query(scene.config)}",
        )

    @property
    def _all_drawn(self) -> bool:
        """Nothing more will be drawn of this step: a handout may take it."""
        computing = self._scene.config is not None and self.live and self.session.status in ("new", "starting", "running")
        told = not self._scene.results or self._waits or self._results[1] == (self._scene, len(self.shown))
        return told and not self._stale and self._grown >= 1 and not computing and len(self.shown) >= self._target

    def _run_state(self) -> str:
        """stored, starting, running, or done."""
        status = self.session.status
        return status if status in ("stored", "starting", "running") else "done"

    @property
    def _has_results(self) -> bool:
        return bool(self._scene.results or "sweep" in self._scene.panels) and not self._waits

    def _show_results(self, now: float) -> None:
        """The table of what came out, of all that is shown."""
        if not self._has_results:
            return self.table.show(heads=[], groups=[])
        if "sweep" in self._scene.panels:
            sweep = next(drawing for drawing in self.drawings if isinstance(drawing, SweepView))
            return self.table.show(**sweep.outcome())
        subject = (self._scene, len(self.shown))
        if self._results[1] == subject or (self.live and now - self._results[0] < RESULT_SECONDS):
            return None
        runs = [(self.shown, self.session.run_config)] + ([(self.beside.history, self.beside.config)] if self.beside else [])
        heads = [{"label": in_words(config).split(" · ")[0], "color": color} for (_, config), color in zip(runs, COLORS, strict=False)]
        summaries = [_summary(history, config) for history, config in runs if len(history)]
        rows = outcomes(summaries, self._scene.results) if summaries else []
        self._results = now, subject, {"heads": heads[: len(summaries)], "groups": [{"title": "Measured on what is shown", "rows": rows}]}
        return self.table.show(**self._results[2])

    # -- messages -----------------------------------------------------------------------------------------------------------------
    def _on_story(self, message: dict[str, Any]) -> None:
        if "lesson" in message:
            self.open(str(message["lesson"]))
        elif "go" in message:
            self.go(int(message["go"]))
        elif "pick" in message and self.step is not None and 0 <= message["pick"] < len(self.step.choices):
            self.picked[self.at] = int(message["pick"])
            self.reveal()

    def _on_lectern(self, message: dict[str, Any]) -> None:
        if "go" in message:
            self.go(int(message["go"]), bool(message.get("whole")))
        elif "reveal" in message:
            self.reveal()
        elif "compute" in message:
            self.compute()

    def _on_status(self, _: dict[str, Any]) -> None:
        self.error = ""
        self.session.dismiss()


def _summary(history: History, config: Any) -> dict[str, Any]:
    run: Run = recorded(history, config, {})
    return run.summary()
