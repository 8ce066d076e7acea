"""Runs as plots, for notebooks: the panels of panels.py drawn by HoloViews, and `watch`, which moves them while a simulation runs.

Needs holoviews with its Bokeh backend (`pip install 'cflows[app]'`); a notebook begins with `hv.extension("bokeh", inline=True)`, so
that it asks no other host. Colours and dash patterns are the dashboard's (palette.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cflows_core import panels
from cflows_core.config import RunConfig
from cflows_core.history import History
from cflows_core.palette import LIGHT
from cflows_core.panels import Curve, Panel
from cflows_core.screen import Screen
from cflows_core.simulation import Simulation

if TYPE_CHECKING:
    import holoviews as hv

    from cflows_core.store import Run

WIDTH, HEIGHT = 480, 260  # pixels

Plot = Callable[["Run"], "hv.Overlay"]

_FILE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ max-width: 1480px; margin: 32px auto; padding: 0 20px; font: 15px/1.5 system-ui, sans-serif; color: #1f2328; }}
h1 {{ font-size: 24px; line-height: 1.25; }}
p, li {{ max-width: 100ch; }}
</style>
{library}
<h1>{title}</h1>
{words}
{place}
{script}
</html>
"""


def loss(run: Run) -> hv.Overlay:
    """`panels.loss`, drawn."""
    return draw(panels.loss(run))


def eigenvalues(run: Run, raw: bool = False) -> hv.Overlay:
    """`panels.eigenvalues`, drawn."""
    return draw(panels.eigenvalues(run, raw))


def covariance(run: Run) -> hv.Overlay:
    """`panels.covariance`, drawn."""
    return draw(panels.covariance(run))


def distance(run: Run) -> hv.Overlay:
    """`panels.distance`, drawn."""
    return draw(panels.distance(run))


def series(name: str, *flows: str, log: bool = False) -> Plot:
    """`panels.series`, drawn. Raises ConfigError for a name that is no series."""
    panel = panels.series(name, *flows, log=log)
    return lambda run: draw(panel(run))


def curves(
    lines: Mapping[str, tuple[Any, Any]], title: str = "", x: str = "step", y: str = "", log: str = "", levels: Sequence[float] = ()
) -> hv.Overlay:
    """`panels.curves`, drawn: curves of your own, label -> (xs, ys), in the style of the others."""
    return draw(panels.curves(lines, title, x, y, log, levels))


def show(*plots: hv.Element | hv.Overlay, columns: int = 2) -> None:
    """Show plots that stand still in a notebook, side by side, without asking another host for styles as HoloViews does."""
    Screen(*[lambda _, plot=plot: plot for plot in plots], data=None, columns=columns)


def watch(simulation: Simulation | RunConfig, *plots: Plot, steps: int | None = None) -> Run:
    """Run a simulation, `steps` steps or to its end, while plots of it move; the run, in memory.

    simulation: one that has not begun, or a configuration. plots: functions of a run, such as those of this module; loss and eigenvalues
    if none is named. Without IPython nothing is displayed.
    """
    if isinstance(simulation, RunConfig):
        simulation = Simulation(simulation)
    history = History()
    screen = Screen(*(plots or (loss, eigenvalues)), data=_run(history, simulation))
    for frame in islice(simulation, steps):
        history.append([frame])
        if screen.ready:
            screen.send(_run(history, simulation))
    run = _run(history, simulation)
    screen.send(run)
    return run


def draw(panel: Panel) -> hv.Overlay:
    """A panel as a HoloViews overlay."""
    import holoviews as hv

    options: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "xlabel": panel.x,
        "ylabel": panel.y,
        "title": panel.title,
        "legend_position": "right",
        "legend_opts": {
            "border_line_alpha": 0,
            "label_text_font_size": "8pt",
            "spacing": 0,
            "padding": 2,
            "margin": 4,
            "location": "top_left",
        },
        "shared_axes": False,
        "show_grid": True,
        "toolbar": "above",
        "logx": "x" in panel.log,
        "logy": "y" in panel.log,
    }
    if "x" in panel.log:
        from bokeh.models import LogTicker

        options["xticks"] = LogTicker(mantissas=[1, 3])  # more labels than these lie on one another
    # Limits are shared by what has the same name: a panel's own is its title.
    name = panel.title or panel.y or "value"
    return _styled(hv.Overlay([_drawn(curve).redim(value=name) for curve in panel.curves]), options)


def save(drawn: Sequence[Panel], path: Path, title: str, words: str, columns: int = 3) -> None:
    """Panels side by side in one HTML file that needs nothing else; `words`: HTML that stands above them. Raises OSError."""
    import holoviews as hv
    from bokeh.embed import components
    from bokeh.layouts import gridplot
    from bokeh.resources import Resources

    hv.extension("bokeh")
    plots = [hv.render(draw(panel), backend="bokeh") for panel in drawn]
    script, place = components(gridplot(plots, ncols=columns))
    library = "".join(f"<script>{code}</script>" for code in Resources(mode="inline", components=["bokeh"]).js_raw)
    path.write_text(_FILE.format(title=escape(title), words=words, library=library, script=script, place=place), encoding="utf-8")


# -- inside -----------------------------------------------------------------------------------------------------------------------
def _run(history: History, simulation: Simulation) -> Run:
    from cflows_core.store.export import recorded

    return recorded(history, simulation.config, {})


def _drawn(curve: Curve) -> hv.Curve:
    import holoviews as hv

    options: dict[str, Any] = {
        "color": LIGHT[curve.stroke.color],
        "line_width": curve.stroke.width,
        "line_dash": list(curve.stroke.dash),
        "line_alpha": curve.stroke.alpha,
    }
    return _styled(hv.Curve((curve.xs, curve.ys), "step", "value", label=curve.label), options | {"show_legend": bool(curve.label)})


def _styled(element: Any, options: dict[str, Any]) -> Any:
    return element.opts(**options, backend="bokeh")
