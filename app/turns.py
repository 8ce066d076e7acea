"""When the next drawing may be sent: never before the browser has drawn the last, and then as long again is left to everything else.

On a machine that computes and draws with the same few cores, or behind a slow network, drawings would else pile up and take the
processor from the run that they show.
"""

from __future__ import annotations

from collections import deque

SHORTEST = 0.1  # seconds from one drawing to the next: more often is not seen
WINDOW = 2.0  # seconds over which the share of time that drawing takes is measured
LOST = 2.0  # seconds after which an answer is not waited for: a hidden tab draws nothing and says nothing


class Turns:
    """One page's drawings, numbered. `number`: the last one sent."""

    def __init__(self) -> None:
        self.number = 0
        self._sent = float("-inf")
        self._next = float("-inf")
        self._answers = False  # nobody may be there to answer
        self._spent: deque[tuple[float, float]] = deque()

    def open(self, now: float) -> bool:
        """Whether a drawing may be sent now."""
        return now >= self._next

    def sent(self, now: float) -> None:
        """A drawing goes out."""
        self.number += 1
        self._sent = now
        if self._answers:
            self._next = now + LOST

    def drawn(self, number: object, now: float) -> None:
        """The browser has drawn this one."""
        self._answers = True
        if number == self.number:
            took = min(now - self._sent, LOST)
            self._next = max(self._sent + SHORTEST, now + took)

    def took(self, seconds: float, now: float) -> None:
        """Making a drawing held the server up for so long."""
        self._spent.append((now, seconds))

    def share(self, now: float) -> float:
        """Of the last two seconds, what making drawings took."""
        while self._spent and self._spent[0][0] < now - WINDOW:
            self._spent.popleft()
        return sum(seconds for _, seconds in self._spent) / WINDOW
