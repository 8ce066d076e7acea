"""What all panels share: the figure's style, curves with their legend, marks of changes, and what the pointer reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bokeh.events import RangesUpdate
from bokeh.models import GlyphRenderer, HoverTool
from bokeh.plotting import figure

from cflows_app.glossary import term_of
from cflows_app.streaming import Column, Reading
from cflows_app.views.canvas import Canvas, at_once, render_all
from cflows_app.views.limits import DECADES, Limits, use_scale
from cflows_core.palette import Stroke

LOG_OR_LINEAR = {"log": "log", "linear": "linear"}
LINEAR_OR_LOG = {"linear": "linear", "log": "log"}

_POINTER = """
<div style="font: 12px/1.35 system-ui, sans-serif; font-variant-numeric: tabular-nums">
  <b>$name</b><br>$snap_y{%.4g}&ensp;<span style="opacity: .7">step @step{0}</span>
</div>"""


@dataclass(frozen=True)
class Curve:
    """A curve over the steps.

    legend: the entry that shows and hides it. label: what the pointer reads. flow: hidden together with that flow.
    anchor: the vertical limits follow it; a curve that is no anchor may leave the plot. when: it and its entry are absent otherwise.
    """

    column: Column
    legend: str
    label: str
    flow: str
    stroke: Stroke
    anchor: bool = True
    when: Callable[[Reading], bool] | None = None


class View(ABC):
    """A panel: a title, a line on what it shows, a figure that is built once, a legend, and the choices it offers.

    options: option -> {value: label}; the first value is the default. choices: option -> value. hidden: legend entries switched off.
    absent: those that the present choices, or what the run observes, leave without a curve.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    caption: ClassVar[str]
    about_fact: ClassVar[str] = ""  # what `fact` is, at greater length
    options: ClassVar[dict[str, dict[str, str]]] = {}

    def __init__(self) -> None:
        self.choices = {name: next(iter(values)) for name, values in self.options.items()}
        self.hidden: set[str] = set()
        self.absent: set[str] = set()
        self.entries: dict[str, tuple[str, Stroke]] = {}  # legend entry -> flow, stroke
        self.drawn: list[tuple[str, str, GlyphRenderer]] = []  # legend entry, flow, renderer
        self.flows: tuple[str, ...] = ()
        self.former: Reading | None = None  # of the version that was forked, for a panel that does not draw the page's table
        self.figure = self.build()

    @abstractmethod
    def build(self) -> figure:
        """The figure, with everything that it will ever draw."""

    @abstractmethod
    def refresh(self, reading: Reading, following: bool) -> None:
        """Bring figure and limits up to date after the history grew; `following`: the visitor has not chosen limits of their own."""

    @abstractmethod
    def fit_again(self) -> None:
        """Fit the limits tightly at the next refresh."""

    @abstractmethod
    def moved(self, event: RangesUpdate) -> bool:
        """Whether the visitor has moved this figure away from the limits that it was given."""

    def note(self, reading: Reading) -> str:
        """One sentence in place of what is not drawn, or ""."""
        return ""

    def fact(self, reading: Reading) -> str:
        """A measured fact to stand beside the legend, or ""."""
        return ""

    def draw(self, legend: str, flow: str, stroke: Stroke, renderer: GlyphRenderer) -> GlyphRenderer:
        """Register a renderer under its legend entry; `page.js` gives it the theme's colour by its tag."""
        if not renderer.tags:
            renderer.tags = [f"color:{stroke.color}"]
        self.entries.setdefault(legend, (flow, stroke))
        self.drawn.append((legend, flow, renderer))
        return renderer

    def show(self, flows: Sequence[str]) -> None:
        """Draw what belongs to `flows` and is not switched off in the legend."""
        self.flows = tuple(flows)
        for legend, flow, renderer in self.drawn:
            renderer.visible = flow in self.flows and legend not in self.hidden | self.absent

    def add_layer(self, at: int) -> None:
        """Be ready to draw a layer of the canvas as well; a panel that shows one moment does not."""
        return

    def toggle(self, legend: str) -> None:
        """Hide a legend's entry, or show it again."""
        self.hidden ^= {legend}
        self.show(self.flows)

    @property
    def legend(self) -> list[dict[str, Any]]:
        """The legend for the page: entries of the flows that are shown."""
        return [
            {
                "label": label,
                "term": term_of(self.key, label),
                "color": stroke.color,
                "dash": list(stroke.dash),
                "width": stroke.width,
                "on": label not in self.hidden,
            }
            for label, (flow, stroke) in self.entries.items()
            if flow in self.flows and label not in self.absent
        ]

    @property
    def offers(self) -> list[dict[str, Any]]:
        """The choices for the page."""
        return [
            {
                "name": name,
                "label": f"{self.title}: {name}",
                "values": [[value, text, term_of(self.key, f"{name}.{value}")] for value, text in values.items()],
                "value": self.choices[name],
            }
            for name, values in self.options.items()
        ]

    def choose(self, option: str, value: str) -> None:
        """Take a choice that the panel offers."""
        self.choices[option] = value


