"""`cflows run` and `cflows resume`: a run that is interrupted stops between two steps, with everything on disk."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError

if TYPE_CHECKING:
    from cflows_core.store import Run


class Interrupted(Exception):
    """Ctrl-C or a termination signal, once everything is stored; the message says what is saved and how to go on."""


class _Stop(Exception):
    """Raised between two steps, where the simulation's state is whole."""


class Stepped(Protocol):
    """A frame, or whatever has a step."""

    @property
    def step(self) -> int: ...


def start(config: RunConfig, out: str | None, quiet: bool, until: Any = None) -> Run:
    """Run a configuration from its beginning, to its end or `until` a step. Raises CflowsError, Interrupted."""
    from cflows_core.running import run

    path = _new_path(out)
    _check_steps("until", until)
    with interruptible(partial(_interruption, path)) as on_frame:
        return run(config, path, progress=bar_wanted(quiet), on_frame=on_frame, until=until)


def resume(path: str, steps: Any, quiet: bool) -> Run:
    """Continue a stored run from its last checkpoint, to its end or `steps` beyond. Raises CflowsError, Interrupted."""
    from cflows_core.running import resume as go_on
    from cflows_core.store import Run

    _check_steps("steps", steps)
    stored = Run.open(path)
    last = stored.config.warm_start + stored.config.steps
    if steps is None and stored.rows and stored.steps[-1] >= last:
        raise CflowsError(f"The run at {path} is finished, at step {last:,}: add `--steps N` to go N steps further.")
    with interruptible(partial(_interruption, Path(path))) as on_frame:
        return go_on(path, steps or 0, progress=bar_wanted(quiet), on_frame=on_frame)


def _new_path(out: str | None) -> Path | None:
    if out is None:
        return None
    if not out.strip():
        raise CflowsError("`--out` must name a new directory, got an empty name: try --out runs/first.zarr.")
    return Path(out).expanduser()


def _check_steps(name: str, steps: Any) -> None:
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise CflowsError(f"`--{name}` must be a whole number of at least 1, got {steps}.")


def bar_wanted(quiet: bool) -> bool:
    """Whether somebody looks at a bar."""
    return not quiet and sys.stdout.isatty()


@contextmanager
def interruptible(sentence: Callable[[int], str], stopping: Callable[[], None] = lambda: None) -> Iterator[Callable[[Stepped], None]]:
    """Turns the first Ctrl-C or termination signal into a stop after its step: yields what to call with every frame.

    sentence: of the step that was reached, what `Interrupted` then says. stopping: called before the stop, which may take a while.

    The second one ends the process at once; the store is made to survive that.
    """
    caught: list[int] = []
    reached = 0

    def note(number: int, _: Any) -> None:
        if caught:
            os.write(2, b"\ncflows: ended at once, as asked: what was committed is safe.\n")
            os._exit(130)
        caught.append(number)

    def on_frame(frame: Stepped) -> None:
        nonlocal reached
        reached = frame.step
        if caught:
            stopping()
            raise _Stop

    with _handling((signal.SIGINT, signal.SIGTERM), note):
        try:
            yield on_frame
        except _Stop:
            raise Interrupted(sentence(reached)) from None


@contextmanager
def _handling(signals: tuple[signal.Signals, ...], handler: Any) -> Iterator[None]:
    previous = {}
    for number in signals:
        try:
            previous[number] = signal.signal(number, handler)
        except ValueError:  # not the main thread, which keeps its own handlers
            break
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _interruption(path: Path | None, step: int) -> str:
    if path is None:
        return f"interrupted at step {step:,}; nothing is stored, because --out was not given."
    from cflows_core.store import Run

    rows = Run.open(path).rows
    return f"interrupted at step {step:,}; {rows:,} steps are saved in {path}: continue with `cflows resume {path}`."
