"""Which phase a run is in, in one sentence for someone who watches it (ours).

The story of an approach to the edge of stability ([CF] 2, [T2]): the top eigenvalue rises to the threshold c (progressive sharpening);
beyond it the oscillation along its eigenvector grows, unseen in the loss at first; grown large, it pushes the sharpness down while the
loss rises; after some such cycles the eigenvalue stays near c, and so may a second and a third one.

`phase` is a function of the rows up to a step, the same live and from a store. It looks back over a window, and a phase is told once it has
lasted `DWELL` steps, so that the sentence does not flicker. All lengths below are steps, all eigenvalues shares of the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cflows_core.config import RunConfig
from cflows_core.frames import STATUSES, Event, Frame
from cflows_core.optimizers import Optimizer
from cflows_core.store import Run

WINDOW = 400  # looked back at
DWELL = 6  # how long a phase lasts before it is told
CYCLE = 40  # in which a swing of the eigenvalue is seen
REACHED = 0.98  # at the edge
LEFT = 0.96  # off the edge, if the eigenvalue stays below for a whole CYCLE
NEAR = 0.93  # where eigenvalues of iterates that oscillate swing back to
FAR = 0.85  # off the edge at once
OVERSHOOT = 1.06  # eigenvalues of iterates that hover at the edge stay below
SWING = 0.05  # hovering eigenvalues swing less in a CYCLE
REPEATED = 120  # in which a third swing is no news
CROSSING = 0.015  # in a CYCLE, to a new height: passing the edge, not hovering at it
RISING = 0.002  # in a CYCLE: progressive sharpening, not rest
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CODES = {name: code for code, name in enumerate(STATUSES)}
_KINDS = ("finished", "diverged", "change")
_SAME = ""  # a row that tells nothing new


@dataclass(frozen=True)
class Phase:
    """name: "not_started", "warm_start", "settling", "progressive_sharpening", "below_edge", "oscillation_growing", "sharpness_falling",
    "edge_one", "edge_several", "off_edge", "diverged" or "finished". sentence: what to look at now, at most 25 words."""

    name: str
    sentence: str


def phase(history: Any, step: int | None = None, config: RunConfig | None = None) -> Phase:
    """The phase of a run at `step` (default: its last row).

    history: a stored `Run`, a live `History`, anything that has a `history`, or a list of frames. config: its configuration where the
    history carries none (default: plain gradient descent's). About a millisecond, however long the history.
    """
    run_config: RunConfig = getattr(history, "config", RunConfig()) if config is None else config
    history = getattr(history, "history", history)
    threshold = Optimizer.of(run_config).threshold
    rows = _from_frames(history, step, threshold) if isinstance(history, (list, tuple)) else _from_columns(history, step, threshold)
    if not len(rows.steps):
        return Phase("not_started", "Nothing has run yet: press Run, and the optimizer sets out from its initial weights.")
    return _ended(rows) or _starting(rows, run_config) or _moving(rows)


@dataclass
class _Rows:
    """What the rules read: the last rows [n] up to a step, eigenvalues [n, k] as shares of the threshold."""

    steps: np.ndarray
    eigs: np.ndarray
    rank: np.ndarray  # [n], of the central flow; NaN while it says nothing
    central: float  # the central flow's last top eigenvalue
    loss: float
    status: dict[str, str] = field(default_factory=dict)  # as of the last row
    distance: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)  # of _KINDS

    def since_change(self) -> _Rows:
        """The rows from the last change of a parameter on: it moves all eigenvalues relative to the threshold at once."""
        changed = max((event.step for event in self.events if event.kind == "change"), default=0)
        first = int(np.searchsorted(self.steps, changed)) if changed <= self.steps[-1] else 0
        return replace(self, steps=self.steps[first:], eigs=self.eigs[first:], rank=self.rank[first:])

    def rows(self, steps: int) -> int:
        """How many rows so many steps are."""
        every = (self.steps[-1] - self.steps[0]) / max(1, len(self.steps) - 1)
        return max(3, round(steps / max(1.0, every)))


def _from_columns(history: Any, step: int | None, threshold: float) -> _Rows:
    steps = history.steps
    stop = len(steps) if step is None else int(np.searchsorted(steps, step, side="right"))
    last = slice(max(0, stop - WINDOW), stop)
    eigs, central = (_two_dimensional(history.series(flow, "effective_eigs")) for flow in ("discrete", "central"))
    status = {flow: STATUSES[history.status(flow)[stop - 1]] for flow in history.flows} if stop else {}
    far = {flow: history.series(flow, "distance") if isinstance(history, Run) else history.distance(flow) for flow in history.flows}
    return _Rows(
        steps[last],
        eigs[last] / threshold,
        history.series("central", "rank")[last],
        float(central[stop - 1, 0]) / threshold if stop else np.nan,
        float(history.series("discrete", "loss")[stop - 1]) if stop else np.nan,
        {flow: name for flow, name in status.items() if name != STATUSES[0]},
        {flow: float(series[stop - 1]) for flow, series in far.items() if stop and np.isfinite(series[stop - 1])},
        [event for event in history.events if event.kind in _KINDS and (step is None or event.step <= step)],
    )


def _from_frames(frames: list[Frame] | tuple[Frame, ...], step: int | None, threshold: float) -> _Rows:
    stop = len(frames)
    while stop and step is not None and frames[stop - 1].step > step:
        stop -= 1
    recent = frames[max(0, stop - WINDOW) : stop]
    empty = np.full(1, np.nan)
    found = [np.atleast_1d(frame.flows.get("discrete", {}).get("effective_eigs", empty)) for frame in recent]
    width = max((len(values) for values in found), default=1)
    eigs = np.array([np.append(values, np.full(width - len(values), np.nan)) for values in found]).reshape(-1, width)
    last = recent[-1] if recent else Frame(0, 0.0, 0.0, {})
    return _Rows(
        np.array([frame.step for frame in recent]),
        eigs / threshold,
        np.array([frame.flows.get("central", {}).get("rank", np.nan) for frame in recent], dtype=float),
        float(np.atleast_1d(last.flows.get("central", {}).get("effective_eigs", empty))[0]) / threshold,
        float(last.flows.get("discrete", {}).get("loss", np.nan)),
        dict(last.status),
        dict(last.distance),
        [event for frame in recent for event in frame.events if event.kind in _KINDS],
    )


def _two_dimensional(series: np.ndarray) -> np.ndarray:
    return series if series.ndim == 2 else series[:, None]


# Phases that a status or an event tells at once


def _ended(rows: _Rows) -> Phase | None:
    now = int(rows.steps[-1])
    if rows.status.get("discrete") == "stopped" or np.isinf(rows.loss):
        at = next((event.step for event in rows.events if event.kind == "diverged"), now)
        return Phase("diverged", f"The optimizer diverged at step {at:,}: its loss left every bound; lower the learning rate and reset.")
    if not any(event.kind == "finished" and event.step >= now for event in rows.events):
        return None
    number = _at_edge(rows)[-1]
    where = f", with {_eigenvalues(number)} at the edge" if number else ""
    near, *others = [f"the {flow} flow ended {rows.distance[flow]:.2g}" for flow in ("central", "stable") if flow in rows.distance] or [""]
    apart = f": {near} from the optimizer" + "".join(f", {end.replace(' ended', '')}" for end in others) if near else ""
    return Phase("finished", f"The run is complete at step {now:,}{where}{apart}.")


def _starting(rows: _Rows, config: RunConfig) -> Phase | None:
    settling = [flow for flow, status in rows.status.items() if status == "settling"]
    if settling:
        above = f" ({rows.central:.2f} times the threshold)" if np.isfinite(rows.central) else ""
        flow = "central" if "central" in settling else settling[0]
        sentence = f"The {flow} flow is settling: its top eigenvalue{above} comes down to the edge first, so no Σ is drawn yet."
        return Phase("settling", sentence)
    if len(config.flows) > 1 and rows.steps[-1] < config.warm_start:
        top = rows.eigs[-1, 0]
        level = f" Its top eigenvalue is at {top:.0%} of the edge." if np.isfinite(top) else ""
        return Phase("warm_start", f"Warm start: only the optimizer runs; the flows set out at step {config.warm_start:,}.{level}")
    return None


# Phases that the eigenvalues tell


def _moving(rows: _Rows) -> Phase:
    before = bool(_at_edge(rows).astype(bool).sum() > rows.rows(CYCLE))
    rows = rows.since_change()
    at_edge = _at_edge(rows)
    labels = _labels(rows, at_edge, before)
    top, number = rows.eigs[:, 0], int(at_edge[-1])
    name, central = _steady(labels, rows), bool(np.isfinite(rows.rank[-1]))
    rank = int(np.nanmedian(rows.rank[-rows.rows(15) :])) if central else 0
    calm = "nothing oscillates, and Σ is zero" if rows.rank[-1] == 0 else "nothing oscillates"
    now = top[-1]
    if not np.isfinite(now):
        return Phase("below_edge", "The optimizer runs; its top eigenvalue is not known yet.")
    if name == "oscillation_growing":
        above = f"{now - 1:.0%} above" if now > 1.005 else "at"
        rest = "the oscillation along it grows with every step, hardly seen in the loss yet"
        return Phase(name, f"The top eigenvalue is {above} the edge: {rest}.")
    if name == "sharpness_falling":
        high = np.nanmax(top[-rows.rows(CYCLE) :])
        rest = f"raises the loss and pushes the sharpness down, from {high:.0%} to {now:.0%} of the edge"
        return Phase(name, f"The oscillation has grown large: it {rest}.")
    if name in ("edge_one", "edge_several"):
        number = 1 if name == "edge_one" else max(2, number)
        modes = f"the optimizer oscillates along {_number(number)} mode{'' if number == 1 else 's'}"
        if not central:
            rest = modes
        elif rank != number:
            rest = f"{modes}, and Σ has rank {rank}"
        else:
            rest = "Σ has rank 1, and the central flow moves along the edge" if rank == 1 else f"Σ now has rank {rank}"
        return Phase(name, f"{_eigenvalues(number).capitalize()} {'sits' if number == 1 else 'sit'} at the edge: {rest}.")
    if name == "off_edge":
        rest = ", and Σ is zero" if rows.rank[-1] == 0 else ""
        return Phase(name, f"Off the edge again: the top eigenvalue is at {now:.0%} of it; the oscillation dies out{rest}.")
    if name == "progressive_sharpening":
        return Phase(name, f"Progressive sharpening: the top eigenvalue has risen to {now:.0%} of the edge; {calm}.")
    return Phase("below_edge", f"The top eigenvalue is at {now:.0%} of the edge and does not rise: {calm}.")


def _rolling(x: np.ndarray, length: int) -> np.ndarray:
    """[n, ..., length]: each row's value with those before it; the first value is repeated backwards."""
    return sliding_window_view(np.concatenate([np.repeat(x[:1], length - 1, axis=0), x]), length, axis=0)  # type: ignore[call-overload]


def _at_edge(rows: _Rows) -> np.ndarray:
    """How many of the optimizer's eigenvalues sit at the edge, [n]: the rank of Σ, steadied, as far as they are near it themselves;
    without a central flow, those that are there half of the time."""
    cycle = rows.rows(CYCLE)
    there = np.cumsum(np.pad(rows.eigs >= REACHED, ((cycle, 0), (0, 0))), axis=0)
    hovering = (there[cycle:] - there[:-cycle] >= cycle / 2).sum(1)  # a start far above it, over in some steps, does not count
    if np.isnan(rows.rank).all():
        return hovering
    rank = np.where(np.isnan(rows.rank), (rows.eigs >= REACHED).sum(1), rows.rank)
    steadied = np.median(_rolling(rank, rows.rows(15)), axis=1).round().astype(int)
    near = (_rolling(np.nan_to_num(rows.eigs), rows.rows(CYCLE // 2)).max(-1) >= NEAR).sum(1)
    return np.minimum(steadied, near)


def _labels(rows: _Rows, number: np.ndarray, before: bool) -> list[str]:
    """The phase of every row, before steadying. number [n]: eigenvalues at the edge. before: the run was there in its last WINDOW."""
    known = np.where(np.isfinite(rows.eigs[:, 0]), np.arange(len(rows.steps)), 0)
    top = rows.eigs[np.maximum.accumulate(known), 0]
    cycle, short = _rolling(top, rows.rows(CYCLE)), _rolling(top, rows.rows(10))
    rise = top - cycle[:, 0]
    high = cycle.max(1)
    with np.errstate(invalid="ignore"):
        falling = (top - short[:, 0] < -0.015) & (high - cycle.min(1) > SWING) & (high > 1.0)
        growing = (top > 1.005) & ~falling & ((top > OVERSHOOT) | ((top >= np.maximum.accumulate(top) - 0.003) & (rise > CROSSING)))
        falls = np.cumsum(falling & ~np.roll(falling, 1))
        again = falls - _rolling(falls, rows.rows(REPEATED))[:, 0] - falling >= 2  # swinging to and fro is how it stays at the edge
        rising = rise > RISING
        below = (number == 0) & ((high < LEFT) | (top < FAR) | ((top < REACHED) & (not before)))
    rules = [falling & ~again, growing & ~again, number > 1, number == 1, below & rising, below & before, below]
    names = ["sharpness_falling", "oscillation_growing", "edge_several", "edge_one", "progressive_sharpening", "off_edge", "below_edge"]
    return np.select(rules, names, _SAME).tolist()


def _steady(labels: list[str], rows: _Rows) -> str:
    """The last label that lasted: so long that a reader can follow, and the same from one call to the next."""
    dwell = rows.rows(DWELL)
    told = next((label for label in labels if label), "below_edge")
    candidate, count = told, 0
    for label in labels:
        if label in (_SAME, told):
            candidate, count = told, 0
        elif label == candidate:
            count += 1
        else:
            candidate, count = label, 1
        if count >= dwell:
            told, count = candidate, 0
    return told


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def _eigenvalues(n: int) -> str:
    return f"{_number(n)} eigenvalue{'' if n == 1 else 's'}"
