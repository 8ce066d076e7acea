"""The numbers of the table at a run's end, on a run that is made so that they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.frames import Frame
from cflows_core.measure import gaussian_smooth
from cflows_core.store import Recorder, Run

STEPS, START, SETTLED = 400, 100, 110


def made(path=None, record_every: int = 1, diverges: bool = False) -> Run:
    """Flows from step 100, settling for ten steps; predictions five per cent high, variances ten per cent low in the first mode."""
    random = np.random.default_rng(0)
    loss = 2.0 + 0.1 * random.normal(size=STEPS)
    smooth = gaussian_smooth(loss[::record_every], 50 / record_every)
    config = RunConfig(n_eigs=3, warm_start=START, record_every=record_every)
    with Recorder(path, config) as recorder:
        for t in range(STEPS):
            gone = diverges and t >= 350
            discrete = {"loss": 1e9 if gone else loss[t], "effective_eigs": np.array([2.1, 1.0])}
            flows = {"discrete": discrete}
            status, distance = {"discrete": "stopped" if gone else "running"}, {}
            if t >= START:
                settling = t < SETTLED
                central = {"loss": 1.5, "effective_eigs": np.array([2.0 if not settling else 2.4, 1.0]), "gradients": 10.0 * t}
                if not settling and t % record_every == 0:
                    swing = 1.0 + (-1.0) ** t * 0.5
                    central |= {
                        "predicted_loss": 1.05 * smooth[t // record_every], "rank": 1.0,
                        "covariance_eigs": np.array([0.009, 0.0]), "measured_variance": np.array([0.01 * swing, np.nan]),
                    }  # fmt: skip
                flows["central"] = central
                flows["stable"] = {"loss": 1.4, "effective_eigs": np.array([2.0 + 0.01 * (t - START), 1.0])}
                status |= {"central": "settling" if settling else "running", "stable": "running"}
                if not gone:
                    distance = {"central": 0.001 * (t - START), "stable": 0.01 * (t - START)}
            recorder.append(Frame(t, 0.02 * t, 50.0 * t, flows, distance, status))
    return recorder.run


def test_summary_of_a_known_run() -> None:
    summary = made().summary()
    assert (summary["steps"], summary["first_step"], summary["last_step"]) == (400, 0, 399)
    assert summary["steps_per_second"] == pytest.approx(50.0)
    assert summary["gradients"] == 50.0 * 399
    assert summary["threshold"] == 2.0
    assert math.isnan(summary["path_length"])
    central, stable = summary["flows"]["central"], summary["flows"]["stable"]
    assert (central["status"], central["loss"], central["gradients"]) == ("running", 1.5, 3990.0)
    assert central["distance"] == pytest.approx(0.299)
    assert central["loss_error"] == pytest.approx(0.05, rel=1e-9)
    assert central["edge_steps"] == 290
    assert central["top_eigenvalue"] == 1.0
    assert stable["edge_steps"] == 290
    assert stable["top_eigenvalue"] == pytest.approx(np.mean(1 + 0.005 * np.arange(10, 300)))
    assert math.isnan(stable["loss_error"])
    (mode,) = central["variance"]
    assert mode["steps"] == 290
    assert mode["predicted"] == pytest.approx(0.009)
    # the alternation has no part in a smoothed variance, but for the two ends of the series
    assert mode["measured"] == pytest.approx(0.01, rel=1e-2)
    assert mode["ratio"] == pytest.approx(0.9, rel=1e-2)
    assert stable["variance"] == []


def test_a_thinned_run_is_smoothed_over_as_many_steps() -> None:
    central = made(record_every=2).summary()["flows"]["central"]
    assert central["loss_error"] == pytest.approx(0.05, rel=1e-9)
    assert central["edge_steps"] == 145


def test_after_a_divergence_nothing_is_compared() -> None:
    summary = made(diverges=True).summary()
    central = summary["flows"]["central"]
    assert summary["flows"]["discrete"]["status"] == "stopped"
    assert central["loss_error"] < 0.06
    assert central["distance"] == pytest.approx(0.249)


def test_an_empty_and_a_lone_optimizer_have_summaries() -> None:
    with Recorder(None, RunConfig()) as recorder:
        empty = recorder.run.summary()
        assert empty["steps"] == 0
        assert empty["flows"] == {}
        for t in range(3):
            recorder.append(Frame(t, 0.0, 0.0, {"discrete": {"loss": 1.0, "effective_eigs": np.array([1.97, 1.0])}}))
    entry = recorder.run.summary()["flows"]["discrete"]
    assert (entry["loss"], entry["edge_steps"]) == (1.0, 3)
    assert entry["top_eigenvalue"] == pytest.approx(0.985)
    assert math.isnan(entry["distance"])
