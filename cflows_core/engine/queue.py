"""`Queue`: who computes when more runs go than the machine has places for, whose turn is next, and when it will be."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable

QUANTUM = 10.0  # seconds of computing in one turn, while others wait


class Queue:
    """At most `places` runs compute at a time (0: any number), the others wait for their turns.

    A turn lasts until its run pauses or ends, or for `quantum` seconds if somebody waits by then. A place that becomes free goes to the
    owner who holds the fewest (round robin between people, not between runs), and among equals to whoever has waited longest.
    """

    def __init__(self, places: int = 0, quantum: float = QUANTUM, clock: Callable[[], float] = time.monotonic):
        self.places, self.quantum = places, quantum
        self._clock = clock
        self._computing: list[Turn] = []
        self._waiting: list[Turn] = []

    def join(self, owner: str, needs: Callable[[], float]) -> Turn:
        """A turn to be taken. owner: whose run it is. needs: seconds of computing that its run still needs, as far as can be told."""
        return Turn(self, owner, needs)

    @property
    def computing(self) -> int:
        """Runs that have a place."""
        return len(self._computing)

    @property
    def waiting(self) -> int:
        """Runs that wait for one."""
        return len(self._waiting)

    def _order(self) -> list[Turn]:
        """Those who wait, the next one first."""
        held = Counter(turn.owner for turn in self._computing)
        left, order = list(self._waiting), []
        while left:
            following = min(left, key=lambda turn: held[turn.owner])  # `left` is in the order of arrival, and min takes the first
            left.remove(following)
            order.append(following)
            held[following.owner] += 1
        return order

    def _come(self, turn: Turn) -> None:
        self._waiting.append(turn)
        self._fill()

    def _go(self, turn: Turn) -> None:
        for part in (self._waiting, self._computing):
            if turn in part:
                part.remove(turn)
        self._fill()

    def _fill(self) -> None:
        """Give free places to those who wait."""
        while self._waiting and (self.places == 0 or len(self._computing) < self.places):
            turn = self._order()[0]
            self._waiting.remove(turn)
            self._computing.append(turn)
            turn._begin(self._clock())

    def _estimate(self, turn: Turn) -> float:
        """Seconds until a waiting turn begins, if every run takes its whole turn or ends before."""
        now = self._clock()
        ends = [max(0.0, min(self.quantum - (now - (other._since or now)), other.needs())) for other in self._computing]
        heapq.heapify(ends)
        for other in self._order():
            start = heapq.heappop(ends) if ends else 0.0
            if other is turn:
                return start
            heapq.heappush(ends, start + min(self.quantum, other.needs()))
        return 0.0


class Turn:
    """One run's place in the queue, or its claim to one. Made by `Queue.join`; `take` waits for the place, `leave` gives it up."""

    def __init__(self, queue: Queue, owner: str, needs: Callable[[], float]):
        self.owner, self.needs = owner, needs
        self.queue = queue
        self._since: float | None = None  # when the present turn began
        self._wait: asyncio.Future[None] | None = None

    async def take(self) -> None:
        """Wait for a place, or until `leave`; no wait where there is a place, or no limit. Cancelled, it leaves."""
        wait = self._wait = asyncio.get_running_loop().create_future()
        self.queue._come(self)
        try:
            await wait
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Give the place up, or stop waiting for it."""
        self._since = None
        self._end_wait()
        self.queue._go(self)

    @property
    def begun(self) -> bool:
        """Whether it has a place."""
        return self._since is not None

    @property
    def over(self) -> bool:
        """Whether others wait and this turn has lasted long enough: leave, and take another."""
        return self._since is not None and self.queue.waiting > 0 and self.queue._clock() - self._since >= self.queue.quantum

    @property
    def position(self) -> int:
        """How many begin before this one, itself included; 0 for one that does not wait."""
        return self.queue._order().index(self) + 1 if self in self.queue._waiting else 0

    @property
    def estimate(self) -> float:
        """Seconds until it begins, as far as can be told; 0 for one that does not wait."""
        return self.queue._estimate(self) if self in self.queue._waiting else 0.0

    def _begin(self, now: float) -> None:
        self._since = now
        self._end_wait()

    def _end_wait(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None and not wait.done():
            wait.set_result(None)
