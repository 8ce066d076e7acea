"""`cflows`, with a clock on every step and a census on request: for measurements that need to know more than a visitor.

CLOCKED=FOLDER python benchmarks/clocked.py app --port 5006 ...

Each process that computes writes FOLDER/steps-PID.txt, a line a step: the configuration's seed, the simulation's number in its process, the
step, seconds since the epoch. After SIGUSR1 the server, or a worker, writes FOLDER/census-PID.json. Not for Windows.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cflows_core.cli import main
from cflows_core.engine.host import SimulationHost

FOLDER = "CLOCKED"  # the environment variable that names it
PAGES = ("ExplorePage", "ComparePage", "LessonsPage", "ToyLabPage", "GalleryPage")
COUNTED = {  # what is counted -> the package of its class
    **dict.fromkeys(("Document", "ServerSession"), "bokeh"),
    **dict.fromkeys((*PAGES, "Session"), "cflows_app"),
    **dict.fromkeys(("Runner", "History", "RunConfig", "Simulation"), "cflows_core"),
    "Task": "_asyncio",
}


def clocked(record: Callable[[SimulationHost, Any], None], folder: Path) -> Callable[[Any, Any], None]:
    """`SimulationHost._record`, through which every step passes as soon as it is computed, and a line of FOLDER/steps-PID.txt."""
    numbers = itertools.count()

    def timed(self: Any, frame: Any) -> None:
        now = time.time()
        if not hasattr(self, "lines"):
            self.number, self.lines = next(numbers), (folder / f"steps-{os.getpid()}.txt").open("a", buffering=1)
        self.lines.write(f"{self.simulation.config.seed} {self.number} {frame.step} {now:.4f}\n")
        record(self, frame)

    return timed


def census() -> dict[str, int]:
    """What lives in this process: objects by class, threads, file descriptors, and all that the garbage collector watches."""
    gc.unfreeze()  # what the server set aside (app/operation/garbage.py)
    gc.collect()
    everything = gc.get_objects()
    kinds = Counter((str(type(thing).__module__).split(".")[0], type(thing).__name__) for thing in everything)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    rest = {"threads": threading.active_count(), "file descriptors": descriptors, "objects": len(everything)}
    return {name: kinds[package, name] for name, package in COUNTED.items()} | rest


def count(folder: Path) -> None:
    """Write the census, whole at once."""
    part = folder / f"census-{os.getpid()}.part"
    part.write_text(json.dumps(census()))
    part.replace(part.with_suffix(".json"))


# Worker processes import the main script again, and so wear the clock, too.
if FOLDER in os.environ:
    SimulationHost._record = clocked(SimulationHost._record, Path(os.environ[FOLDER]))  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, lambda *_: count(Path(os.environ[FOLDER])))
    (Path(os.environ[FOLDER]) / f"census-{os.getpid()}.json").touch()  # it can be asked

if __name__ == "__main__":
    sys.exit(main())
