"""One page built ahead of its visitor, in a thread: building one takes longer than an event loop with running simulations should wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Keeps one result of `make` ready. `make` runs in a thread; it must touch nothing that belongs to the event loop.

    >>> async def visit():
    ...     pages = Ahead(lambda: "a page")
    ...     await pages.ready()
    ...     return pages.take()
    >>> asyncio.run(visit())
    'a page'
    """

    def __init__(self, make: Callable[[], T]):
        self._make = make
        self._next: asyncio.Future[T] | None = None

    async def ready(self) -> None:
        """Wait until one is ready."""
        await asyncio.shield(self._prepare())

    def prepare(self) -> None:
        """Begin to make one, unless one is made."""
        self._prepare()

    def drop(self) -> None:
        """Forget the one that is ready."""
        self._next = None

    def take(self) -> T:
        """The one that is ready, or a new one if two visitors come at once; the next is prepared meanwhile."""
        ready, self._next = self._next, None
        self._prepare()
        if ready is not None and ready.done() and not ready.exception():
            return ready.result()
        return self._make()

    def _prepare(self) -> asyncio.Future[T]:
        if self._next is None:
            self._next = asyncio.get_running_loop().run_in_executor(None, self._make)
        return self._next
