"""Work in a thread beside the server's loop, of which only the newest request counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Lane(Generic[A, R]):
    """Computes the newest of what it is asked for, one at a time; what was asked meanwhile and overtaken is never computed.

    compute: runs in a thread. turn: lanes that share one compute one after the other. done: what was asked and what came out, to be taken.
    """

    def __init__(self, compute: Callable[[A], R], turn: asyncio.Lock | None = None):
        self._compute, self._turn = compute, turn
        self._wanted: list[A] = []
        self.busy = False
        self.done: list[tuple[A, R]] = []

    def ask(self, wanted: A) -> None:
        """Want this, and nothing that was wanted before."""
        self._wanted = [wanted]

    @property
    def waits(self) -> bool:
        """Whether something is wanted that nobody computes."""
        return bool(self._wanted) and not self.busy

    def work(self) -> Coroutine[Any, Any, None]:
        """Compute until nothing is wanted; to be awaited. Raises what `compute` raises."""
        self.busy = True
        return self._work()

    async def _work(self) -> None:
        try:
            while self._wanted:
                async with self._turn or contextlib.nullcontext():
                    wanted = self._wanted.pop()
                    self.done.append((wanted, await asyncio.to_thread(self._compute, wanted)))
        finally:
            self.busy = False
