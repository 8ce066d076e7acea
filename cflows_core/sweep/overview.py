"""The overview of a sweep: a row of panels for each optimizer, a colour for each learning rate, after [CF] Figs. 23 and 32 to 34.

Any two axes may take these places. Each row shows the train loss with the average that the central flow predicts, the flow's distance to
the optimizer, and the top eigenvalue against the edge; the last row, what came out over the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cflows_core.errors import ConfigError, StoreError
from cflows_core.palette import STROKES, Stroke
from cflows_core.panels import BEYOND, Curve, Panel, hide_settling, nth, positive, threshold, within_sight
from cflows_core.store import Run
from cflows_core.sweep.grid import PRESET, label
from cflows_core.sweep.table import Table
from cflows_core.sweep.task import DIVERGED

OVERVIEW = "overview.html"
COLORS = ("central", "rod", "stable", "ablation", "stationary", "discrete")
MOST_ROWS = 9  # optimizers
MOST_POINTS = 1500  # of a curve
_FLOWS = ("central", "rod", "stable")  # the first that a run has is the one that is drawn
_PLACES = (("lr", "head_scale", "width"), ("optimizer", PRESET, "architecture"))  # what is looked for first, for colours and rows


def panels(table: Table, color: str = "", row: str = "") -> list[Panel]:
    """The overview's panels, three a row. color, row: swept fields; chosen if not given. Cases with the same pair: the first is drawn.

    Raises ConfigError for a field that is not swept.
    """
    color, row = _places(table, color, row)
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for case, entry in zip(table.sweep.cases, table.rows, strict=True):
        one = _text(case.values, row)
        groups.setdefault(one, {}).setdefault(_text(case.values, color), entry)
    drawn: list[Panel] = []
    for name, entries in list(groups.items())[:MOST_ROWS]:
        drawn += _row(table, name or table.sweep.name, color, _spread(entries))
    return drawn + _results(groups, color)


def save(table: Table, path: Path, color: str = "", row: str = "") -> Path:
    """The overview as one HTML file that needs nothing else; returns `path`. Raises ConfigError, StoreError."""
    drawn = panels(table, color, row)
    color, row = _places(table, color, row)
    if not drawn:
        raise ConfigError("No run has a step that could be drawn: the table says why.")
    try:
        from cflows_core import figures
    except ModuleNotFoundError as missing:
        raise ConfigError(f"Drawing needs the package {missing.name}: pip install 'cflows[app]'.") from None
    states = [entry["state"] for entry in table.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    words = f"{len(states)} configurations: {counts}. A colour for each {color}" + (f", a row for each {row}. " if row else ". ")
    words += (
        "Thin: the optimizer. Dashed: the average that its flow predicts. What diverges is cut off. After [CF] Figures 23 and 32 to 34."
    )
    try:
        figures.save(drawn, path, f"Sweep {table.sweep.name}", f"<p>{escape(words)}</p>")
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({(error.strerror or str(error)).lower()}): the runs beside it are safe.") from None
    return path


def _places(table: Table, color: str, row: str) -> tuple[str, str]:
    """The fields for colours and rows; the second is "" where only one is swept."""
    swept = table.sweep.columns
    for given in filter(None, (color, row)):
        if given not in swept:
            raise ConfigError(f"The overview can be over {', '.join(swept)}, got {given!r}.")
    rows = [row] if row else [name for name in (*_PLACES[1], *swept) if name in swept and name not in (color, *_PLACES[0])]
    colors = [color] if color else [name for name in (*_PLACES[0], *swept) if name in swept and name not in rows[:1]]
    if not colors:  # one field is swept
        return swept[0], ""
    return colors[0], next((name for name in (*rows, *swept) if name != colors[0]), "")


def _text(values: Mapping[str, Any], name: str) -> str:
    return label({name: values[name]}, names=False) if name in values else ""


def _spread(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """As many as there are colours, evenly chosen, the first and the last among them."""
    names = list(entries)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(COLORS), len(names))).round().astype(int))
    return {names[at]: entries[names[at]] for at in chosen}


def _row(table: Table, name: str, color: str, entries: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    losses: list[Curve] = []
    far: list[Curve] = []
    edge: list[Curve] = []
    for paint, (value, entry) in zip(COLORS, entries.items(), strict=False):
        try:
            stored = table.run(entry)
        except StoreError:
            continue
        flow = next((flow for flow in _FLOWS if flow in stored.config.flows), "")
        what, thin = f"{color} {value}", Stroke(paint, 1.0, alpha=0.6)
        loss = _curve(stored, stored.series("discrete", "loss"), thin, what)
        if entry["state"] == DIVERGED:  # it would push everything else together
            loss = replace(loss, ys=np.where(loss.ys > BEYOND * loss.ys[:1], np.nan, loss.ys))
        if flow:
            own = stored.series(flow, "loss" if flow == "stable" else "predicted_loss")
            own = hide_settling(stored, own) if flow == "central" else own
            predicted = _curve(stored, own, replace(STROKES["central_predicted"], color=paint), "")
            losses += within_sight((loss, predicted), loss)
            far.append(_curve(stored, positive(stored.series(flow, "distance")), Stroke(paint), what))
        else:
            losses.append(loss)
        top = nth(stored.series("discrete", "effective_eigs"), 0) / threshold(stored.config)
        edge.append(_curve(stored, np.where(top > BEYOND, np.nan, top), thin, what))
    if edge:
        ends = np.array([0.0, max(float(curve.xs[-1]) for curve in edge)])
        edge.append(Curve(ends, np.ones(2), STROKES["edge"]))
    row = (
        Panel(f"{name}: train loss", tuple(losses), "loss", log="y"),
        Panel(f"{name}: distance to the optimizer", tuple(far), "distance", log="y"),
        Panel(f"{name}: top eigenvalue", tuple(edge), "λ₁ / c"),
    )
    return [panel for panel in row if any(np.isfinite(curve.ys).any() for curve in panel.curves)]


def _results(groups: Mapping[str, Mapping[str, Mapping[str, Any]]], color: str) -> list[Panel]:
    """What came out over the values of the colours, a curve for each row; nothing where these are not numbers."""
    drawn = []
    columns = (
        ("discrete_loss", "Final loss", "loss"),
        ("central_share_of_path", "Central flow's distance at the end", "share of the path"),
    )
    for column, title, unit in (*columns, ("central_loss_error", "Error of the predicted loss", "relative error")):
        lines = []
        for at, (name, entries) in enumerate(groups.items()):
            known = [entry for entry in entries.values() if isinstance(entry.get(color), (int, float)) and entry["state"] != DIVERGED]
            points = [(entry[color], entry.get(column, math.nan)) for entry in known]
            points = sorted((x, y) for x, y in points if y > 0)
            if points:
                xs, ys = np.array(points, dtype=float).T
                dash = STROKES["central_predicted"].dash if at >= len(COLORS) else ()
                lines.append(Curve(xs, ys, Stroke(COLORS[at % len(COLORS)], dash=dash), name or "all"))
        if any(len(line.xs) > 1 for line in lines):
            positive_everywhere = all((line.xs > 0).all() for line in lines)
            drawn.append(Panel(title, tuple(lines), unit, color, log="xy" if positive_everywhere else "y"))
    return drawn


def _curve(stored: Run, values: np.ndarray, stroke: Stroke, what: str) -> Curve:
    every = max(1, len(values) // MOST_POINTS)
    every += 1 - every % 2  # odd: of an oscillation with period 2 both sides are kept
    return Curve(stored.steps[::every].astype(float), values[::every], stroke, what)
