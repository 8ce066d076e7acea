"""Logs, metrics, health and the stop, each by itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cflows_app.operation import logs, stopping
from cflows_app.operation.health import STUCK, Health, Wellness
from cflows_app.operation.metrics import Metrics, memory
from cflows_core.config import RunConfig
from tests.app.conftest import FakeEngine, FakeRunner


@pytest.fixture
def said():
    """What is logged while a test runs, as JSON and for people."""
    streams = {True: io.StringIO(), False: io.StringIO()}
    handlers = [logs.begin(as_json, "info", stream) for as_json, stream in streams.items()]
    yield lambda as_json: streams[as_json].getvalue().splitlines()
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("cflows").setLevel(logging.NOTSET)


def test_a_line_of_the_log_is_one_object(said):
    logging.getLogger("cflows").info("a page was opened", extra={"address": "192.0.2.1", "page": "Explore"})
    (line,) = map(json.loads, said(True))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "info", "logger": "cflows", "message": "a page was opened", "address": "192.0.2.1", "page": "Explore"}
    assert said(False)[0].endswith("INFO a page was opened (address 192.0.2.1, page Explore)")


def test_a_visitors_text_is_no_line_of_its_own(said):
    logging.getLogger("cflows").warning("refused: %s", "x\n2026-01-01 INFO logged in\x1b[2J", extra={"path": "/a\nb"})
    assert [len(said(as_json)) for as_json in (True, False)] == [1, 1]
    assert "\x1b" not in said(False)[0]
    assert "\x1b" not in json.loads(said(True)[0])["message"]


def test_a_traceback_is_kept_and_others_news_are_not(said):
    try:
        raise KeyError("what")
    except KeyError:
        logging.getLogger("cflows").exception("it failed")
    for name in ("bokeh.server", "distributed.worker", "tornado.access"):
        logging.getLogger(name).info("news of a library")
    (line,) = map(json.loads, said(True))
    assert "KeyError: 'what'" in line["traceback"]


def told(metrics: Metrics) -> dict[str, float]:
    """Name, with labels, -> value, as a Prometheus server reads it."""
    families = text_string_to_metric_families(metrics.told().decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value for sample in samples}


def test_metrics_count_runs_and_their_steps(said):
    metrics, engine = Metrics(), FakeEngine()
    first, second = FakeRunner(engine, RunConfig()), FakeRunner(engine, RunConfig(seed=1))
    first.play(50)  # resumed: not computed since
    runs = [first, second]
    metrics.watch(lambda: runs, lambda: {"Explore": 2})
    metrics.queue = lambda: 7
    assert told(metrics)["cflows_steps_total"] == 0
    first.run()
    first.play(20)
    second.play(5)
    found = told(metrics)
    assert (found["cflows_steps_total"], found["cflows_runs running"], found["cflows_runs paused"]) == (25, 1, 1)
    assert (found["cflows_visitors Explore"], found["cflows_queue_length"], found["cflows_runs_started_total"]) == (2, 7, 2)
    first.pause()
    first.error, second.finished = "The worker process of this run was lost.", True
    metrics.refuse("visits")
    metrics.lateness.observe(0.03)
    found = told(metrics)
    assert (found["cflows_runs failed"], found["cflows_runs finished"], found["cflows_runs_failed_total"]) == (1, 1, 1)
    assert (found["cflows_refused_requests_total visits"], found["cflows_loop_lateness_seconds_bucket 0.05"]) == (1, 1)
    assert told(metrics)["cflows_runs_failed_total"] == 1  # it fails once
    runs.clear()
    assert told(metrics)["cflows_runs failed"] == 0
    levels = [(json.loads(line)["level"], json.loads(line)["message"].split(":")[0]) for line in said(True)]
    assert levels == [("info", "a run began"), ("info", "a run began"), ("error", "a run failed"), ("info", "a run ended")]


def test_memory_is_that_of_this_process():
    before = memory()
    kept = bytearray(200 * 2**20)
    kept[:: 2**12] = b"x" * len(kept[:: 2**12])  # a page of memory counts once it is written
    assert memory() - before == pytest.approx(200, abs=40)


@pytest.mark.parametrize(
    ("engine", "folder", "late", "stopping", "wrong"),
    [
        ("", "", 0.0, False, {}),
        ("never", "", 0.0, False, {"engine": "starting"}),
        ("fails", "", 0.0, False, {"engine": "failed (OSError)"}),
        ("", "file", 0.0, False, {"disk": "not a directory"}),
        ("", "", STUCK + 1, False, {"loop": "was held up"}),
        ("", "", 0.0, True, {"server": "stopping"}),
    ],
)
def test_what_is_not_well_is_named(tmp_path: Path, engine, folder, late, stopping, wrong):
    (tmp_path / "file").write_text("")

    async def connect():
        if engine == "never":
            await asyncio.sleep(60)
        if engine == "fails":
            raise OSError("no worker")

    async def look() -> dict[str, str]:
        health = Health()
        health.recent.append(late)
        wellness = Wellness(health, connect, tmp_path / folder)
        wellness.stopping = stopping
        return await wellness.look()

    assert asyncio.run(look()) == dict.fromkeys(("engine", "loop", "disk", "server"), "ok") | wrong


def test_stopping_tells_pauses_and_closes_within_its_limit(monkeypatch):
    monkeypatch.setattr(stopping, "STOPS_WITHIN", 0.2)
    monkeypatch.setattr(stopping, "TOLD_WITHIN", 0.0)
    done: list[str] = []
    runner = FakeRunner(FakeEngine(), RunConfig())
    runner.run()

    async def close(seconds: float) -> None:
        assert not runner.running
        await asyncio.sleep(seconds)
        done.append("closed")

    assert asyncio.run(stopping.settle(done.append, lambda: [runner], lambda: close(0.0)))
    assert done == [stopping.SENTENCE, "closed"]
    assert not asyncio.run(stopping.settle(done.append, lambda: [runner], lambda: close(60.0)))
    assert done[2:] == [stopping.SENTENCE]
