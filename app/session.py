"""One visitor's state: the configuration being edited, the run being watched, what is shown of it. No widgets.

Actions are coroutines that change this state and nothing else; the page's one periodic callback reads it and draws. So no callback ever
waits for a computation, and only one place writes to the document.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any

from cflows_app.allowance import Visitor
from cflows_app.broadcast import Broadcast
from cflows_app.editing import exists, fitting, number
from cflows_app.export import snapshot
from cflows_app.scene import Scene
from cflows_app.share import Asked
from cflows_app.shelf import Shelf
from cflows_app.stored import Stored, stored_run
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.engine import Engine, Runner
from cflows_core.engine.journal import Journal
from cflows_core.errors import CflowsError, ConfigError, StoreError
from cflows_core.history import History
from cflows_core.presets import PRESETS
from cflows_core.rules import ABLATIONS
from cflows_core.store import Run

logger = logging.getLogger("cflows")

CUSTOM = "custom"


class Session(Scene):
    """State of one visitor.

    engine: awaited, so that a page may open while workers start. shelf: where runs are kept. To be released when the visitor leaves.
    """

    def __init__(self, engine: Callable[[], Awaitable[Engine]], preset: str = "", shelf: Shelf | None = None):
        name = preset or next(iter(PRESETS))
        super().__init__(preset=name, config=PRESETS[name].config)
        self.shelf = shelf or Shelf(Path("runs"))
        self.visitor = Visitor()
        self.broadcast: Broadcast | None = None  # the lecture that this visitor gives
        self.follows: Broadcast | None = None  # the lecture that they follow
        self._engine = engine
        self._turn = asyncio.Lock()  # one action at a time
        self._tasks: set[asyncio.Task[None]] = set()
        self._subject = self._nothing  # what the present action is about
        self._left = False
        self._take(name)

    # -- actions ------------------------------------------------------------------------------------------------------------------
    def do(self, action: Callable[..., Awaitable[None]], *args: Any, **kwargs: Any) -> asyncio.Task[None]:
        """Carry an action out in the background, one at a time; what goes wrong becomes `error`."""
        return self._later(self._guarded(action, args, kwargs))

    async def run(self) -> None:
        """Start the configuration, or continue what is shown; a finished run goes on for as many steps again."""
        found = self.runner is None and self.stored is None  # a finished run that somebody had computed is only shown
        runner = await self._runner()
        if runner.viewers > 1 and not runner.running and not (found and runner.finished):
            runner = await self._own(share=True)  # another viewer has paused it, and it should stay so for them
        runner = await self._apply_live(runner)
        for version in self.versions:
            if version.finished and not found:
                await self._extend(version, self.config.steps)
            version.run()

    async def pause(self) -> None:
        """Stop after the steps being computed; others who watch the same run are not stopped."""
        if self.runner is not None:
            await self._own()
        for version in self.versions:
            version.pause()

    async def step(self) -> None:
        """Pause if running, and make exactly one step."""
        await self._runner()
        runner = await self._own()
        for version in self.versions:
            await version.paused()
        await self._apply_live(runner)
        for version in self.versions:
            if version.finished:
                await self._extend(version, 1)
            await version.step()

    async def reset(self) -> None:
        """Begin again, paused, with the same initial weights, without what was changed while running, with the flows that are ticked."""
        self._renew(fitting(self.run_config, changes=(), flows=self.shown), None)
        self._subject = self._nothing
        await self._runner(share=False)

    async def fork(self) -> None:
        """Go on with an independent copy of the run, and with the run itself as the `former` version: changes are the copy's."""
        if self.follows is not None:
            await self._fork_lecture(self.follows)
            return
        runner = await self._runner()
        self.visitor.may_start(runner.config, await self._engine())
        running, twin = runner.running, await self._wanted(runner.fork(owner=self.visitor.name))
        former, self.former, self.runner = self.former, runner, twin
        if running:
            twin.run()
        if former is not None:
            await former.release()

    async def drop(self) -> None:
        """Let the former version go."""
        former, self.former = self.former, None
        if former is not None:
            await former.release()

    async def keep(self, name: str) -> None:
        """Store what is on screen on the shelf, from where it can be opened and goes on; the run on screen goes on, too."""
        try:
            with tempfile.TemporaryDirectory(prefix="cflows-") as folder:
                taken = await snapshot(self, Path(folder))
                await asyncio.to_thread(self.shelf.keep, name, taken.to_zarr)
        except CflowsError as problem:
            self.kept = self.kept[0] + 1, "", str(problem)
        else:
            self.kept = self.kept[0] + 1, name, ""

    async def set(self, **fields: Any) -> None:
        """Change live fields from the next step on."""
        self.config = self.config.replace(**fields)
        if self.runner is not None or self.stored is not None:
            self._edited = {**self._edited, **fields}
        if self.runner is not None:
            await self._apply_live(self.runner)

    def edit(self, field: str, value: Any) -> None:
        """Take a value from a control. A live field acts on the run; any other one ends it, and Run starts the new configuration."""
        # A new run begins with the values that the controls show; changes that an address asks for wait until it has begun.
        former = self.config if self.runner is None and field not in RunConfig.LIVE else self.controls
        try:
            config = fitting(former, **{field: number(field, value)})
        except ConfigError as problem:
            self.errors = {**self.errors, field: str(problem)}
            return
        self._accept(field)
        if config == former:
            return
        if field in RunConfig.LIVE:
            self.do(self.set, **{field: getattr(config, field)})
        else:
            self.preset = CUSTOM
            self.shown = [flow for flow in self.shown if flow in config.flows]
            self._renew(config, None)

    def show(self, flows: list[str]) -> None:
        """Choose whose curves are drawn, now, and which flows a new run computes."""
        shown = [name for name in (*FLOW_NAMES, *ABLATIONS) if name in flows and exists(name, self.config.optimizer)]
        try:
            config = fitting(self.config, flows=shown)
        except ConfigError as problem:
            self.errors = {**self.errors, "flows": str(problem)}
            return
        self._accept("flows")
        self.shown, self.config = shown, config

    def choose(self, preset: str) -> None:
        """Take a preset's configuration, and show its stored run if it has one."""
        if preset not in PRESETS:
            self.error = f"There is no preset {preset!r}: choose one of {', '.join(PRESETS)}."
            return
        self._take(preset)

    def open(self, asked: Asked) -> None:
        """Turn to what an address asks for, and to the stored run if it is that one."""
        stored = stored_run(asked.preset)
        if stored is not None and stored.config == asked.config:
            self._take(asked.preset)
        else:
            self.turn(asked.config)
            self._later(self._join())
            self.preset = asked.preset if asked.config == PRESETS[asked.preset].config else CUSTOM
        self.error = " ".join(asked.problems)

    def turn(self, config: RunConfig, stored: Stored | None = None) -> None:
        """Turn to a configuration, or to a stored run of it."""
        self._renew(config.replace(changes=()) if stored else config, stored)
        self.preset, self.shown, self.error = CUSTOM, list(config.flows), stored.lacks if stored else ""

    def visit(self, run: str) -> None:
        """Turn to a run of the shelf, once it is read."""
        self._renew(self.config, None)
        self.opening = run
        self.do(self._read, run)

    def limit(self, speed: float | None) -> None:
        """Set the most steps a second, None for no limit."""
        if speed is not None and speed <= 0:
            self.error = f"A run's speed is a positive number of steps a second, or unlimited, got {speed:g}: choose another."
            return
        self.speed = speed
        if self.runner is not None:
            self.do(self._slow_down)

    def dismiss(self) -> None:
        """What went wrong with an action has been read."""
        self.error = ""

    def mirror(self, shown: Scene) -> None:
        """Show what another page shows."""
        self._renew(shown.config, shown.stored)
        self.preset, self.shown = shown.preset, list(shown.shown)
        self.runner, self.former = shown.runner, shown.former

    def keep_shown(self) -> None:
        """What another page's visitor had computed goes on for this one, too."""
        for version in self.versions:
            version.retain()

    async def release(self) -> None:
        """The visitor left: nothing goes on for them, but a lecture for those who follow it."""
        self._left = True
        if self.broadcast is not None:
            self.broadcast.lecturer_leaves(self)
        self._renew(self.config, None)
        if self.follows is not None:
            self.follows.leave(self)
        # What is under way is waited for, not cancelled: a run that is just being made has to be let go, too.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------------------------------------------
    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a context of its own: with the visitor's, a run that others go on with, or a connection to a worker, would hold their document.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _accept(self, field: str) -> None:
        """A control's value was taken: what was said against a former one is settled."""
        self.errors = {name: sentence for name, sentence in self.errors.items() if name != field}

    async def _guarded(self, action: Callable[..., Awaitable[None]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        async with self._turn:
            self.busy, self.error, self._subject = True, "", self._nothing
            try:
                await action(*args, **kwargs)
            except _Superseded:
                pass
            except CflowsError as problem:
                if not self._superseded:  # else it is no concern of what is on screen now
                    self.error = str(problem)
            except Exception as problem:
                logger.exception("an action of the dashboard failed")
                self.error = f"Something went wrong in cflows itself ({type(problem).__name__}: {problem}); the server's log says more."
            finally:
                self.busy = False

    async def _runner(self, share: bool = True) -> Runner:
        """The runner of what is shown, started or resumed if there is none."""
        if self.runner is None:
            stored, config = self.stored, self.config if self.stored is None else self.stored.config
            if stored is not None and not stored.path.exists():
                raise StoreError(f"{stored.path.name} was deleted, so it cannot go on: Keep what is drawn, or Reset to begin again.")
            engine = await self._engine()
            share = share and (stored is None or stored.path.parent != self.shelf.folder)  # a run that was kept goes on where it was
            if not share or engine.shared(config) is None:
                self.visitor.may_start(config, engine)
            # A stored run is everyone's first screen: its own store is never written.
            rest = {} if stored is None else {"base": stored.path, "history": stored.history}
            self.runner = await self._wanted(engine.start(config, share=share, owner=self.visitor.name, **rest))
        return self.runner

    async def _join(self) -> None:
        """Watch the run in the controls if somebody has it computed, or show what is stored of it; say nothing where that cannot be."""
        config, nothing = self.config, self._nothing
        with suppress(CflowsError, _Superseded):
            engine = await self._engine()
            async with self._turn:
                self._subject = nothing
                if self._superseded or self.runner is not None:
                    return
                if engine.shared(config) is not None:
                    self.runner = await self._wanted(engine.start(config))
                elif engine.journal is not None:
                    stored = await asyncio.to_thread(_stored, engine.journal, config)
                    self.stored = self.stored if self._superseded else stored or self.stored

    @property
    def _superseded(self) -> bool:
        """Whether the visitor turned to something else, or left, since the present action began."""
        return self._subject is not self._nothing or self._left

    async def _wanted(self, made: Awaitable[Runner]) -> Runner:
        """The run that is being made, at this visitor's speed; let go again if it is not wanted any more by then."""
        runner = await made
        if self._superseded:
            await runner.release()
            raise _Superseded
        runner.speed = self.speed
        return runner

    async def _fork_lecture(self, lecture: Broadcast) -> None:
        """Leave the lecture that is followed, with what it shows for one's own."""
        runner, stored = self.runner, self.stored
        if runner is None:
            lecture.leave(self)
            self._renew(self.config, stored)
            return
        self.visitor.may_start(runner.config, await self._engine())
        running, twin = runner.running, await self._wanted(runner.fork(owner=self.visitor.name))
        lecture.leave(self)
        self.runner, self.former = twin, None
        if running:
            twin.run()

    async def _read(self, run: str) -> None:
        try:
            stored = await asyncio.to_thread(self.shelf.open, run)
        finally:
            self.opening = ""
        if not self._superseded:
            self.turn(stored.config, stored)

    async def _own(self, share: bool = False) -> Runner:
        """The runner, made this visitor's own if others watch it, who keep the former one; `share`: others may join."""
        if self.runner is not None and self.runner.viewers > 1:
            self.visitor.may_start(self.runner.config, await self._engine())
            shared, twin = self.runner, await self._wanted(self.runner.fork(owner=self.visitor.name, share=share))
            if shared.running:
                twin.run()
            self.runner = twin
            await shared.release()
        assert self.runner is not None
        return self.runner

    async def _extend(self, runner: Runner, steps: int) -> None:
        """Let a run go further, as far as this visitor may."""
        self.visitor.allowance.check(runner.config.replace(steps=runner.config.steps + steps))
        await runner.extend(steps)

    async def _apply_live(self, runner: Runner) -> Runner:
        """Give the run those live fields that were edited and it does not have; the runner then is this visitor's own."""
        changes = self._pending(runner.config)
        if changes:
            runner = await self._own()
            await runner.set(**changes)
        self._edited = {}
        return runner

    async def _slow_down(self) -> None:
        await self._own()
        for version in self.versions:
            version.speed = self.speed

    def _take(self, preset: str) -> None:
        """Turn to a preset, and to its stored run if it has one."""
        stored = stored_run(preset)
        self.turn(PRESETS[preset].config if stored is None else stored.config, stored)
        self.preset = preset

    def _renew(self, config: RunConfig, stored: Stored | None) -> None:
        """Leave the run, if there is one, and turn to another configuration."""
        versions, self.runner, self.former = self.versions if self.follows is None else [], None, None
        self.config, self.stored = config, stored
        self.errors, self.error, self._nothing, self._edited = {}, "", History(), {}
        for version in versions:
            self._later(version.release())


def _stored(journal: Journal, config: RunConfig) -> Stored | None:
    """What the journal has of a configuration."""
    found = journal.find(config)
    return None if found is None else Stored.of(Run.open(found))


class _Superseded(Exception):
    """What an action prepared is not wanted any more."""
