"""Figures draw the numbers of the run, and `watch` gives the run that it has drawn."""

from __future__ import annotations

import json

import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource, DataRange1d, LogAxis

import cflows_core as cf
from cflows_core import figures, panels, screen
from cflows_core.optimizers import Optimizer
from cflows_core.palette import LIGHT


@pytest.fixture(scope="module")
def run() -> cf.Run:
    hv.extension("bokeh")
    config = cf.RunConfig(width=4, n_train=60, lr=0.3, warm_start=4, steps=12, n_eigs=2)
    return figures.watch(config, figures.loss, figures.eigenvalues)


def drawn(overlay: hv.Overlay) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {curve.label: (curve.dimension_values(0), curve.dimension_values(1)) for curve in overlay if curve.label}


def test_watch_gives_the_whole_run(run):
    other = cf.run(run.config, progress=False)
    assert run.config == other.config
    np.testing.assert_array_equal(run.steps, other.steps)
    np.testing.assert_array_equal(run.series("central", "loss"), other.series("central", "loss"))


def test_watch_stops_after_the_steps_asked_for():
    assert figures.watch(cf.RunConfig(width=4, n_train=60, flows=["discrete"]), steps=3).rows == 3


@pytest.fixture
def published(monkeypatch) -> list[list[str]]:
    """As in a notebook: the scripts that each output of a cell has held, in their order."""
    outputs: list[list[str]] = []

    def publish(code: str):
        outputs.append([code])
        return outputs[-1].append

    monkeypatch.setattr(screen, "in_notebook", lambda: True)
    monkeypatch.setattr(screen, "published", publish)
    monkeypatch.setattr(screen, "REDRAW_SECONDS", 0.0)
    monkeypatch.setattr(screen, "SHARE", 1.0)
    return outputs


def test_watch_draws_while_it_runs(published):
    drawn_at = []

    def plot(run):
        drawn_at.append(run.rows)
        return hv.Overlay([hv.Curve((run.steps, run.series("discrete", "loss")))])

    figures.watch(cf.RunConfig(width=4, n_train=60, flows=["discrete"]), plot, steps=3)
    assert sorted(set(drawn_at)) == [0, 1, 2, 3]
    first, newer = published
    assert len(first) == 1
    assert len(newer) == 1 + 3 + 1  # at first, after each step, and at the end


def newest(script: str) -> dict:
    """The patch in a script of a screen."""
    start = script.index("= [") + 2
    return json.JSONDecoder().raw_decode(script[start:])[0][2]


def test_the_newest_script_alone_leads_from_the_first_plot_to_the_last(published):
    shown = figures.Screen(lambda ys: figures.curves({"a": (range(len(ys)), ys)}, levels=[0.5]), data=[])
    for ys in ([1.0], [1.0, 2.0], [1.0, 2.0, 4.0]):
        shown.send(ys)
    first, newer = published
    # What BokehJS does in the page: make the document, then apply the newest patch.
    document = Document.from_json(json.JSONDecoder().raw_decode(first[0][first[0].index("{") :])[0]["doc"])
    document.apply_json_patch(newest(newer[-1]))
    tables = [{name: list(column) for name, column in source.data.items()} for source in document.select({"type": ColumnDataSource})]
    level, curve = sorted(tables, key=lambda table: len(table["step"]))
    assert curve == {"step": [0, 1, 2], "value": [1.0, 2.0, 4.0]}
    assert level == {"step": [0, 2], "value": [0.5, 0.5]}
    assert isinstance(document.roots[0].y_range, DataRange1d)  # so that limits follow


def test_a_screen_leaves_time_for_what_is_computed(published, monkeypatch):
    monkeypatch.setattr(screen, "SHARE", 0.01)
    shown = figures.Screen(lambda ys: figures.curves({"a": (range(len(ys)), ys)}), data=[])
    assert shown.ready
    shown.send([1.0])
    assert not shown.ready


def test_plots_that_stand_still_are_shown_beside_one_another(published):
    plot = figures.curves({"a": ([0, 1], [0.0, 1.0])}, log="xy")
    figures.show(plot, plot.relabel("b"))
    first, _ = published
    document = Document.from_json(json.JSONDecoder().raw_decode(first[0][first[0].index("{") :])[0]["doc"])
    assert len(list(document.select({"type": LogAxis}))) == 4


def test_without_a_notebook_nothing_is_drawn():
    shown = figures.Screen(lambda data: pytest.fail("was drawn"), data=None)
    shown.send(1)


def test_curves_of_ones_own_have_the_flows_colours():
    overlay = figures.curves({"Central flow": ([0], [1.0]), "mine": ([0, 5], [1.0, 2.0])}, levels=[3.0])
    colours = [curve.opts.get("style", backend="bokeh").kwargs["color"] for curve in overlay]
    assert colours == [LIGHT["central"], LIGHT["discrete"], LIGHT["edge"]]
    np.testing.assert_array_equal(list(overlay)[-1].dimension_values(0), [0, 5])  # the level is as wide as the curves


@pytest.mark.parametrize("plot", [figures.loss, figures.eigenvalues, figures.covariance, figures.distance, figures.series("grad_norm_sq")])
def test_a_figure_is_drawn_by_bokeh_with_and_without_rows(run, plot):
    none = figures.watch(run.config, figures.loss, steps=0)
    for source in (run, none):
        assert hv.render(plot(source), backend="bokeh").renderers


def test_figures_draw_the_runs_numbers(run):
    steps, values = drawn(figures.loss(run))["Optimizer"]
    np.testing.assert_array_equal(steps, run.steps)
    np.testing.assert_array_equal(values, run.series("discrete", "loss"))
    apart = run.series("rod", "distance")
    apart = np.where(apart > 0, apart, np.nan)  # 0 where the flows start has no place on a logarithmic axis
    np.testing.assert_array_equal(drawn(figures.distance(run))["Rod flow"][1], apart)


def test_eigenvalues_are_given_over_the_threshold_or_raw(run):
    threshold = Optimizer.of(run.config).threshold
    effective = run.series("discrete", "effective_eigs")[:, 0]
    np.testing.assert_allclose(drawn(figures.eigenvalues(run))["Optimizer"][1], effective / threshold, rtol=1e-12)
    raw = drawn(figures.eigenvalues(run, raw=True))
    np.testing.assert_allclose(raw["Optimizer"][1], effective / run.config.lr, rtol=1e-12)
    np.testing.assert_allclose(raw["Edge of stability"][1], 2 / run.config.lr, rtol=1e-12)


def test_a_flow_that_left_does_not_push_the_others_together():
    near, far = panels.curves({"near": ([0, 1], [1.0, 2.0]), "far": ([0, 1], [1.0, 100.0])}).curves
    cut = panels.within_sight([near, far], near)
    np.testing.assert_array_equal(cut[1].ys, [1.0, np.nan])
    np.testing.assert_array_equal(cut[0].ys, [1.0, 2.0])


def test_a_panel_zoomed_has_the_steps_in_sight_alone():
    zoomed = panels.curves({"a": (range(5), range(5))}, title="whole").zoomed(1, 3).titled("part")
    np.testing.assert_array_equal(zoomed.curves[0].ys, [1, 2, 3])
    assert zoomed.title == "part"


def test_a_series_that_there_is_not():
    with pytest.raises(cf.ConfigError, match=r"no series 'grad_norm': choose one of .*grad_norm_sq"):
        figures.series("grad_norm")
