"""Figures draw the numbers of the run, and `watch` gives the run that it has drawn."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest

import cflows_core as cf
from cflows_core import figures
from cflows_core.optimizers import Optimizer


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


def test_watch_draws_while_it_runs(monkeypatch):
    drawn_at = []

    def plot(run):
        drawn_at.append(run.rows)
        return hv.Overlay([hv.Curve((run.steps, run.series("discrete", "loss")))])

    # As in a notebook, where what is displayed follows the pipe.
    monkeypatch.setattr(figures, "_display", lambda layout: hv.renderer("bokeh").get_plot(layout))
    monkeypatch.setattr(figures, "REDRAW_SECONDS", 0.0)
    figures.watch(cf.RunConfig(width=4, n_train=60, flows=["discrete"]), plot, steps=3)
    assert sorted(set(drawn_at)) == [0, 1, 2, 3]


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


def test_a_flow_that_left_does_not_push_the_others_together(run):
    far, near = hv.Curve(([0, 1], [1.0, 100.0])), hv.Curve(([0, 1], [1.0, 2.0]))
    cut = figures._within_sight([near, far], near)
    np.testing.assert_array_equal(cut[1].dimension_values(1), [1.0, np.nan])
    np.testing.assert_array_equal(cut[0].dimension_values(1), [1.0, 2.0])


def test_a_series_that_there_is_not():
    with pytest.raises(cf.ConfigError, match=r"no series 'grad_norm': choose one of .*grad_norm_sq"):
        figures.series("grad_norm")
