"""The panels: what their curves say, in which unit, and how the valley is drawn; on a run made of formulas."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.events import RangesUpdate
from bokeh.models import LogScale

from cflows_app.streaming import AXIS, Column, Reading, Table
from cflows_app.views import CovarianceView, DistanceView, EigenvalueView, GradientView, LossView, ValleyView
from cflows_app.views.axis import StepAxis
from cflows_app.views.canvas import Canvas
from cflows_app.views.curves import COMPARED
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.frames import Frame
from cflows_core.history import History
from cflows_core.palette import LIGHT

STEPS = 320
CONFIG = RunConfig(lr=0.3, changes=[(300, "lr", 0.1)])


@pytest.fixture
def history(make_history):
    return make_history(STEPS)


def drawn(view_type, history, config=CONFIG, **options):
    """A view and its table after one look at the history, without smoothing."""
    canvas = Canvas(Table(0.0), LIGHT)
    view = view_type(canvas)
    view.show(config.flows)
    reading = Reading(history, config, options)
    StepAxis(canvas, [view]).update(reading)
    canvas.table.update(reading)
    view.refresh(reading, following=True)
    return view, canvas.table.source.data


@pytest.mark.parametrize(
    ("view", "column", "flow", "series"),
    [
        (LossView, "discrete.loss", "discrete", "loss"),
        (LossView, "central.predicted_loss", "central", "predicted_loss"),
        (LossView, "rod.loss", "rod", "loss"),
        (GradientView, "central.gradients.central pred.", "central", "predicted_grad_norm_sq"),
        (GradientView, "discrete.gradients.smoothed", "discrete", "grad_norm_sq"),
    ],
)
def test_curves_are_the_series_of_the_run(history, view, column, flow, series):
    _, data = drawn(view, history)
    expected = history.series(flow, series).copy()
    if column.endswith("smoothed"):
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


@pytest.mark.parametrize(("view", "label"), [(EigenvalueView, "λ / c"), (CovarianceView, "variance (P-metric)")])
def test_a_log_axis_has_room_for_what_it_can_draw(history, view, label):
    view, _ = drawn(view, history)
    linear = view.figure.y_range.start, view.figure.y_range.end
    view.choose("scale", "log")
    view.refresh(Reading(history, CONFIG, {}), following=True)
    assert isinstance(view.figure.y_scale, LogScale)
    assert view.figure.yaxis[0].axis_label == label  # a scale is no unit
    assert 0 < view.figure.y_range.start < view.figure.y_range.end
    view.choose("scale", "linear")
    view.refresh(Reading(history, CONFIG, {}), following=True)
    assert (view.figure.y_range.start, view.figure.y_range.end) == linear


def test_eigenvalues_through_zero_do_not_push_the_others_together_on_a_log_axis():
    values = [np.array([2.0, mode, np.nan, np.nan, np.nan, np.nan]) for mode in (0.4, 1e-9, -0.3)]
    history = History(Frame(step, 0.0, 0.0, {"discrete": {"effective_eigs": value}}) for step, value in enumerate(values))
    view, _ = drawn(EigenvalueView, history)
    assert view.figure.y_range.start < -0.15  # the negative one has its place where there is one
    view.choose("scale", "log")
    view.refresh(Reading(history, CONFIG, {}), following=True)
    assert 1e-4 < view.figure.y_range.start < 1e-3
    assert 1 < view.figure.y_range.end < 2


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
    shown = {legend: renderer.visible for legend, flow, renderer in view.drawn if flow in FLOW_NAMES}
    assert shown == {"edge": True, "stable": True, "optimizer": False, "rod": True, "central": True}
    view.show(["discrete", "central"])
    assert [entry["label"] for entry in view.legend] == ["edge", "optimizer", "central"]
    view.toggle("optimizer")
    assert all(renderer.visible == (flow in ("discrete", "central")) for _, flow, renderer in view.drawn)


ADAPTED = RunConfig(
    optimizer="rmsprop",
    lr=0.01,
    flows=[*FLOW_NAMES, "central_no_curvature", "stationary", "stationary_limit"],
    observe=["valley", "average", "coordinates", "stationary"],
)


def entries(view) -> list[str]:
    return [entry["label"] for entry in view.legend]


@pytest.mark.parametrize(
    ("view", "column", "series"),
    [
        (LossView, "{}.loss", "loss"),
        (EigenvalueView, "{}.effective_eigs.0", "effective_eigs"),
        (DistanceView, "{}.distance", "distance"),
        (GradientView, "{}.gradients.{}", "grad_norm_sq"),
    ],
)
def test_flows_for_comparison_are_drawn_where_they_run(make_history, view, column, series):
    history = make_history(60, ADAPTED)
    view, data = drawn(view, history, ADAPTED)
    for flow, legend in COMPARED.items():
        assert (legend in entries(view)) == (flow in ADAPTED.flows)
        values = history.distance(flow) if series == "distance" else history.series(flow, series)
        values = values[:, 0] / 2 if values.ndim == 2 else values  # shares of the threshold
        assert np.isfinite(values).all() == (flow in ADAPTED.flows)
        np.testing.assert_allclose(data[column.format(flow, legend)], values, rtol=1e-6)
    view.show(FLOW_NAMES)
    assert not set(COMPARED.values()) & set(entries(view))


def test_the_loss_at_the_average_is_offered_where_it_is_observed(make_history, history):
    view, data = drawn(LossView, observing := make_history(60, ADAPTED), ADAPTED)
    assert "iterates' average" in entries(view)
    np.testing.assert_allclose(data["discrete.loss_average"], observing.series("discrete", "loss_average"), rtol=1e-6)
    view, data = drawn(LossView, history)
    assert "iterates' average" not in entries(view)
    assert np.isnan(data["discrete.loss_average"]).all()


@pytest.mark.parametrize(
    ("unit", "flow", "legend", "series"),
    [
        ("gradient", "discrete", "raw", "grad_sq_coordinates"),
        ("gradient", "discrete", "smoothed", "grad_sq_coordinates"),
        ("gradient", "central", "central pred.", "grad_sq_coordinates"),
        ("gradient", "rod", "rod pred.", "grad_sq_coordinates"),
        ("nu", "discrete", "optimizer", "nu_coordinates"),
        ("nu", "stationary", "stationary", "nu_coordinates"),
        ("step", "rod", "rod", "step_size_coordinates"),
        ("harmonic", "stable", "stable", "step_size_coordinates"),
    ],
)
def test_one_weight(make_history, unit, flow, legend, series):
    history = make_history(60, ADAPTED)
    view, data = drawn(GradientView, history, ADAPTED, **{"gradients.unit": unit, "gradients.weight": "3"})
    assert legend in entries(view)
    np.testing.assert_allclose(data[f"{flow}.gradients.{legend}"], history.series(flow, series)[:, 3], rtol=1e-6)
    assert ("ν̄, stationary" in entries(view)) == (unit == "nu")
    assert ("central" in entries(view)) == (unit != "gradient")  # of one weight's gradient it has a prediction only


def test_the_stationary_value_of_a_weight(make_history):
    history = make_history(60, ADAPTED)
    _, data = drawn(GradientView, history, ADAPTED, **{"gradients.unit": "nu", "gradients.weight": "9"})
    np.testing.assert_allclose(data["central.nu_stationary"], history.series("central", "nu_stationary_coordinates")[:, 9], rtol=1e-6)


def test_the_stationary_preconditioner(make_history):
    history = make_history(60, ADAPTED)
    view, data = drawn(GradientView, history, ADAPTED, **{"gradients.unit": "speeds"})
    assert entries(view) == ["stationary P̄", "least trace P̂", "gradient descent at η = 2/S"]
    np.testing.assert_allclose(data["central.speed_vanilla"], history.series("central", "speed_vanilla"), rtol=1e-6)
    view, data = drawn(GradientView, history, ADAPTED, **{"gradients.unit": "cosine"})
    assert entries(view) == ["ν and its stationary value"]
    np.testing.assert_allclose(data["central.nu_stationary_cosine"], 0.9, rtol=1e-6)


def test_choices_of_the_gradients():
    view = GradientView(Canvas(Table(0.0), LIGHT))

    def offered():
        return [offer["name"] for offer in view.offers]

    assert offered() == ["scale", "unit", "weight"]
    view.choose("weight", "0")
    assert (view.figure.yaxis[0].axis_label, view.hidden) == ("(∂L/∂wᵢ)²", set())
    view.choose("unit", "cosine")
    assert (offered(), view.choices["scale"]) == (["scale", "unit"], "linear")
    view.choose("unit", "nu")
    assert (offered(), view.choices["scale"], view.figure.yaxis[0].axis_label) == (["scale", "unit", "weight"], "log", "νᵢ")


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (RunConfig(), {"gradients.unit": "step"}, "does not adapt"),
        (RunConfig(), {"gradients.weight": "2"}, "tick “Ten weights” under More"),
        (RunConfig(), {"gradients.unit": "speeds"}, "RMSProp only"),
        (RunConfig(optimizer="rmsprop"), {"gradients.unit": "cosine"}, "tick “Stationary ν” under More"),
        (RunConfig(optimizer="scalar_adam", observe=["coordinates"]), {"gradients.unit": "nu", "gradients.weight": "2"}, "share one ν"),
    ],
)
def test_what_the_run_lacks_is_told(history, config, options, said):
    view, _ = drawn(GradientView, history, config, **options)
    assert said in view.note(Reading(history, config, options))
    assert view.note(Reading(history, ADAPTED, options)) == ""


@pytest.mark.parametrize(
    ("period", "said"), [(2.0, "Period 2"), (4.0, "Period 4"), (0.0, "No clear period"), (1.0, "At rest"), (np.nan, "")]
)
def test_the_period_stands_beside_the_rod(period, said):
    history = History([Frame(0, 0.0, 0.0, {"discrete": {"loss": 1.0, "period": period}})])
    view, _ = drawn(ValleyView, history)
    fact = view.fact(Reading(history, CONFIG, {}))
    assert said in fact
    assert bool(fact) == bool(said)
    assert view.fact(Reading(History([Frame(0, 0.0, 0.0, {})]), CONFIG, {})) == ""  # a run from before it was measured


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


def test_the_former_version_lies_beneath_where_the_plane_is_the_same(history, make_history):
    def faint(former) -> np.ndarray:
        view, _ = drawn(ValleyView, history)
        view.former = Reading(former, CONFIG, {})
        view.refresh(Reading(history, CONFIG, {}), following=True)
        return np.asarray(view.faint["discrete"].data["x"])

    former = make_history(STEPS + 10)  # one run so far, and ten steps ahead
    np.testing.assert_allclose(faint(former), former.series("discrete", "valley_centre")[200:, 1], rtol=1e-6)
    assert len(faint(make_history(STEPS, CONFIG.replace(seed=1)))) == 0  # another run, with a plane of its own at the same step
    assert len(faint(make_history(150))) == 0  # a plane of before the edge
    view, _ = drawn(ValleyView, history)
    assert len(view.faint["discrete"].data["x"]) == 0


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
    axis.update(Reading(make_history(300), RunConfig(warm_start=100), {}))
    assert canvas.steps.end > 299
    assert 50 < canvas.steps.start < 100  # the flows, and a little of what was before
    assert axis.window is None
    for view in (loss, distance):
        view.limits.fit([np.array([1.0, 2.0])])

    canvas.steps.update(start=100, end=200)  # as the browser does
    axis.update(Reading(make_history(305), RunConfig(warm_start=100), {}))  # news arrives before the event that tells of the pan
    assert (canvas.steps.start, canvas.steps.end) == (100, 200)
    axis._moved(loss, moved(loss, y=(1.4, 1.6)))
    axis._moved(distance, moved(distance))
    assert not axis.following
    assert axis.window == (100.0, 200.0)
    assert not axis.follows(loss)  # its vertical limits are the visitor's
    assert axis.follows(distance)
    axis.update(Reading(make_history(310), RunConfig(warm_start=100), {}))
    assert (canvas.steps.start, canvas.steps.end) == (100, 200)

    axis.follow()
    axis.update(Reading(make_history(310), RunConfig(warm_start=100), {}))
    assert canvas.steps.end > 309
    assert axis.follows(loss)


@pytest.mark.parametrize(("span", "first"), [("all", 0), ("last", 0), ("flows", 570)])
def test_what_is_shown_while_following(make_history, span, first):
    canvas = Canvas(Table(0.0), LIGHT)
    axis = StepAxis(canvas, [])
    axis.span = span
    axis.update(Reading(make_history(620), RunConfig(warm_start=580 if span == "flows" else 0), {}))
    expected = 119 if span == "last" else first
    assert abs(canvas.steps.start - expected) < 10


def test_the_axis_counts_time(history):
    """Steps of the learning rate that each had: 0.3 until step 300, then 0.1; what lies ahead continues."""
    reading = Reading(history, CONFIG, {AXIS: "time"})
    np.testing.assert_allclose(reading.places, [0.3 * min(t, 300) + 0.1 * max(t - 300, 0) for t in range(STEPS)])
    np.testing.assert_allclose(reading.place([300, 420]), [90.0, 102.0])
    warm = Reading(history, RunConfig(lr=0.5, schedule="warmup(4)"), {AXIS: "time"})
    np.testing.assert_allclose(warm.places[:6], [0, 0.125, 0.375, 0.75, 1.25, 1.75])
    canvas = Canvas(Table(0.0), LIGHT)
    view = LossView(canvas)
    axis = StepAxis(canvas, [view])
    axis.count("time")
    axis.update(reading)
    canvas.table.update(reading)
    assert view.figure.xaxis.axis_label == "η · step"
    assert canvas.steps.end == pytest.approx(reading.places[-1], rel=0.03)
    np.testing.assert_allclose(canvas.table.source.data["x"], reading.places)
    np.testing.assert_allclose(canvas.table.source.data["step"], history.steps)
    assert canvas.inside().sum() > 250


def test_a_window_in_time_shows_its_steps(make_history):
    history = make_history(5000)
    reading = Reading(history, RunConfig(lr=0.5), {AXIS: "time"})
    table = Table(0.0)
    table.add(Column("loss", lambda reading: reading.series("discrete", "loss")))
    table.update(reading, window=(1000.0, 1100.0))
    steps = np.asarray(table.source.data["step"])
    inside = steps[(steps >= 2000) & (steps <= 2200)]
    np.testing.assert_array_equal(inside, np.arange(2000, 2201))
