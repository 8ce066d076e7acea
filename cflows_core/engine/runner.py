"""`Runner`: one simulation as its viewers see it: its history, and run, pause, step, set, fork and reset."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.backends import Handle, WorkerLost
from cflows_core.engine.host import describe
from cflows_core.engine.pacing import SLICE_SECONDS, Balance, Pace, Rate
from cflows_core.errors import CflowsError, ConfigError, EngineError
from cflows_core.facts import Facts
from cflows_core.frames import Frame
from cflows_core.history import Frames, History

if TYPE_CHECKING:
    from cflows_core.engine.engine import Engine

logger = logging.getLogger("cflows")
RETRY_SECONDS = (0.0, 1.0, 4.0, 10.0, 20.0)  # before each attempt to go on elsewhere after a lost worker
LOSSES = 3
ACT_HERE = ("set", "extend", "park")  # calls that are about the step at which the drawing ends


class Runner:
    """Drives a simulation that lives elsewhere; made by `Engine.start` and `Engine.resume`.

    A task asks the simulation's actor for slices of 80 ms and adds what comes back to `history`, so pausing is simply
    not asking. All methods belong to one event loop, and none blocks it. Several viewers may read one runner, each
    with its own cursor, as frames or as columns:

    >>> frames, cursor = runner.since(cursor)                            # doctest: +SKIP
    >>> rows = runner.history.since(cursor)                              # doctest: +SKIP

    error: one sentence once something went wrong, else "". After a full disk `run` tries again. A stored run whose worker is lost goes on
        in another one from its checkpoint, by itself; one that is not stored cannot go on. The history stays in every case.
    owner: for whom it is computed. turn: its place in the engine's queue, or its wait for one.
    config: the configuration with its `changes`. out: the run's store, or None. info: the worker process, and what `facts` says.
    finished: the planned steps are done (`extend` allows more). viewers: how many hold it (`retain`, `release`).
    """

    def __init__(
        self,
        engine: Engine,
        handle: Handle,
        state: dict[str, Any],
        out: str | None = None,
        history: History | None = None,
        problem: dict[str, Any] | None = None,
        owner: str = "",
    ):
        self.out, self.owner = out, owner
        self.history = History() if history is None else history
        self.viewers = 0
        self.closed = False
        self._engine, self._handle, self._problem = engine, handle, problem or {}
        self._error, self._lost = "", False
        self._speed: float | None = None
        self._wanted = False
        self._driver: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # one call at a time, so that frames arrive in order
        self._news = asyncio.Event()  # set, and replaced, whenever something changes
        self._wake = asyncio.Event()  # ends a slow run's wait for its next step
        self._rate, self._balance = Rate(), Balance()
        self._seen = self.history.last  # steps up to it are computed again unseen
        self.recovering = False  # its worker was lost, and another one takes over
        self._losses = 0  # of workers, without a new step in between
        self.turn = engine.queue.join(owner, self._needs)
        self._take(state)

    # Reading
    @property
    def frames(self) -> Frames:
        """The whole history as a sequence of frames, made when asked for; `history` has columns, which plots want."""
        return self.history.frames

    def since(self, cursor: int) -> tuple[list[Frame], int]:
        """The frames from `cursor` on, and the next cursor."""
        frames = self.history.frames[cursor:]
        return frames, cursor + len(frames)

    async def wait_for(self, cursor: int, timeout: float | None = None) -> bool:
        """Whether there is a frame beyond `cursor`; waits for one until the time limit, an error or the run's end."""

        async def arrival() -> bool:
            while len(self.history) <= cursor:
                if self.closed or self.error or (self.finished and not self.running):
                    return False
                await self._news.wait()
            return True

        try:
            return await asyncio.wait_for(arrival(), timeout)
        except TimeoutError:
            return False

    @property
    def step_number(self) -> int:
        """The step of the last frame seen, or where the simulation stands if there is none."""
        return self.history.last if len(self.history) else self._step

    @property
    def running(self) -> bool:
        return self._wanted

    @property
    def catching_up(self) -> bool:
        """Whether steps that are drawn already are computed again, after a resume."""
        return self._step <= self._seen

    @property
    def pausing(self) -> bool:
        """Paused, but the last steps being computed have not arrived yet."""
        return not self._wanted and self._driver is not None and not self._driver.done()

    @property
    def error(self) -> str:
        if not self._error and not self.closed and self.out is None and self._handle.lost:
            self._lose("")
        return self._error

    @property
    def steps_per_second(self) -> float:
        """Over the last two seconds; 0 while paused."""
        return self._rate.value if self._wanted else 0.0

    @property
    def limited_by(self) -> str:
        """What the last two seconds mostly went to: "computing", "speed" or "waiting" (`Balance`); "" while paused."""
        return self._balance.largest if self._wanted else ""

    @property
    def facts(self) -> Facts:
        """How large the problem is, where it is computed and how."""
        return Facts.from_plain(self.info)

    @property
    def speed(self) -> float | None:
        """The most steps a second; None: as fast as possible. Raises ConfigError for anything not positive."""
        return self._speed

    @speed.setter
    def speed(self, limit: float | None) -> None:
        if limit is not None and not 0 < limit < math.inf:
            raise ConfigError(f"`speed` must be a positive number of steps a second, or None (no limit), got {limit}.")
        self._speed = limit
        self._wake.set()

    # Control
    def run(self) -> None:
        """Go on until paused, finished, or something goes wrong; without effect on a closed, finished or lost run."""
        if self._wanted or self.finished or self.closed or (self.error and self._lost and self.out is None):
            return
        self._error, self._lost, self._losses = "", False, 0
        self._wanted = True
        self._driver = asyncio.ensure_future(self._drive(self._driver))
        self._notify()

    def pause(self) -> None:
        """Ask for no more steps; those being computed still arrive (80 ms of them, or one that takes longer)."""
        self._wanted = False
        self.turn.leave()
        self._wake.set()

    async def paused(self) -> None:
        """Pause, and wait until the last frames have arrived and are committed."""
        self.pause()
        if self._driver is not None:
            await asyncio.shield(self._driver)

    async def step(self, n: int = 1) -> None:
        """Pause if running, then exactly `n` steps, fewer if the run ends. Raises EngineError with `error`'s sentence."""
        if n < 1:
            raise ConfigError(f"`step` takes a whole number of steps of at least 1, got {n}.")
        await self.paused()
        self._must_live()
        self._error = ""
        async with self._turn:
            await self._catch_up()
        while n > 0 and not self.finished:
            n -= await self._advance(SLICE_SECONDS, n)
            if self.error:
                raise EngineError(self.error)
        await self._commit()

    async def set(self, **changes: Any) -> None:
        """Change live fields from the next step on. Raises ConfigError, and then the run goes on as it was."""
        for name, value in changes.items():
            if name not in RunConfig.LIVE:
                live = ", ".join(RunConfig.LIVE)
                raise ConfigError(f"A running simulation can change {live}, not {name!r}: start a new run for that.")
            RunConfig.check(name, value)
        self._take(await self._ask("set", changes))
        self._notify()

    async def extend(self, steps: int) -> None:
        """Let the run go `steps` further than planned, also if it has finished."""
        if steps < 1:
            raise ConfigError(f"`extend` takes a whole number of steps of at least 1, got {steps}.")
        self._take(await self._ask("extend", steps))
        self._notify()

    async def fork(self, out: str | os.PathLike[str] | None = None, *, owner: str = "", share: bool = False) -> Runner:
        """A paused second run that shares this one's past, stored from here on at `out` if given; its caller is its viewer.

        Without `out` the fork of a stored run is in the journal, its past included. share: who asks for this configuration gets the fork.
        """
        return await self._engine._fork(self, None if out is None else os.fspath(out), owner or self.owner, share)

    async def reset(self, out: str | os.PathLike[str] | None = None) -> Runner:
        """A paused new run of the same configuration without its changes, so with the same initial weights.

        The caller becomes its viewer and releases this one.
        """
        fresh = await self._engine.start(self.config.replace(changes=()), out, share=False, owner=self.owner, **self._problem)
        fresh.speed = self.speed
        await self.release()
        return fresh

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Save the simulation's state to a file on the machine where it runs. Raises StoreError."""
        await self._ask("save", os.fspath(path))

    def retain(self) -> Runner:
        """One viewer more; the runner itself."""
        self.viewers += 1
        return self

    async def release(self) -> None:
        """One viewer less; the last one closes the run."""
        self.viewers -= 1
        if self.viewers <= 0:
            await self.close()

    async def close(self) -> None:
        """Pause, commit and checkpoint if stored, and free the worker's memory. The history stays readable."""
        if self.closed:
            return
        await self.paused()
        self.closed = True
        try:
            async with self._turn:
                await self._handle.close()
        except CflowsError as problem:  # the store did not take the last frames: say so, and close all the same
            self._error = self._error or str(problem)
        self._engine._forget(self)
        self._notify()

    # Inside
    async def _drive(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait({previous})
        pace, seconds = Pace(), 0.0  # the first slice is a single step: a click is answered at once
        self._rate.start(time.monotonic())
        self._balance.start(time.monotonic())
        try:
            while self._wanted and not self.finished and not self._error:
                if self.turn.over:
                    self.turn.leave()
                if not self.turn.begun:
                    await self.turn.take()
                    continue
                allowed, wait = pace.allowance(self._speed, time.monotonic())
                if allowed == 0:
                    self._wake.clear()
                    begin = time.monotonic()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), wait)
                    self._balance.add(time.monotonic(), speed=time.monotonic() - begin)
                    continue
                pace.spend(await self._advance(seconds, allowed))
                seconds = SLICE_SECONDS
            if not self._error:
                await self._commit()
        except Exception as problem:
            logger.exception("the driver of a run failed")
            self._error = f"The run was interrupted ({describe(problem)}): its history is kept, and Run goes on."
        finally:
            self.turn.leave()
            if self._driver is asyncio.current_task():  # else it was paused and run again meanwhile
                self._wanted = False
            self._notify()

    def _needs(self) -> float:
        """Seconds of computing that the run still needs at the rate of its last ones; endless where none is known."""
        left = self.config.warm_start + self.config.steps - self._step
        return left / self._rate.value if self._rate.value else math.inf

    async def _catch_up(self) -> None:
        """Compute again what is drawn already and the last checkpoint lacks, so that what is asked for next acts where the drawing ends."""
        while self.catching_up and not self.finished and not self.error:
            await self._compute(SLICE_SECONDS, self._seen - self._step + 1)

    async def _advance(self, seconds: float, max_steps: int | None) -> int:
        """Ask for a slice; the number of its steps that are new. Shielded: a caller that is cancelled loses no frames."""

        async def in_turn() -> int:
            async with self._turn:
                return await self._compute(seconds, max_steps)

        return await asyncio.shield(asyncio.ensure_future(in_turn()))

    async def _compute(self, seconds: float, max_steps: int | None) -> int:
        """The same for callers that hold `_turn`, as `_catch_up`, `_call` and `_recover` are."""
        try:
            rows, info = await self._handle.call("advance", seconds, max_steps)
        except WorkerLost:
            await self._recover()
            return 0
        new = self.history.extend(rows, self._seen if self.catching_up else None)
        self._losses = 0 if new else self._losses
        self._step, self.finished = info["step"], info["finished"]
        self._rate.add(rows["n"], time.monotonic())
        self._balance.add(time.monotonic(), computing=info["seconds"])
        if info["error"]:
            self._error = info["error"]
            self._wanted = False
        self._notify()
        return new

    async def _commit(self) -> None:
        if self.out is not None:
            try:
                await self._ask("commit")
            except CflowsError as problem:
                self._error = self._error or str(problem)

    async def _ask(self, method: str, *args: Any) -> Any:
        async with self._turn:
            return await self._call(method, *args)

    async def _call(self, method: str, *args: Any) -> Any:
        """What the actor answers, or the one that takes its place. Raises EngineError where none does."""
        while True:
            self._must_live()
            if method in ACT_HERE:
                await self._catch_up()
                self._must_live()
            try:
                return await self._handle.call(method, *args)
            except WorkerLost:
                await self._recover()

    async def _recover(self) -> None:
        """After a lost worker: go on in another one from the last checkpoint, or say that it cannot be."""
        known = self._seen = self.history.last
        reason = ""
        self.recovering = True
        self._notify()
        self._losses += 1  # a run that ends its worker again and again, by its memory, is given up
        for wait in RETRY_SECONDS if self.out and self._losses <= LOSSES else ():
            await asyncio.sleep(wait)
            try:
                self._handle, rows, state = await self._engine._again(self.out, self._problem.get("objective"), known, self.config)
            except CflowsError as problem:
                reason = str(problem)
                continue
            logger.warning("the worker of a run was lost at step %d: it goes on from step %d elsewhere", known, state["step"])
            self.history.extend(rows)
            self._seen, self.recovering = self.history.last, False
            self._take(state)
            self._notify()
            return
        self._lose(reason)

    def _must_live(self) -> None:
        if self.closed:
            raise EngineError("This run is closed: start it again.")
        if self.error and self._lost:
            raise EngineError(self._error)

    def _lose(self, reason: str) -> None:
        at = f"{self.step_number:,}"
        lost = f"The worker process of this run was lost at step {at} (killed, or out of memory)"
        if self.out is None:
            self._error = f"{lost}: what is drawn remains, but it was not stored, so Reset starts the run again."
        else:
            self._error = (
                f"{lost}: every committed step is in {self.out}, and Run tries again to go on from the last checkpoint. {reason}".rstrip()
            )
        self._lost, self._wanted, self.recovering = True, False, False
        self._notify()

    def _take(self, state: dict[str, Any]) -> None:
        self.config = RunConfig.from_dict(state["config"])
        self._step: int = state["step"]
        self.finished: bool = state["finished"]
        self.info = {key: value for key, value in state.items() if key not in ("config", "step", "finished")}

    def _notify(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
