"""The work of one configuration, as it is done in a worker: computed from where it was left, or found finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflows_core.config import RunConfig
from cflows_core.engine.host import use_threads
from cflows_core.errors import CflowsError, StoreError
from cflows_core.problems import files
from cflows_core.running import resume, run
from cflows_core.store import Run
from cflows_core.store.document import read_attributes
from cflows_core.store.files import WriterLock

if TYPE_CHECKING:
    from cflows_core.frames import Frame
    from cflows_core.problems.files import ProblemFile

CLAIMS = ".claims"  # folder in a sweep's, whose locks say which configurations are being computed
TELL_SECONDS = 0.25
# What a task can come back with; "busy": someone else computes it now.
FINISHED, DIVERGED, FAILED, STOPPED, BUSY = "finished", "diverged", "failed", "stopped", "busy"

_stopping: set[str] = set()  # sweeps that are being stopped, in this process


@dataclass(frozen=True)
class Outcome:
    """What came of a configuration. state: one of those above. sentence: why, "" if finished. computed: whether any step was computed
    now. worker: where."""

    state: str
    sentence: str = ""
    computed: bool = False
    worker: str = ""


class _Stop(BaseException):
    """Between two steps, as asked by `stop`."""


def stop(sweep: str) -> None:
    """End this process's work for that sweep between two steps; what has not begun does not begin."""
    _stopping.add(sweep)


def where(folder: Path, config: RunConfig) -> Path:
    """Where a configuration's run is stored."""
    return folder / f"{config.hash}.zarr"


def state(path: Path, config: RunConfig) -> Outcome | None:
    """What came of a stored run, None if it is not at its end. Raises StoreError for one that cannot be read, or is another."""
    if read_attributes(path) is None:
        return None  # nothing, or killed before its first commit
    stored = Run.open(path)
    if stored.config != config:
        raise StoreError(f"{path} holds another configuration than its name says, perhaps gone on with: move it out of the sweep's folder.")
    events = {event.kind: event for event in stored.events}
    if "finished" not in events:
        return None
    if "diverged" in events:
        return Outcome(DIVERGED, f"At step {events['diverged'].step:,}: {events['diverged'].message}")
    return Outcome(FINISHED)


def compute(
    sweep: str,
    plain: dict[str, Any],
    folder: str,
    threads: int = 0,
    problems: tuple[ProblemFile, ...] = (),
    tell: Callable[[int], None] = lambda step: None,
) -> Outcome:
    """Bring the run of a configuration in the sweep's folder to its end, from its last checkpoint if there is one.

    sweep: what `stop` names. tell: called a few times a second with the step reached. An error that computing it again would only repeat is
    an outcome; others are raised, for another try.
    """
    config, place = RunConfig.from_dict(plain), Path(folder)
    worker = _worker()
    if sweep in _stopping:
        return Outcome(STOPPED, worker=worker)
    claims = place / CLAIMS / config.hash
    claims.mkdir(parents=True, exist_ok=True)
    try:
        claim = WriterLock(claims)
    except StoreError:
        return Outcome(BUSY, worker=worker)
    try:
        path = where(place, config)
        found = state(path, config)
        if found is not None:
            return found
        files.use(problems)
        use_threads(config.threads or threads)
        go_on = read_attributes(path) is not None
        on_frame = _watching(sweep, tell)
        try:
            if go_on:
                resume(path, progress=False, on_frame=on_frame)
            else:
                run(config, path, progress=False, on_frame=on_frame)
        except _Stop:
            return Outcome(STOPPED, computed=True, worker=worker)
        ended = state(path, config)
        assert ended is not None
        return Outcome(ended.state, ended.sentence, computed=True, worker=worker)
    except CflowsError as error:
        return Outcome(FAILED, str(error), worker=worker)
    finally:
        claim.release()


def _watching(sweep: str, tell: Callable[[int], None]) -> Callable[[Frame], None]:
    last = 0.0

    def on_frame(frame: Frame) -> None:
        nonlocal last
        if sweep in _stopping:
            raise _Stop
        now = time.monotonic()
        if now - last >= TELL_SECONDS:
            last = now
            tell(frame.step)

    return on_frame


def _worker() -> str:
    """The address of the Dask worker that does this, "" outside of one."""
    try:
        from distributed import get_worker

        return get_worker().address
    except (ImportError, ValueError):
        return ""
