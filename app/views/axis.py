"""The step axis that all panels share: it follows the newest step until the visitor pans or zooms, then keeps their view."""

from __future__ import annotations

from collections.abc import Sequence

from bokeh.events import RangesUpdate, Reset

from cflows_app.streaming import Reading
from cflows_app.views.base import StepView, View
from cflows_app.views.canvas import Canvas

AHEAD = 0.02  # of the shown steps, left free for those to come
SHORTEST = 20  # steps
LAST = 500  # steps
LEAD = 0.08  # of the flows' steps, shown of the warm start before them
SPANS = {"all": "All", "flows": "Flows", "last": f"Last {LAST}"}
UNITS = {"step": "step", "time": "η · step"}  # the latter counts the optimizer's time, the sum of its step sizes


class StepAxis:
    """following: the newest step is in view. span: which steps are shown while following, one of `SPANS`. unit: one of `UNITS`."""

    def __init__(self, canvas: Canvas, views: Sequence[View]):
        self._canvas, self._views = canvas, views
        self._kept: set[str] = set()  # views whose vertical limits the visitor chose
        self.following = True
        self.span, self.unit = "flows", "step"
        self.fixed: tuple[int, int] | None = None  # the first and the last step shown, where that does not depend on the newest
        self._given: tuple[float, float] | None = None  # as set here last
        for view in views:
            view.figure.on_event(RangesUpdate, lambda event, view=view: self._moved(view, event))
            view.figure.on_event(Reset, lambda _: self.follow())

    def count(self, unit: str) -> None:
        """Let the axis count steps, or time."""
        self.unit = unit
        for view in self._views:
            if isinstance(view, StepView):
                view.figure.xaxis.axis_label = UNITS[unit]
        self.follow()

    @property
    def window(self) -> tuple[float, float] | None:
        """What of the axis is in view once the visitor chose it, or None."""
        return None if self.following else (float(self._canvas.steps.start), float(self._canvas.steps.end))

    def follows(self, view: View) -> bool:
        """Whether a view's vertical limits follow its data."""
        return view.key not in self._kept

    def follow(self) -> None:
        """Follow the newest step again, with limits that fit."""
        self.following, self._given = True, None
        self._kept.clear()
        for view in self._views:
            view.fit_again()

    def update(self, *readings: Reading) -> None:
        """Move the axis after the newest step of all."""
        now = (float(self._canvas.steps.start), float(self._canvas.steps.end))
        if self._given is not None and now != self._given:
            self.following = False  # the visitor moved it; the figure's own event may come later than this look
        if not self.following:
            return
        spans = [self._span(reading) for reading in readings]
        first, last = min(first for first, _ in spans), max(last for _, last in spans)
        start, end = first - AHEAD / 4 * (last - first), first + (1 + AHEAD) * (last - first)
        self._given = (start, end)
        if now != self._given:
            self._canvas.steps.update(start=start, end=end)

    def _span(self, reading: Reading) -> tuple[float, float]:
        """Where the steps to be shown of a run begin and end on the axis."""
        steps, warm_start = reading.history.steps, reading.config.warm_start
        first, newest = (int(steps[0]), int(steps[-1])) if len(steps) else (0, 100)
        if self.fixed is not None:
            first, newest = self.fixed
        elif self.span == "last":
            first = max(first, newest - LAST)
        elif self.span == "flows" and newest > warm_start:
            first = max(first, warm_start - int(LEAD * (newest - warm_start)) - SHORTEST // 2)
        first, last = reading.place([first, first + max(newest - first, SHORTEST)]).tolist()
        return first, last

    def _moved(self, view: View, event: RangesUpdate) -> None:
        # A box zoom moves the frame that the marks' labels hang from, too.
        self._canvas.frame.update(start=0, end=1)
        if isinstance(view, StepView):
            self.following = False
        if view.moved(event):
            self._kept.add(view.key)
