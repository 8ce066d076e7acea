"""`Screen`: HoloViews plots in a notebook that move while a cell runs, whatever the page is doing.

HoloViews' own channel to the page loses what is sent before the page has drawn the plot, and plots below the fold stay empty. Here a cell
has two outputs: the plots as they were at first, and everything that has changed since, which is replaced at each redraw. So the page can
come late, leave updates out, or be opened again from the file: what it applies last is the newest. Nothing is sent back, and nothing is
asked of another host.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.document.events import DocumentChangedEvent

REDRAW_SECONDS = 0.25
SHARE = 0.2  # of the time may go into drawing
BYTES_PER_SECOND = 3e5  # to the page; Jupyter drops what exceeds a million

# Bokeh is there once the output of hv.extension has run.
_EMBED = """
const item = %s;
const place = document.createElement("div");
element.append(place);
const embed = () => window.Bokeh?.embed ? Bokeh.embed.embed_item(item, place) : setTimeout(embed, 50);
embed();
"""
# `patch` leads from the plots as embedded to the newest ones; an older one that still waits for them gives up.
_PATCH = """
const [root, serial, patch] = %s;
const newest = (window.cflows_screens ??= {});
newest[root] = serial;
const apply = () => {
  if (newest[root] !== serial) return;
  const shown = (window.Bokeh?.documents ?? []).find((one) => one.get_model_by_id(root) && one.views_manager?.get_by_id(root));
  if (shown) shown.apply_json_patch(patch);
  else setTimeout(apply, 50);
};
apply();
"""


class Screen:
    """Plots that `send` draws anew from new data.

    plots: functions from the data to a HoloViews element, overlay or layout with the same curves every time. Without IPython nothing is
    drawn. `ready` says when it is time to send again: as often as leaves most of the time to what is computed.

    >>> screen = Screen(lambda numbers: hv.Curve(numbers), data=[0.0])  # doctest: +SKIP
    >>> if screen.ready: screen.send([0.0, 1.0])  # doctest: +SKIP
    """

    def __init__(self, *plots: Callable[[Any], Any], data: Any, columns: int = 2):
        self._drawn, self._pause, self._serial = time.monotonic(), REDRAW_SECONDS, 0
        self._changes: dict[tuple[str, str], DocumentChangedEvent] = {}
        self._show: Callable[[str], None] | None = None
        if not in_notebook():
            return
        import bokeh.models
        import holoviews as hv
        from bokeh.document import Document
        from bokeh.embed import json_item
        from holoviews.streams import Pipe

        self._pipe = Pipe(data=data)
        maps = [hv.DynamicMap(_of(plot), streams=[self._pipe]) for plot in plots]
        # The plot object is what follows the pipe, so it is kept.
        self._plot = hv.renderer("bokeh").get_plot(hv.Layout(maps).cols(columns) if len(maps) > 1 else maps[0])
        document = Document()
        document.add_root(self._plot.state)
        for figure in self._plot.state.select({"type": bokeh.models.Plot}):
            # Limits that follow the data by themselves, in the page: HoloViews' stay what they were at first.
            figure.x_range, figure.y_range = bokeh.models.DataRange1d(range_padding=0), bokeh.models.DataRange1d()
        first = _EMBED % json.dumps(json_item(self._plot.state))
        self._embedded = set(document.models)
        document.on_change(self._changed)
        published(first)
        self._show = published(self._newest())

    @property
    def ready(self) -> bool:
        return time.monotonic() - self._drawn > self._pause

    def send(self, data: Any) -> None:
        """Draw the plots of `data` in place of the former ones."""
        if self._show is None:
            return
        begin = time.monotonic()
        self._pipe.send(data)
        code = self._newest()
        self._show(code)
        self._drawn = time.monotonic()
        self._pause = max(REDRAW_SECONDS, (self._drawn - begin) * (1 / SHARE - 1), len(code) / BYTES_PER_SECOND)

    def _changed(self, event: Any) -> None:
        """Keep the last change of each attribute of each model."""
        if hasattr(event, "model") and hasattr(event, "attr"):
            self._changes[event.model.id, event.attr] = event

    def _newest(self) -> str:
        from bokeh.core.serialization import Serializer

        self._serial += 1
        serializer = Serializer(references=self._embedded, deferred=False)
        events = [serializer.encode(event) for event in self._changes.values()]
        return _PATCH % json.dumps([self._plot.state.id, self._serial, {"events": events}])


def in_notebook() -> bool:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def published(code: str) -> Callable[[str], None]:
    """Show a cell output that is JavaScript; what is returned replaces it."""
    from IPython.core.display import Javascript
    from IPython.core.display_functions import DisplayHandle

    handle = DisplayHandle()
    handle.display(Javascript(code))
    return lambda newer: handle.update(Javascript(newer))


def _of(plot: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda data: plot(data)
