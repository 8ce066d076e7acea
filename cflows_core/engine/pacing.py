"""How many steps may be asked for now, how many a second have been made, and what the time went to."""

from __future__ import annotations

from collections import deque

SLICE_SECONDS = 0.08
WINDOW_SECONDS = 2.0
_ROUNDING = 1e-6  # of a step: what is waited for exactly would else be missed by a rounding error, again and again


class Pace:
    """A token bucket: steps are earned at `speed` a second and saved up for two slices at most.

    A paused or slow run therefore earns no burst.
    """

    def __init__(self) -> None:
        self._earned = 0.0
        self._then: float | None = None
        self._first = True

    def allowance(self, speed: float | None, now: float) -> tuple[int | None, float]:
        """(steps allowed now, seconds to wait if that is 0); None steps, no wait, without a limit."""
        if speed is None:
            self._then = None
            return None, 0.0
        if self._then is not None:
            self._earned += (now - self._then) * speed
        self._then = now
        self._earned = min(self._earned, max(1.0, 2 * SLICE_SECONDS * speed))
        if self._first:
            return 1, 0.0  # a click is answered at once
        # A call costs milliseconds, so fast runs wait until it is worth several steps.
        batch = max(1.0, 0.5 * SLICE_SECONDS * speed)
        if self._earned + _ROUNDING < batch:
            return 0, (batch - self._earned) / speed
        return int(self._earned + _ROUNDING), 0.0

    def spend(self, steps: int) -> None:
        """These many steps were made."""
        self._earned -= 0 if self._first else steps
        self._first = False


class Rate:
    """Steps a second over the last two seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._total = 0

    def start(self, now: float) -> None:
        """Begin to measure at `now`."""
        self._marks.clear()
        self._marks.append((now, self._total))

    def add(self, steps: int, now: float) -> None:
        self._total += steps
        self._marks.append((now, self._total))
        while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def value(self) -> float:
        """0 until something is known."""
        if len(self._marks) < 2:
            return 0.0
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - begin) if end > begin else 0.0


class Balance:
    """What a run's time went to over the last two seconds.

    "computing"; "speed", keeping to the speed limit; "waiting", all else: for the worker's turn, for what is sent there and back, and for
    this process to come round to it.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, dict[str, float]]] = deque()
        self._then = 0.0

    def start(self, now: float) -> None:
        """Begin to measure at `now`."""
        self._marks.clear()
        self._then = now

    def add(self, now: float, *, computing: float = 0.0, speed: float = 0.0) -> None:
        """So many seconds since the last call were these; the others were waiting."""
        waiting = max(0.0, now - self._then - computing - speed)
        self._marks.append((now, {"computing": computing, "speed": speed, "waiting": waiting}))
        self._then = now
        while self._marks[0][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def largest(self) -> str:
        """What took most, "" until something is known."""
        totals = {kind: sum(seconds[kind] for _, seconds in self._marks) for kind in ("computing", "speed", "waiting")}
        return max(totals, key=lambda kind: totals[kind]) if self._marks else ""
