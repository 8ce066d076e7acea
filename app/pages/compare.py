"""*Compare*: runs of the shelf laid over one another, a colour a run and a dash pattern a flow; their differences; and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from cflows_app import texts
from cflows_app.comparison import Compared, in_words, sentence, table
from cflows_app.components import Component, Differences, RunList, Status
from cflows_app.pages.page import SMOOTHING, Page
from cflows_app.shelf import ENDING, Entry, Shelf
from cflows_app.stored import Stored
from cflows_app.streaming import Reading, Table
from cflows_app.views import OVER_STEPS
from cflows_app.views.canvas import Canvas, at_once
from cflows_core.config import FLOW_NAMES
from cflows_core.palette import FLOW_LABELS, LIGHT, STROKES, Stroke
from cflows_core.store import Run

COLORS = ("central", "rod", "stable", "ablation", "stationary", "discrete")  # of the palette, one a run
LOOK_SECONDS = 3.0  # between looks into the folder
REDRAW_SECONDS = 0.2  # between drawings while the visitor moves the axis
FLOWS = ("discrete", "central")  # whose curves are drawn at first
# Curves that are switched off at first, so that each run has few.
HIDDEN = {"loss": {"raw", "stable", "rod", "rod pred.", "central"}, "gradients": {"raw", "stable", "rod", "rod pred.", "central"}}


class Overlay(Canvas):
    """A canvas on which layers are runs: a run has a colour, and a flow a dash pattern."""

    def tint(self, stroke: Stroke, layer: int | None) -> Stroke:
        dash = stroke.dash or (STROKES["central_predicted"].dash if stroke.color == "central" else ())
        color = stroke.color if stroke.color == "edge" else "muted" if layer is None else COLORS[layer]
        return replace(stroke, color=color, dash=dash)

    def leads(self, layer: int) -> bool:
        return True


@dataclass(frozen=True)
class Picked:
    """A run that is drawn, and what its table says."""

    entry: Entry
    stored: Stored
    summary: dict[str, Any]


class ComparePage(Page):
    """The page's parts, and what brings them up to date."""

    name = "Compare"
    description = "Stored runs of optimizers and their flows, laid over one another."

    def __init__(self, shelf: Shelf):
        canvas = Overlay(Table(SMOOTHING), LIGHT)
        views = [view(canvas) for view in OVER_STEPS]
        for view in views:
            view.hidden = set(HIDDEN.get(view.key, ()))
            view.absent = {curve.legend for curve in view.curves if curve.when is not None}  # until a run says otherwise
            view.show(FLOWS)
        super().__init__(canvas, views)
        self.axis.span = "all"
        self.shelf = shelf
        self.runs = RunList(self._on_runs)
        self.status = Status(self._on_status)
        self.differences = Differences(lambda _: None)
        self.entries: tuple[Entry, ...] | None = None  # not known yet
        self.flows = list(FLOWS)
        self.slots: list[str | None] = [None] * len(COLORS)  # the names of the runs, by their colours
        self.picked: dict[str, Picked] = {}  # those of them that are read
        self._looked, self._looking = 0.0, False
        self._seen: tuple[Any, Any] = (None, None)  # ends of the horizontal axis, as drawn last
        self._drawn_at = 0.0
        self._show()

    @property
    def components(self) -> dict[str, Component]:
        return super().components | {"runs": self.runs, "status": self.status, "differences": self.differences}

    def pick(self, names: Iterable[str]) -> None:
        """Lay these runs over those that are there already."""
        for name in names:
            if name in self.slots:
                continue
            self._stale = True
            if None not in self.slots:
                self.error = f"At most {len(COLORS)} runs are laid over one another: untick one first."
                return
            self.slots[self.slots.index(None)] = name
            self._do(self._read(name))

    def drop(self, name: str) -> None:
        """Take a run away again."""
        if name in self.slots:
            self.slots[self.slots.index(name)] = None
            self.picked.pop(name, None)
            self._stale = True

    def tick(self) -> None:
        now = time.monotonic()
        if not self._looking and now - self._looked > LOOK_SECONDS:
            self._looked, self._looking = now, True
            self._do(self._look())
        steps = self.canvas.steps
        moved = (steps.start, steps.end) != self._seen and now - self._drawn_at > REDRAW_SECONDS
        if self._stale or moved:
            self._draw()
            self._seen, self._drawn_at = (steps.start, steps.end), now
            self._show()

    # -- inside -------------------------------------------------------------------------------------------------------------------
    async def _look(self) -> None:
        """See what lies on the shelf; read again what grew, and let go what is gone."""
        try:
            entries = await asyncio.to_thread(self.shelf.entries)
        finally:
            self._looking = False
        if entries != self.entries:
            self.entries, self._stale = entries, True
        found = {entry.name: entry for entry in entries}
        for name in [name for name in self.slots if name is not None]:
            if name not in found:
                self.drop(name)
            elif name in self.picked and self.picked[name].entry != found[name]:
                await self._read(name)

    async def _read(self, name: str) -> None:
        try:
            picked = await asyncio.to_thread(self._opened, name)
        except Exception:
            self.drop(name)
            raise
        if name in self.slots:  # else it was unticked meanwhile
            self.picked[name], self._stale = picked, True
            self.error = picked.stored.lacks or self.error

    def _opened(self, name: str) -> Picked:
        stored = self.shelf.open(name)
        entry = next((entry for entry in self.shelf.entries() if entry.name == name), Entry(name))
        return Picked(entry, stored, Run.open(stored.path).summary())

    def _draw(self) -> None:
        readings: dict[int, Reading] = {}
        for slot, name in enumerate(self.slots):
            picked = self.picked.get(name) if name else None
            if picked is not None:
                readings[slot] = Reading(picked.stored.history, picked.stored.config, self._options())
        if readings:
            self.axis.update(*readings.values())
        with at_once(self.views[0].figure):
            for slot in readings:
                self._add(slot)
        for slot in range(len(self.slots)):
            if slot in readings:
                self.canvas.layer(slot).update(readings[slot], self.axis.window)
            elif slot < len(self.canvas.tables):
                self.canvas.layer(slot).clear()
        marks = [texts.changes_to_mark(reading, self.canvas.steps.start, self.canvas.steps.end) for reading in readings.values()]
        self._mark({key: [value for mark in marks for value in mark[key]] for key in self.canvas.marks.data})
        for view in self.views:
            if readings:
                first, *others = readings.values()
                view.refresh(first, self.axis.follows(view), *others)
            notes = [f"{picked.entry.label}: {note}" for slot, picked in self._in_order() if (note := view.note(readings[slot]))]
            self._show_legend(view, notes[0] if notes else "")
        self._stale = False

    def _add(self, slot: int) -> None:
        """Be ready to draw a slot, and let the pointer read the name of its run."""
        label = self.picked[self.slots[slot] or ""].entry.label
        for view in self.views:
            view.add_layer(slot)
            for curve, renderer in zip(view.curves, view.layers[slot], strict=True):
                if renderer.name != (name := f"{label} · {curve.label}"):
                    renderer.name = name

    def _in_order(self) -> list[tuple[int, Picked]]:
        return [(slot, self.picked[name]) for slot, name in enumerate(self.slots) if name is not None and name in self.picked]

    def _show(self) -> None:
        compared = [
            Compared(picked.entry.name, picked.entry.label, COLORS[slot], picked.stored.config, picked.summary)
            for slot, picked in self._in_order()
        ]
        waiting = [name.removesuffix(ENDING) for name in self.slots if name is not None and name not in self.picked]
        said = f"Reading {', '.join(waiting)}." if waiting else sentence(compared)
        if self.entries == ():
            said = "No run is kept yet: press Keep on Explore, or run `cflows run --out " + f"{self.shelf.folder}/first.zarr`."
        self.status.show(status="Compare", sentence=said, notes=[], problem=self.error, step=None)
        self._show_viewbar()
        heads = [{"label": run.label, "color": run.color} for run in compared]
        self.differences.show(heads=heads, groups=table(compared) if compared else [])
        self.runs.show(
            folder=str(self.shelf.folder),
            known=self.entries is not None,
            entries=[self._entry(entry) for entry in self.entries or ()],
            most=len(self.slots),
            flows=[self._flow(flow) for flow in FLOW_NAMES],
            picked=[name for name in self.slots if name is not None],
        )

    def _entry(self, entry: Entry) -> dict[str, Any]:
        return {
            "name": entry.name,
            "label": entry.label,
            "about": "" if entry.config is None else in_words(entry.config),
            "steps": entry.rows,
            "when": entry.created[:16].replace("T", " "),
            "size": entry.size,
            "problem": entry.problem,
            "color": COLORS[self.slots.index(entry.name)] if entry.name in self.slots else None,
        }

    def _flow(self, flow: str) -> dict[str, Any]:
        stroke = self.canvas.tint(STROKES[flow], None)
        return {"value": flow, "label": FLOW_LABELS[flow], "color": stroke.color, "dash": list(stroke.dash), "on": flow in self.flows}

    def _on_runs(self, message: dict[str, Any]) -> None:
        actions: dict[str, Callable[[str], None]] = {"pick": lambda name: self.pick([name]), "drop": self.drop, "delete": self._delete}
        for action, act in actions.items():
            if action in message:
                act(str(message[action]))
        if "flows" in message:
            self.flows = [flow for flow in FLOW_NAMES if flow in message["flows"]]
            for view in self.views:
                view.show(self.flows)
                view.fit_again()
        self._stale = True

    def _delete(self, name: str) -> None:
        async def delete() -> None:
            await asyncio.to_thread(self.shelf.delete, name)
            self.drop(name)
            await self._look()

        self._do(delete())

    def _on_status(self, _: dict[str, Any]) -> None:
        self.error, self._stale = "", True