class StepView(View):
    """A panel over the steps: curves of the page's table."""

    y_label: ClassVar[str]
    floor: ClassVar[float | None] = None  # a value that linear limits always reach
    decades: ClassVar[float] = DECADES  # that logarithmic limits reach down from the highest value, at most

    def __init__(self, canvas: Canvas):
        self.canvas = canvas
        self.curves = tuple(self.make_curves())
        self.layers: list[list[GlyphRenderer]] = []  # a layer's renderers, in the order of the curves
        super().__init__()
        self.limits = Limits(self.figure.y_range, floor=self.floor, decades=self.decades)
        self._rescale()

    @abstractmethod
    def make_curves(self) -> Sequence[Curve]:
        """The curves, in the order in which they are drawn."""

    def build(self) -> figure:
        plot = self.canvas.figure(self.key, self.y_label)
        self.pointer = HoverTool(
            renderers=[],
            tooltips=_POINTER,
            formatters={"$snap_y": "printf"},
            line_policy="nearest",
            point_policy="snap_to_data",
            visible=False,
        )
        for curve in self.curves:
            self.canvas.table.add(curve.column)
            self.entries.setdefault(curve.legend, (curve.flow, self.canvas.tint(curve.stroke, None)))
        self._draw_layer(plot, 0)
        plot.add_tools(self.pointer)
        self.canvas.mark(plot)
        return plot

    def add_layer(self, at: int) -> None:
        if len(self.layers) <= at:
            with at_once(self.figure):
                for layer in range(len(self.layers), at + 1):
                    self._draw_layer(self.figure, layer)

    def _draw_layer(self, plot: figure, at: int) -> None:
        strokes = [self.canvas.tint(curve.stroke, at) for curve in self.curves]
        leads = self.canvas.leads(at)
        lines = []
        for curve, stroke in zip(self.curves, strokes, strict=True):
            line = self.canvas.line(stroke, curve.column.name)
            visible = curve.flow in self.flows and curve.legend not in self.hidden | self.absent
            known = {"name": curve.label, "tags": [f"color:{stroke.color}"], "visible": visible}
            lines.append((line, known | {"level": "glyph" if leads else "underlay"}))
        renderers = render_all(plot, self.canvas.layer(at).source, lines)
        for curve, stroke, renderer in zip(self.curves, strokes, renderers, strict=True):
            self.draw(curve.legend, curve.flow, stroke, renderer)
        self.layers.append(renderers)
        if leads:
            self.pointer.renderers = [*self.pointer.renderers, *renderers]  # type: ignore[list-item, misc]

    def choose(self, option: str, value: str) -> None:
        super().choose(option, value)
        self.limits.forget()

    def fit_again(self) -> None:
        self.limits.forget()

    def moved(self, event: RangesUpdate) -> bool:
        return not self.limits.given(event.y0, event.y1)

    def refresh(self, reading: Reading, following: bool, *others: Reading) -> None:
        readings = (reading, *others)
        absent = {curve.legend for curve in self.curves if curve.when is not None and not any(map(curve.when, readings))}
        if absent != self.absent:
            self.absent = absent
            self.show(self.flows)
        # Together with the limits that fit: the browser would draw the other scale with limits that do not, first.
        rescaled = self.limits.scale != self._scale
        if rescaled:
            self._rescale()
        if following or rescaled:
            self.limits.fit(*self._visible_values())

    @property
    def _scale(self) -> str:
        return self.choices.get("scale", "linear")

    def _rescale(self) -> None:
        self.limits.rescale(self._scale)
        use_scale(self.figure, self._scale)

    def _visible_values(self) -> tuple[list[Any], list[Any]]:
        """Columns of the visible curves within the step axis: those that the limits follow, and the others."""
        anchors: list[Any] = []
        others: list[Any] = []
        for at, renderers in enumerate(self.layers):
            if not self.canvas.leads(at):
                continue
            data, inside = self.canvas.tables[at].source.data, self.canvas.inside(at)
            for curve, renderer in zip(self.curves, renderers, strict=True):
                if renderer.visible:
                    (anchors if curve.anchor else others).append(data[curve.column.name][inside])
        return anchors, others
