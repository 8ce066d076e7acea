"""The panels: what their curves say, in which unit, and how the valley is drawn; on a run made of formulas."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.events import RangesUpdate

from cflows_app.streaming import Reading, Table
from cflows_app.theme import LIGHT
from cflows_app.views import CovarianceView, DistanceView, EigenvalueView, GradientView, LossView, ValleyView
from cflows_app.views.axis import StepAxis
from cflows_app.views.canvas import Canvas
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.frames import Frame
from cflows_core.history import History

STEPS = 320
CONFIG = RunConfig(lr=0.3, changes=[(300, "lr", 0.1)])


@pytest.fixture
def history(make_history):
    return make_history(STEPS)


def drawn(view_type, history, **options):
    """A view and its table after one look at the history, without smoothing."""
    canvas = Canvas(Table(0.0), LIGHT)
    view = view_type(canvas)
    view.show(FLOW_NAMES)
    reading = Reading(history, CONFIG, options)
    StepAxis(canvas, [view]).update(history, 0)
    canvas.table.update(reading)
    view.refresh(reading, following=True)
    return view, canvas.table.source.data


@pytest.mark.parametrize(
    ("view", "column", "flow", "series"),
    [
        (LossView, "discrete.loss", "discrete", "loss"),
        (LossView, "central.predicted_loss", "central", "predicted_loss"),
        (LossView, "rod.loss", "rod", "loss"),
        (GradientView, "central.predicted_grad_norm_sq", "central", "predicted_grad_norm_sq"),
        (GradientView, "discrete.grad_norm_sq.smooth", "discrete", "grad_norm_sq"),
    ],
)
def test_curves_are_the_series_of_the_run(history, view, column, flow, series):
    _, data = drawn(view, history)
    expected = history.series(flow, series).copy()
    if column.endswith("smooth"):
        expected[300] = np.nan  # the learning rate changes
    np.testing.assert_allclose(data[column], expected, rtol=1e-6)


def test_distances(history):
    _, data = drawn(DistanceView, history)
    for flow in ("stable", "central", "rod"):
        np.testing.assert_allclose(data[f"{flow}.distance"], history.distance(flow), rtol=1e-6)


def test_eigenvalues_as_shares_of_the_threshold(history):
    _, data = drawn(EigenvalueView, history)
    np.testing.assert_allclose(data["edge"], 1.0)
    np.testing.assert_allclose(data["discrete.effective_eigs.1"], history.series("discrete", "effective_eigs")[:, 1] / 2, rtol=1e-6)


def test_sharpness_is_that_of_the_hessian_whatever_the_step_size_was(history):
    view, data = drawn(EigenvalueView, history, **{"eigenvalues.unit": "raw"})
    lr = np.where(np.arange(STEPS) < 300, 0.3, 0.1)
    np.testing.assert_allclose(data["edge"], 2 / lr, rtol=1e-6)
    np.testing.assert_allclose(data["central.effective_eigs.0"], history.series("central", "effective_eigs")[:, 0] / lr, rtol=1e-6)
    view.choose("unit", "raw")
    assert view.figure.yaxis[0].axis_label == "λ"


def test_variances_in_both_units(history):
    _, metric = drawn(CovarianceView, history)
    _, weights = drawn(CovarianceView, history, **{"covariance.unit": "weights"})
    lr = np.where(np.arange(STEPS) < 300, 0.3, 0.1)
    measured, predicted = "central.measured_variance.0", "central.covariance_eigs.0"
    np.testing.assert_allclose(weights[measured], metric[measured] * lr, rtol=1e-6)
    np.testing.assert_allclose(weights[predicted], history.series("central", "covariance_eigs_weights")[:, 0], rtol=1e-6)


def test_while_settling_nothing_is_drawn_and_the_panel_says_why(history):
    settling = History(
        Frame(step, 0.0, 0.0, {"central": {"covariance_eigs": np.array([0.1] * 6)}}, status={"central": "settling"}) for step in range(5)
    )
    view, data = drawn(CovarianceView, settling)
    assert np.isnan(data["central.covariance_eigs.0"]).all()
    assert "settling" in view.note(Reading(settling, CONFIG, {}))
    assert view.note(Reading(history, CONFIG, {})) == ""
    assert "not part of this run" in view.note(Reading(history, CONFIG.replace(flows=["stable"]), {}))


def test_legend_entries_hide_all_their_curves(history):
    view, _ = drawn(EigenvalueView, history)
    assert [entry["label"] for entry in view.legend] == ["edge", "stable", "optimizer", "rod", "central"]
    view.toggle("optimizer")
    shown = {legend: renderer.visible for legend, _, renderer in view.drawn}
    assert shown == {"edge": True, "stable": True, "optimizer": False, "rod": True, "central": True}
    view.show(["discrete", "central"])
    assert [entry["label"] for entry in view.legend] == ["edge", "optimizer", "central"]
    view.toggle("optimizer")
    assert all(renderer.visible == (flow != "stable" and flow != "rod") for _, flow, renderer in view.drawn)


def test_the_valley_shows_the_newest_plane_only(history):
    view, _ = drawn(ValleyView, history)
    view.choose("trail", "all")
    reading = Reading(history, CONFIG, {})
    view.refresh(reading, following=True)
    assert len(view.paths["discrete"].data["x"]) == STEPS - 200  # the basis was fixed anew at step 200
    np.testing.assert_allclose(
        view.paths["raw"].data["y"], history.series("discrete", "valley")[200:, 0], rtol=1e-6
    )  # across: the top mode
    view.choose("trail", "150")
    view.refresh(reading, following=True)
    assert len(view.paths["raw"].data["x"]) == 120


def test_the_rod_is_a_rod_and_sigma_an_ellipse_of_one_deviation(history):
    view, _ = drawn(ValleyView, history)
    centre, extent = (history.series("rod", name)[-1] for name in ("valley", "valley_extent"))
    np.testing.assert_allclose(view.rod.data["y"], [centre[0] - extent[0], centre[0] + extent[0]], rtol=1e-5)
    np.testing.assert_allclose(view.rod.data["x"], [centre[1] - extent[1], centre[1] + extent[1]], rtol=1e-5)
    middle, pair = (history.series("central", name)[-1] for name in ("valley", "valley_covariance"))
    across = np.array([view.ellipse.data["x"], view.ellipse.data["y"]], dtype=float).T - middle[::-1]
    inverse = np.linalg.inv([[pair[2], pair[1]], [pair[1], pair[0]]])
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", across, inverse, across), 1.0, rtol=1e-3)  # float32 positions


def test_before_there_is_a_valley_the_panel_says_so():
    history = History([Frame(0, 0.0, 0.0, {"discrete": {"loss": 1.0}})])
    view, _ = drawn(ValleyView, history)
    assert "when the flows start" in view.note(Reading(history, CONFIG, {}))
    assert "does not observe" in view.note(Reading(history, CONFIG.replace(observe=[]), {}))


def test_every_figure_survives_an_empty_run():
    for view_type in (LossView, EigenvalueView, CovarianceView, DistanceView, ValleyView, GradientView):
        drawn(view_type, History())


def moved(view, x=(100.0, 200.0), y=None):
    y = y or (view.figure.y_range.start, view.figure.y_range.end)
    return RangesUpdate(view.figure, x0=x[0], x1=x[1], y0=y[0], y1=y[1])


def test_the_axis_follows_until_the_visitor_pans(make_history):
    canvas = Canvas(Table(0.0), LIGHT)
    loss, distance = LossView(canvas), DistanceView(canvas)
    axis = StepAxis(canvas, [loss, distance])
    axis.update(make_history(300), warm_start=100)
    assert canvas.steps.end > 299
    assert 50 < canvas.steps.start < 100  # the flows, and a little of what was before
    assert axis.window is None
    for view in (loss, distance):
        view.limits.fit([np.array([1.0, 2.0])])

    canvas.steps.update(start=100, end=200)  # as the browser does
    axis.update(make_history(305), warm_start=100)  # news arrives before the event that tells of the pan
    assert (canvas.steps.start, canvas.steps.end) == (100, 200)
    axis._moved(loss, moved(loss, y=(1.4, 1.6)))
    axis._moved(distance, moved(distance))
    assert not axis.following
    assert axis.window == (100.0, 200.0)
    assert not axis.follows(loss)  # its vertical limits are the visitor's
    assert axis.follows(distance)
    axis.update(make_history(310), warm_start=100)
    assert (canvas.steps.start, canvas.steps.end) == (100, 200)

    axis.follow()
    axis.update(make_history(310), warm_start=100)
    assert canvas.steps.end > 309
    assert axis.follows(loss)


@pytest.mark.parametrize(("span", "first"), [("all", 0), ("last", 0), ("flows", 570)])
def test_what_is_shown_while_following(make_history, span, first):
    canvas = Canvas(Table(0.0), LIGHT)
    axis = StepAxis(canvas, [])
    axis.span = span
    axis.update(make_history(620), warm_start=580 if span == "flows" else 0)
    expected = 119 if span == "last" else first
    assert abs(canvas.steps.start - expected) < 10
