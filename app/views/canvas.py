"""What the panels of one page have in common: the table, the step axis, the pointer's line, the marks of changes, the figure's style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from bokeh.models import (
    BoxZoomTool,
    CDSView,
    ColumnDataSource,
    CrosshairTool,
    CustomAction,
    CustomJS,
    Glyph,
    GlyphRenderer,
    Line,
    PanTool,
    Range1d,
    ResetTool,
    Span,
    Text,
    VSpan,
    WheelZoomTool,
)
from bokeh.plotting import figure

from cflows_app.streaming import Table
from cflows_app.theme import FONT
from cflows_app.views.limits import use_scale
from cflows_core.palette import Stroke

FORMER = 0.4  # opacity of the former version's curves


class Canvas:
    """Made once a page, before its views. palette: the colours in which it is drawn.

    tables: a table a layer, with the same columns: the run, and from a fork on the version that it was forked from.
    """

    def __init__(self, table: Table, palette: dict[str, str]):
        self.tables, self.palette = [table], palette
        self.steps = Range1d(0, 100, name="steps")
        self.frame = Range1d(0, 1)  # from the lower to the upper edge of every plot: where the marks' labels hang
        self.marks = ColumnDataSource({"x": [], "label": [], "align": [], "offset": []}, name="marks")
        self.pointer = Span(dimension="height", line_dash="dotted", line_width=1, line_color=palette["faint"])
        self.pointer.tags = ["color:faint"]
        self.moment = Span(dimension="height", line_width=1.5, line_color=palette["accent"], visible=False, location=0)
        self.moment.tags = ["color:accent"]

    @property
    def table(self) -> Table:
        """That of the first layer."""
        return self.tables[0]

    def layer(self, at: int) -> Table:
        """The table of a layer, made the first time that it is asked for."""
        while len(self.tables) <= at:
            table = Table(self.table.sigma, name=f"table-{len(self.tables)}")
            for column in self.table.columns.values():
                table.add(column)
            self.tables.append(table)
        return self.tables[at]

    def smooth(self, sigma: float) -> None:
        """Smooth all layers by `sigma` steps."""
        for table in self.tables:
            table.sigma = sigma

    def tint(self, stroke: Stroke, layer: int | None) -> Stroke:
        """How a layer draws a curve of this stroke; None: how the legend shows it. The former version is faint."""
        return replace(stroke, alpha=FORMER * stroke.alpha) if layer else stroke

    def leads(self, layer: int) -> bool:
        """Whether limits follow a layer, and the pointer reads it."""
        return layer == 0

    def inside(self, layer: int = 0) -> np.ndarray:
        """Which points of a layer lie within the horizontal axis, bool [points]."""
        places = np.asarray(self.tables[layer].source.data["x"])
        return (places >= self.steps.start) & (places <= self.steps.end)

    def figure(self, name: str, y_label: str) -> figure:
        """An empty plot over the steps; `name`: of its panel."""
        plot = figure(
            x_range=self.steps,
            y_range=Range1d(0, 1),
            tools=[
                PanTool(dimensions="width"),
                WheelZoomTool(dimensions="width"),
                BoxZoomTool(),
                ResetTool(),
                _save(name),
                CrosshairTool(overlay=self.pointer, visible=False),
            ],
            **_FIGURE,
        )
        plot.add_layout(self.moment)
        _style(plot, "step", y_label, self.palette)
        return plot

    def line(self, stroke: Stroke, y: str = "y", **properties: Any) -> Line:
        """A line of this stroke through the columns x and `y`."""
        return Line(
            x="x",
            y=y,
            line_color=self.palette[stroke.color],
            line_width=stroke.width,
            line_dash=list(stroke.dash),
            line_alpha=stroke.alpha,
            line_join="bevel",
            **properties,
        )

    def look_back(self, place: float | None) -> None:
        """Mark where the visitor looks back at on all plots over the steps; None: nowhere."""
        if place is None:
            self.moment.visible = False
        else:
            self.moment.update(location=place, visible=True)

    def plane(self, name: str, x_label: str, y_label: str) -> figure:
        """An empty plot of two directions."""
        plot = figure(
            x_range=Range1d(-1, 1),
            y_range=Range1d(-1, 1),
            tools=[PanTool(), WheelZoomTool(), ResetTool(), _save(name)],
            **_FIGURE,
        )
        _style(plot, x_label, y_label, self.palette)
        use_scale(plot, "linear")
        plot.xaxis.formatter = plot.yaxis[0].formatter
        plot.xaxis.ticker.desired_num_ticks = plot.yaxis.ticker.desired_num_ticks = 5
        return plot

    def mark(self, plot: figure) -> None:
        """Draw the vertical lines of changes, with their labels, on a plot over the steps."""
        color = self.palette["mark"]
        plot.extra_y_ranges = {"frame": self.frame}
        line = VSpan(x="x", line_color=color)
        text = Text(
            x="x",
            y=1,
            text="label",
            text_color=color,
            text_font={"value": FONT},
            text_font_size="11px",
            text_baseline="top",
            text_align="align",
            x_offset="offset",
        )
        render(plot, self.marks, line, level="underlay", tags=["color:mark"])
        render(plot, self.marks, text, y_range_name="frame", tags=["color:mark"])

    def paint(self, palette: dict[str, str], plots: Sequence[figure]) -> None:
        """Give all that carries a colour's name in its tags that colour of the palette."""
        self.palette = palette
        self.pointer.line_color, self.moment.line_color = palette["faint"], palette["accent"]
        for plot in plots:
            for renderer in plot.renderers:
                color = palette[renderer.tags[0].removeprefix("color:")]
                glyph = renderer.glyph
                glyph.update(**{name: color for name in ("line_color", "fill_color", "text_color") if name in glyph.properties()})
            _color_axes(plot, palette)


