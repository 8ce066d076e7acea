"""*Toy lab*: the simplest losses on which an optimizer meets its edge of stability, everything beside its closed form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import param
from bokeh.events import Tap

from cflows_app.components import Component, Expectations, Player, Status, ToyForm
from cflows_app.pages.page import SMOOTHING, Page
from cflows_app.streaming import Table
from cflows_app.toylab import form, results, setting, words
from cflows_app.toylab.board import Board
from cflows_app.toylab.circle import CircleView
from cflows_app.toylab.landscape import LandscapeView
from cflows_app.toylab.lane import Lane
from cflows_app.toylab.orbit import OrbitView
from cflows_app.toylab.over_steps import EdgeView, PositionView
from cflows_app.toylab.results import Diagram, Scene
from cflows_app.toylab.setting import FIELDS, Setting
from cflows_core.errors import ConfigError
from cflows_core.palette import LIGHT
from cflows_core.written import number

Request = tuple[Setting, tuple[str, ...]]


class ToyLabPage(Page):
    """The page's parts, and what brings them up to date.

    setting: what the visitor chose. scene: the newest walk. moment: the step that is shown. Three lanes compute side by side: the walk
    alone at once, its flows a moment later, the orbit diagram after that.
    """

    name = "Toy lab"
    description = "One- and two-dimensional losses on which nine optimizers meet their edge of stability, beside the closed forms."

    def __init__(self) -> None:
        canvas = Board(Table(SMOOTHING), LIGHT)
        self.landscape, self.orbit = LandscapeView(canvas), OrbitView(canvas)
        self.position, self.edge, self.circle = PositionView(canvas), EdgeView(canvas), CircleView(canvas)
        super().__init__(canvas, [self.landscape, self.orbit, self.position, self.edge, self.circle])
        self.form = ToyForm(self._on_form, spec=form.specification())
        self.player = Player(self._on_player)
        self.status = Status(self._on_status)
        self.table = Expectations(lambda _: None)
        self.setting = setting.FIRST
        self.errors: dict[str, str] = {}  # field -> what was wrong with what was typed
        self.scene: Scene | None = None
        self.over_lr: Diagram | None = None  # the diagram over η, from which the buttons know where to go
        self.moment, self._number = 0, 0
        turn = asyncio.Lock()  # walk and diagram do not wait for what takes long
        self._walks, self._flows, self._tables = Lane(results.walked), Lane(results.followed, turn), Lane(results.expected, turn)
        self._diagrams: Lane[Request, Diagram] = Lane(results.diagram)
        self._rows: tuple[Setting, list[dict[str, Any]]] | None = None
        self._asked: Request | None = None
        self.orbit.figure.on_event(Tap, self._on_tap)
        self.change(self.setting)

    @property
    def components(self) -> dict[str, Component]:
        parts = {name: part for name, part in super().components.items() if part is not self.viewbar}
        return parts | {"toyform": self.form, "player": self.player, "status": self.status, "expectations": self.table}

    # -- what the visitor asks for ------------------------------------------------------------------------------------------------
    def open(self, arguments: Mapping[str, Sequence[bytes]]) -> None:
        """Show what an address asks for."""
        asked, problems = setting.read(arguments)
        self.change(asked)
        self.error = " ".join(problems)

    def change(self, new: Setting) -> None:
        """Show another setting."""
        self.setting, self._stale = new, True
        self._walks.ask(new)
        self._flows.ask(new)
        self._tables.ask(new)
        self._ask_diagram()

    def edit(self, name: str, value: str) -> None:
        """Change a field to what was typed; what it cannot take becomes a sentence beside it."""
        if name not in FIELDS:
            return
        self._stale = True
        try:
            typed = number(value) if isinstance(FIELDS[name], param.Number) else value
            new = self.setting.changed(name, typed)
        except ConfigError as problem:
            self.errors[name] = str(problem)
        else:
            self.errors.pop(name, None)
            self.change(new)

    # -- drawing ------------------------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        self._work()
        if not self._stale:
            return
        self._stale = False
        if self.orbit.diagram is not None:
            self.orbit.mark({name: getattr(self.setting, name) for name in self.orbit.diagram.over})
        self._show()

    def _work(self) -> None:
        """Take what was computed, and let the lanes compute what is wanted."""
        lanes: tuple[tuple[Lane[Any, Any], Callable[[Any, Any], None]], ...] = (
            (self._walks, self._take),
            (self._diagrams, self._take_diagram),
            (self._flows, self._take),
            (self._tables, self._take_table),
        )
        for lane, take in lanes:
            while lane.done:
                take(*lane.done.pop(0))
            if lane.waits:
                self._do(lane.work())

    def _take(self, asked: Setting, scene: Scene) -> None:
        """Draw a walk, unless one that knows more of the same setting is drawn."""
        former = self.scene
        if former is not None and former.setting == asked and former.flows and not scene.flows:
            return
        another = former is None or former.setting != asked
        at_end = former is None or self.moment >= former.last
        self.scene, self._stale = scene, True
        self._number += another
        self.moment = scene.last if at_end else min(self.moment, scene.last)
        self.canvas.steps.update(start=-0.01 * scene.last, end=1.01 * max(1, scene.last))
        for view in (self.landscape, self.position, self.edge, self.circle):
            view.take(scene)
        self.look(self.moment)

    def look(self, moment: int) -> None:
        """Show a step of the walk."""
        if self.scene is not None:
            self.moment, self._stale = min(max(moment, 0), self.scene.last), True
            self.landscape.look(self.moment)
            self.circle.look(self.moment)
            self.canvas.look_back(float(self.moment))

    def _ask_diagram(self) -> None:
        """Ask for the diagram that is shown, and for that over η, if they are not there."""
        self.orbit.varied = self.setting.varied
        for over in dict.fromkeys([self.orbit.over, ("lr",)]):
            shown = self.over_lr if over == ("lr",) else self.orbit.diagram
            wanted = (results.general(self.setting, over), over)
            if shown is None or (shown.setting, shown.over) != wanted:
                self._diagrams.ask(wanted)
                return
        if self.orbit.over == ("lr",) and self.over_lr is not None and self.orbit.diagram is not self.over_lr:
            self.orbit.take(self.over_lr)

    def _take_diagram(self, _: Request, found: Diagram) -> None:
        if found.over == ("lr",):
            self.over_lr = found
        if found.over == self.orbit.over:
            self.orbit.take(found)
        self._stale = True
        self._ask_diagram()

    def _take_table(self, asked: Setting, rows: list[dict[str, Any]]) -> None:
        self._rows, self._stale = (asked, rows), True

    def _show(self) -> None:
        scene = self.scene
        known = self.over_lr if self.over_lr is not None and self.over_lr.setting == results.general(self.setting, ("lr",)) else None
        notes = [] if scene is None else [("remark", note) for note in words.notes(scene)]
        self.status.show(status="Toy lab", sentence=words.sentence(scene), notes=notes, problem=self.error, step=self.moment)
        self.form.show(**form.values(self.setting), errors=dict(self.errors), places=form.places(self.setting, known))
        self.player.show(last=0 if scene is None else scene.last, moment=self.moment, walk=self._number)
        rows = None if self._rows is None or self._rows[0] != self.setting else self._rows[1]
        note = words.MEASURING if rows is None else "" if rows else words.NO_FORMS
        self.table.show(rows=rows or [], note=note)
        wanted = (results.general(self.setting, self.orbit.over), self.orbit.over)
        current = self.orbit.diagram is not None and (self.orbit.diagram.setting, self.orbit.diagram.over) == wanted
        for view in self.views:
            self._show_legend(view, fact=results.cost(self.orbit.diagram if current else None) if view is self.orbit else "")

    # -- messages -----------------------------------------------------------------------------------------------------------------
    def _on_form(self, message: dict[str, Any]) -> None:
        self._stale = True  # each message is answered: the script waits for it
        if "edit" in message:
            self.edit(str(message["edit"]), str(message.get("value", "")))
        elif "go" in message:
            place = form.destination(str(message["go"]), self.setting, self.over_lr)
            if place is not None:
                self.edit("lr", repr(place))

    def _on_player(self, message: dict[str, Any]) -> None:
        self._stale = True
        self.look(int(min(max(message["moment"], 0), 1e9)))

    def _on_status(self, _: dict[str, Any]) -> None:
        self.error, self._stale = "", True

    def _on_legend(self, view: Any, message: dict[str, Any]) -> None:
        super()._on_legend(view, message)
        if view is self.orbit and "choose" in message:
            self._ask_diagram()

    def _on_tap(self, event: Tap) -> None:
        """A click on the diagram sets the value, on the map both values."""
        if self.orbit.diagram is None or event.x is None:
            return
        new = self.setting
        try:
            for name, value in zip(self.orbit.diagram.over, (event.x, event.y), strict=False):
                new = new.changed(name, float(f"{value:.4g}"))
        except ConfigError:
            return  # beside the axes
        self.change(new)
