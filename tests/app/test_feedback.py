"""The feedback diagram: what it says of made-up runs of which one knows what drives what, and of the lesson's own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cflows_app.components import Feedback
from cflows_app.lessons import feedback
from cflows_app.lessons.library import BUNDLED
from cflows_core.config import RunConfig
from cflows_core.frames import Frame
from cflows_core.history import History
from cflows_core.store import Run

SCALAR = RunConfig(optimizer="scalar_rmsprop", lr=0.3)
N = 120


def run(**changes: Any) -> History:
    """A run in balance: all series constant, but those given, [N]."""
    series = {
        "hessian_eigs": np.full(N, 10.0),
        "effective_eigs": np.full(N, 2.0),
        "half_difference": np.full(N, 0.1),
        "path_length": np.zeros(N),
        "grad_norm_sq": np.full(N, 1.0),
        "nu_norm": np.full(N, 1.0),
        "effective_step_size": np.full(N, 0.2),
    } | changes
    return History(
        Frame(t, 0.0, 0.0, {"discrete": {name: np.array([values[t]]) if "eigs" in name else values[t] for name, values in series.items()}})
        for t in range(N)
    )


def told(history: History, config: RunConfig = SCALAR, row: int = N - 1) -> dict[str, Any]:
    return feedback.state(history, config, row)


def lit(state: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(arrow["source"], arrow["target"]): arrow["push"] for arrow in state["arrows"] if arrow["lit"]}


def node(state: dict[str, Any], key: str) -> dict[str, Any]:
    return next(node for node in state["nodes"] if node["key"] == key)


def rising(by: float = 1.01) -> np.ndarray:
    return by ** np.arange(N)


def test_in_balance_nothing_is_lit():
    state = told(run())
    assert len(state["nodes"]) == 6
    assert len(state["arrows"]) == 8
    assert lit(state) == {}
    assert {node["trend"] for node in state["nodes"]} == {"steady"}
    assert node(state, "effective")["words"] == "at the edge"
    assert "nothing drives anything" in state["sentence"]


def test_below_the_edge_curvature_and_step_sizes_rise():
    quiet = {"half_difference": np.full(N, 0.05), "path_length": 0.1 * np.arange(N)}  # all of a step is drift
    history = run(
        hessian_eigs=5 * rising(),
        effective_eigs=0.1 * rising(1.02),
        nu_norm=1 / rising(1.02),
        effective_step_size=0.1 * rising(),
        **quiet,
    )
    state = told(history)
    assert lit(state) == {
        ("sharpening", "hessian"): "up",
        ("hessian", "effective"): "up",
        ("step_sizes", "effective"): "up",
        ("gradient", "nu"): "down",
        ("nu", "step_sizes"): "up",
    }
    assert node(state, "oscillation")["value"] == "none"
    assert node(state, "effective")["words"].endswith("below the edge")
    assert "the squared gradient is below its average, so ν falls" in state["sentence"]
    assert "progressive sharpening raises the Hessian" in state["sentence"]


def test_above_the_edge_the_oscillation_grows_and_raises_the_gradient():
    history = run(effective_eigs=np.full(N, 2.3), half_difference=0.001 * rising(1.05), grad_norm_sq=rising(1.1))
    state = told(history)
    assert lit(state) == {("effective", "oscillation"): "up", ("oscillation", "gradient"): "up"}
    assert node(state, "effective")["words"] == "15 % above the edge"
    assert "above the edge the oscillation grows; the oscillation rises, so the squared gradient rises" in state["sentence"]


def test_a_large_oscillation_brings_the_effective_hessian_down_both_ways():
    history = run(hessian_eigs=10 / rising(), effective_eigs=30 / rising(1.02), nu_norm=rising(1.02), effective_step_size=1 / rising())
    assert lit(told(history)) == {
        ("effective", "oscillation"): "up",
        ("oscillation", "hessian"): "down",
        ("hessian", "effective"): "down",
        ("step_sizes", "effective"): "down",
        ("gradient", "nu"): "up",
        ("nu", "step_sizes"): "down",
    }


def test_below_the_edge_the_oscillation_dies_out():
    state = told(run(effective_eigs=np.full(N, 1.8), half_difference=1 / rising(1.02)))
    assert lit(state) == {("effective", "oscillation"): "down"}
    assert next(arrow for arrow in state["arrows"] if arrow["source"] == "effective")["label"] == "below the edge: dies out"
    assert "below the edge the oscillation dies out" in state["sentence"]


@pytest.mark.parametrize("swing", [0.02, 0.3])
@pytest.mark.parametrize("angle", [0.0, 1.0])
def test_the_oscillation_is_free_of_drift(swing, angle):
    # Iterates c t v + (−1)^t δ, at an angle to one another; w_t − w_{t+1} = 2(−1)^t δ − c v.
    drift, direction = 0.08, np.array([np.cos(angle), np.sin(angle)])
    steps = [np.array([2 * (-1) ** t * swing, 0.0]) - drift * direction for t in range(N)]
    history = run(half_difference=np.array([np.linalg.norm(step) / 2 for step in steps]), path_length=drift * np.arange(N))
    assert float(node(told(history), "oscillation")["value"]) == pytest.approx(swing, rel=0.05)


def test_an_alternation_is_no_trend():
    alternating = 1 + 0.3 * (-1.0) ** np.arange(N)
    for row in (N - 1, N - 2):
        assert node(told(run(grad_norm_sq=alternating), row=row), "gradient")["trend"] == "steady"


def test_where_flows_start_the_path_is_measured_anew():
    path = np.append(0.01 * np.arange(60), 0.01 * np.arange(N - 60))
    values = [told(run(path_length=path), row=row) for row in (59, 60, 61, 62)]
    assert [node(state, "oscillation")["value"] for state in values] == ["0.0999"] * 4


def test_a_moment_knows_nothing_of_what_comes_after_it():
    history = run(hessian_eigs=rising(), grad_norm_sq=1 + np.sin(np.arange(N)), half_difference=rising(1.03))
    for row in (0, 1, 5, 60):
        assert told(history, row=row) == told(history.until(row + 1))


def test_parts_without_a_series_are_left_out(make_history):
    state = feedback.state(make_history(250), RunConfig(), 249)  # gradient descent: no ν, and its path was not measured
    assert [node["key"] for node in state["nodes"]] == ["hessian", "effective", "gradient"]
    assert {(arrow["source"], arrow["target"]) for arrow in state["arrows"]} == {("sharpening", "hessian"), ("hessian", "effective")}


def test_a_step_size_for_each_weight_is_told_as_a_mean():
    scalar, diagonal = (told(run(), RunConfig(optimizer=name)) for name in ("scalar_rmsprop", "rmsprop"))
    assert [node(scalar, key)["quantity"] for key in ("hessian", "nu", "step_sizes")] == ["top eigenvalue", "", ""]
    assert [node(diagonal, key)["quantity"] for key in ("hessian", "nu", "step_sizes")] == ["largest along the modes", "norm", "mean"]


def test_nothing_to_tell_of_a_run_that_has_not_begun():
    assert feedback.state(History(), SCALAR, 0) == {"step": None, "nodes": [], "arrows": [], "sentence": "Nothing has run yet."}


def test_a_missing_value_is_a_dash():
    history = run(effective_eigs=np.where(np.arange(N) < N - 1, 2.0, np.nan))
    assert node(told(history), "effective") | {"path": []} == {
        "key": "effective", "name": "Effective Hessian", "symbol": "P⁻¹H", "quantity": "λ₁ / c", "value": "–", "words": "", "trend": "",
        "path": [], "mark": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (1234.5, "1.23·10³"), (1.2e-7, "1.2·10⁻⁷"), (2, "2")])
def test_figures_have_three_digits(value, text):
    assert node(told(run(nu_norm=np.full(N, float(value)))), "nu")["value"] == text


def lesson(name: str) -> tuple[History, RunConfig]:
    stored = Run.open(BUNDLED / "runs" / f"{name}.zarr")
    return History.from_run(stored), stored.config


@pytest.mark.parametrize("name", ["scalar-rmsprop", "rmsprop", "adam"])
def test_a_lit_arrow_moves_its_target_as_it_says(name):
    history, config = lesson(name)
    seen = set()
    for row in range(0, len(history), 3):
        state = feedback.state(history, config, row)
        json.dumps(state, allow_nan=False)
        for (source, target), push in lit(state).items():
            seen.add((source, target))
            allowed = {"up": {"rises"}, "down": {"falls"}}[push] | ({"steady"} if source == "effective" else set())
            assert node(state, target)["trend"] in allowed
        for part in state["nodes"]:
            assert len(part["path"]) == feedback.PAST
            assert all(y is None or -1e-9 <= y <= 1 + 1e-9 for y in part["path"])
    assert len(seen) == 8  # each arrow acts at some time


def test_the_lesson_s_first_round():
    """Scalar RMSProp: sharpening to far beyond the edge, then the spike at step 210 that closes both loops."""
    history, config = lesson("scalar-rmsprop")
    before, spike = (feedback.state(history, config, row) for row in (205, 213))
    assert lit(before)["effective", "oscillation"] == "up"
    assert node(before, "oscillation")["value"] == "none"
    loops = lit(spike)
    assert loops["oscillation", "hessian"] == loops["nu", "step_sizes"] == loops["hessian", "effective"] == "down"
    assert loops["oscillation", "gradient"] == loops["gradient", "nu"] == "up"


def test_the_component_draws_a_state():
    state = told(run())
    component = Feedback(lambda message: None)
    component.show(**state)
    assert component.state["sentence"] == state["sentence"]