def _save(panel: str) -> CustomAction:
    """A button that saves the panel as a picture, with title and legend (figure.js)."""
    return CustomAction(icon="save", description="Save as PNG", callback=CustomJS(code=f"cflowsSave('png', '{panel}')"))


def at_once(plot: figure) -> AbstractContextManager[None]:
    """Make many changes to a page that is open already: each would cost a look at all its models, these cost one together."""
    return nullcontext() if plot.document is None else plot.document.models.freeze()


def render(plot: figure, source: ColumnDataSource, glyph: Glyph, **properties: Any) -> GlyphRenderer:
    """Draw a glyph."""
    return render_all(plot, source, [(glyph, properties)])[0]


def render_all(plot: figure, source: ColumnDataSource, glyphs: Iterable[tuple[Glyph, dict[str, Any]]]) -> list[GlyphRenderer]:
    """Draw glyphs, each with its renderer's properties.

    They lack the copies for selected, unselected and muted points that nothing here uses: a page opens twice as fast.
    """
    view = next((other.view for other in plot.renderers if other.data_source is source), None) or CDSView()
    plain = {"selection_glyph": None, "nonselection_glyph": None, "muted_glyph": None}
    renderers = [GlyphRenderer(data_source=source, view=view, glyph=glyph, **plain, **properties) for glyph, properties in glyphs]
    plot.renderers.extend(renderers)
    return renderers


_FIGURE: dict[str, Any] = {
    "sizing_mode": "stretch_both",
    "min_height": 120,
    "active_scroll": None,
    "toolbar_location": "above",
    "toolbar_inner": True,
    "outline_line_color": None,
    "min_border": 0,
    "min_border_left": 66,  # frames of one column stand in line
    "min_border_right": 8,
    "lod_threshold": None,
}


def _style(plot: figure, x_label: str, y_label: str, palette: dict[str, str]) -> None:
    """Quiet axes: small type, no minor ticks, rules rather than frames."""
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.toolbar.stylesheets = [":host(.bk-inner) { background-color: var(--card); opacity: 0.9; --icon-color: var(--muted); }"]
    plot.xaxis.axis_label, plot.yaxis.axis_label = x_label, y_label
    for axis in plot.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
        axis.major_tick_in, axis.major_tick_out = 0, 4
        axis.axis_label_standoff, axis.major_label_standoff = 5, 4
    plot.xaxis.ticker.desired_num_ticks = 7
    plot.yaxis.ticker.desired_num_ticks = 5
    plot.xgrid.visible = False
    _color_axes(plot, palette)


def _color_axes(plot: figure, palette: dict[str, str]) -> None:
    plot.background_fill_color = plot.border_fill_color = palette["card"]
    for axis in plot.axis:
        axis.axis_label_text_color = axis.major_label_text_color = palette["muted"]
        axis.axis_line_color = axis.major_tick_line_color = palette["rule"]
    plot.grid.grid_line_color = palette["grid"]
