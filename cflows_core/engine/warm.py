"""Warming a process up: what a first run would have to import and prepare is done before anyone waits for it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

logger = logging.getLogger("cflows")

_lock = threading.Lock()
_ending = threading.Event()
_seconds: float | None = None


def warm_up() -> float:
    """Import what a run needs and take a few steps of a tiny one; the seconds that took. Later calls return them."""
    global _seconds
    with _lock:
        if _seconds is None:
            begin = time.perf_counter()
            _rehearse()
            _seconds = time.perf_counter() - begin
        return _seconds


def _rehearse() -> None:
    import torch

    from cflows_core.config import RunConfig
    from cflows_core.problems.objective import Objective
    from cflows_core.simulation import Simulation
    from cflows_core.store import Recorder, Run  # noqa: F401 (loaded, which is all that is wanted)

    # At the edge when the flows start, so that eigensolver, third derivatives and projection all run once.
    tiny = RunConfig(width=4, depth=1, n_train=30, lr=0.12, warm_start=2, steps=12, n_eigs=2, device="cpu")
    for _ in Simulation(tiny):
        if _ending.is_set():
            return
    # Exact derivatives import a computer algebra system when they are first taken.
    objective = Objective.from_function(lambda w: (w**3).sum(), 2)
    objective.third(torch.ones(2, dtype=objective.dtype), torch.eye(2, dtype=objective.dtype))


def dask_setup(worker: Any) -> None:
    """Dask calls this in every worker process that starts, those that replace a lost one included.

    The warm-up has a thread of its own, so that the worker can be reached meanwhile. Ctrl-C in a terminal reaches the
    whole process group: the workers leave it to the application, which closes its runs and then ends them.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # No daemon: a thread that is inside PyTorch when the interpreter ends would abort the process.
    threading.Thread(target=_warm_up_quietly, name="cflows-warm-up").start()


def dask_teardown(worker: Any) -> None:
    """Dask calls this when the worker ends."""
    _ending.set()


def _warm_up_quietly() -> None:
    try:
        warm_up()
    except Exception:  # the first run will meet the same, and tell its user
        logger.debug("the warm-up failed", exc_info=True)
