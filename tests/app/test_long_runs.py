"""A look at a run of very many steps costs what its news costs: rows that were sent are neither read nor sent again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cflows_app.decimate import MAX_POINTS
from cflows_app.smoothing import Smoother, gaussian_average
from cflows_app.streaming import Reading, Table
from cflows_app.views import VIEWS
from cflows_app.views.canvas import Canvas
from cflows_app.views.valley import MOST_POINTS, ValleyView
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.history import History
from cflows_core.palette import LIGHT

LONG = 200_000
NEWS = 3
SIGMA = 20.0


@pytest.fixture
def grow(make_history):
    """(history, n): repeat a made-up run's rows until there are n more."""
    rows = make_history(400).pack()

    def grow(history: History, n: int) -> History:
        end = len(history) + n
        while len(history) < end:
            m = min(400, end - len(history))
            columns = {key: values[:m] for key, values in rows["columns"].items()}
            columns["row", "step"] = np.arange(len(history), len(history) + m)
            history.extend({"n": m, "columns": columns, "events": []})
        return history

    return grow


def test_news_of_a_long_run_reads_and_sends_only_news(grow):
    read: dict[str, int] = {}  # rows of a column read in a look

    def counted(column):
        def values(reading):
            found = column.read(reading)
            read[column.name] = read.get(column.name, 0) + len(found)
            return found

        return replace(column, read=values)

    canvas = Canvas(Table(SIGMA), LIGHT)
    views = [view(canvas) for view in VIEWS]
    table, config = canvas.table, RunConfig(changes=[(1_000, "lr", 0.1)])
    for column in list(table.columns.values()):
        table.add(counted(column))
    history = grow(History(), LONG)
    for view in views:
        view.show(list(FLOW_NAMES))
    table.update(Reading(history, config, {}))
    assert all(read[name] == LONG for name in table.columns)
    points = len(table.source.data["step"])
    assert points <= MAX_POINTS
    reach = Smoother(SIGMA).reach
    for _ in range(2):
        read.clear()
        grow(history, NEWS)
        assert table.update(Reading(history, config, {}))
        points += NEWS
        assert len(table.source.data["step"]) == points
        # What is smoothed is read as far back as an average reaches, and as far again; once to append, once to correct.
        assert all(n <= (2 * (2 * reach + NEWS) if table.columns[name].smooth else NEWS) for name, n in read.items())
    assert np.asarray(table.source.data["step"])[-1] == LONG + 2 * NEWS - 1


def test_a_long_trail_is_thinned_before_it_is_read(grow, monkeypatch):
    taken = []
    places = ValleyView._places
    monkeypatch.setattr(ValleyView, "_places", staticmethod(lambda *args: taken.append(found := places(*args)) or found))
    view = ValleyView(Canvas(Table(0.0), LIGHT))
    view.show(list(FLOW_NAMES))
    view.choose("trail", "all")
    history = grow(History(), 50_000)
    history._columns["series", "discrete", "valley_basis"][:] = 0.0  # one basis all along
    view.refresh(Reading(history, RunConfig(), {}), following=True)
    assert max(len(found) for found in taken) in range(MOST_POINTS, 2 * MOST_POINTS)
    newest = history.series("stable", "valley")[-1]
    np.testing.assert_allclose([view.points["stable"].data["y"][0], view.points["stable"].data["x"][0]], newest, rtol=1e-6)


def test_the_average_of_a_long_series_needs_its_end_only():
    values = np.random.default_rng(0).standard_normal(LONG)
    smoother = Smoother(SIGMA)
    smoother.update(values[:-50])
    first = smoother.first
    assert first == LONG - 50 - 2 * smoother.reach
    # Transforms of other blocks round otherwise, at 1e-16 times the largest deviation and the sum of some hundred terms.
    np.testing.assert_allclose(smoother.update(values[first:], (), first), gaussian_average(values, SIGMA), atol=1e-12)
