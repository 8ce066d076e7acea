"""How the server stops: nobody new comes in, those who are here are told, runs pause and checkpoint, and all that within a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

logger = logging.getLogger("cflows")

STOPS_WITHIN = 20.0  # seconds, after which runs are left as they were last committed
TOLD_WITHIN = 0.3  # seconds in which a page takes in a sentence: a few of its ticks
SENTENCE = "The server is stopping: runs pause, and what is stored is kept. Reload this page when it is back."


class Pausing(Protocol):
    """What is asked of a run."""

    def pause(self) -> None: ...


class Signals:
    """Ctrl-C and SIGTERM: the first asks the server to stop, the second ends the process at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def listen(self) -> None:
        """Take the signals over in the running loop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
                asyncio.get_running_loop().add_signal_handler(number, self._heard, number)

    def _heard(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            logger.warning("asked twice: the server ends at once")
            os._exit(128 + number)
        logger.info("the server is stopping", extra={"signal": number.name})
        self.asked.set()


async def settle(tell: Callable[[str], None], runs: Callable[[], Iterable[Pausing]], close: Callable[[], Awaitable[None]]) -> bool:
    """Tell all pages, pause all runs, then close their engine, which checkpoints what is stored. Whether all that ended in time."""
    tell(SENTENCE)
    for run in runs():
        run.pause()
    await asyncio.sleep(TOLD_WITHIN)
    try:
        await asyncio.wait_for(close(), STOPS_WITHIN)
    except TimeoutError:
        logger.error("runs took too long to stop: what they had committed is kept")
        return False
    return True
