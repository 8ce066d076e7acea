"""When the next drawing may be sent: never before the browser has drawn the last, and then as long again is left to everything else.

On a machine that computes and draws with the same few cores, or behind a slow network, drawings would else pile up and take the
processor from the run that they show.
"""

from __future__ import annotations

SHORTEST = 0.1  # seconds from one drawing to the next: more often is not seen
LOST = 2.0  # seconds after which an answer is not waited for: a hidden tab draws nothing and says nothing


class Turns:
    """One page's drawings, numbered. `number`: the last one sent."""

    def __init__(self) -> None:
        self.number = 0
        self._sent = float("-inf")
        self._next = float("-inf")
        self._answers = False  # nobody may be there to answer

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
