"""Computing a sweep in this process: resumable, each configuration once, failures in their rows."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import cflows_core.sweep.task as task_module
from cflows_core import running, sweep
from cflows_core.errors import ConfigError, StoreError
from cflows_core.store import Run
from cflows_core.sweep.running import Progress
from cflows_core.sweep.task import BUSY, Outcome, compute, where
from tests.core.sweep.tiny import LONG, TINY, same


def rates(**more: Any) -> sweep.Sweep:
    return sweep.from_plain({"base": TINY, "axes": {"optimizer, lr": [["gd", 0.05], ["rmsprop", 0.1]]}, **more}, "rates")


class Watch:
    """Remembers the last progress, and may stop the sweep."""

    def __init__(self, stop: Any = lambda progress: False):
        self.stop = stop

    def __call__(self, progress: Progress) -> None:
        self.progress = progress
        if self.stop(progress):
            raise KeyboardInterrupt


def test_each_configuration_is_the_run_that_it_is_alone(tmp_path: Path) -> None:
    table = sweep.run(rates(), tmp_path, workers=0)
    assert [row["state"] for row in table.rows] == ["finished"] * 2
    for row, case in zip(table.rows, rates().cases, strict=True):
        alone = running.run(case.config, tmp_path / "alone.zarr", progress=False, overwrite=True)
        assert same(table.run(row), alone)
        assert row["discrete_loss"] == alone.summary()["flows"]["discrete"]["loss"]


def test_what_is_finished_is_not_computed_again(tmp_path: Path) -> None:
    first, second = Watch(), Watch()
    sweep.run(rates(), tmp_path, workers=0, on_progress=first)
    assert all(outcome.computed for outcome in first.progress.outcomes.values())
    roots = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.zarr/zarr.json")}
    table = sweep.run(rates(), tmp_path, workers=0, on_progress=second)
    assert not any(outcome.computed for outcome in second.progress.outcomes.values())
    assert roots == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.zarr/zarr.json")}
    assert len(table.rows) == len(roots) == 2


def test_a_sweep_that_grows_computes_what_is_new(tmp_path: Path) -> None:
    sweep.run(rates(), tmp_path, workers=0)
    watch = Watch()
    sweep.run(rates(configs=[{"lr": 0.05}, {"lr": 0.07}]), tmp_path, workers=0, on_progress=watch)
    assert sum(outcome.computed for outcome in watch.progress.outcomes.values()) == 1
    assert len(watch.progress.outcomes) == 3


@pytest.mark.slow
def test_interrupted_it_goes_on_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "TELL_SECONDS", 0.0)
    wanted = sweep.from_plain({"base": {**LONG, "steps": 60, "checkpoint_every": 1000}, "axes": {"seed": [0, 1]}})
    first, second = wanted.cases
    with pytest.raises(KeyboardInterrupt):
        sweep.run(wanted, tmp_path, workers=0, on_progress=Watch(lambda progress: progress.reached.get(first.config.hash, 0) == 30))
    stored = Run.open(where(tmp_path, first.config))
    assert stored.steps[-1] == 30
    assert stored.checkpoint_path is not None
    assert not where(tmp_path, second.config).exists()
    reached: list[int] = []
    table = sweep.run(wanted, tmp_path, workers=0, on_progress=lambda progress: reached.append(progress.reached.get(first.config.hash, 99)))
    assert min(reached) == 31  # nothing again
    alone = running.run(first.config, tmp_path / "alone.zarr", progress=False)
    assert same(table.run(table.rows[0]), alone)


def test_divergence_and_failure_are_results(tmp_path: Path) -> None:
    cases = [{"lr": 50.0}, {"dataset": "cifar10", "n_train": 50_000, "max_memory": 1e-9}, {"lr": 0.1}]
    table = sweep.run(sweep.from_plain({"base": TINY, "configs": cases}), tmp_path, workers=0)
    diverged, failed, finished = table.rows
    assert diverged["state"] == "diverged"
    assert "lower the learning rate" in diverged["sentence"]
    assert failed["state"] == "failed"
    assert failed["sentence"].endswith(".")
    assert "discrete_loss" not in failed
    assert finished["state"] == "finished"


def test_a_run_gone_on_with_by_hand_is_not_taken_for_the_configurations(tmp_path: Path) -> None:
    table = sweep.run(rates(), tmp_path, workers=0)
    running.resume(tmp_path / f"{table.rows[0]['run']}.zarr", 5, progress=False)
    again = sweep.run(rates(), tmp_path, workers=0)
    assert again.rows[0]["state"] == "failed"
    assert "move it out" in again.rows[0]["sentence"]
    assert again.rows[1]["state"] == "finished"


def test_a_run_killed_while_it_was_created_is_begun_again(tmp_path: Path) -> None:
    config = rates().cases[0].config
    where(tmp_path, config).mkdir()
    (where(tmp_path, config) / "writer.lock").touch()
    assert compute("", config.to_dict(), str(tmp_path)) == Outcome("finished", computed=True)


def test_what_someone_else_computes_is_busy(tmp_path: Path) -> None:
    config = rates().cases[0].config
    inner: list[Outcome] = []

    def tell(step: int) -> None:
        if not inner:
            inner.append(compute("", config.to_dict(), str(tmp_path)))

    assert compute("", config.to_dict(), str(tmp_path), tell=tell).state == "finished"
    assert [outcome.state for outcome in inner] == [BUSY]


def test_two_sweeps_in_one_folder_compute_each_run_once(tmp_path: Path) -> None:
    wanted = sweep.from_plain({"base": {**TINY, "steps": 25}, "axes": {"seed": [0, 1, 2]}})
    watches, tables = [Watch(), Watch()], []

    def one(watch: Watch) -> None:
        tables.append(sweep.run(wanted, tmp_path, workers=0, on_progress=watch))

    threads = [threading.Thread(target=one, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    computed = [name for watch in watches for name, outcome in watch.progress.outcomes.items() if outcome.computed]
    assert sorted(computed) == sorted(wanted.configs)
    for table in tables:
        assert [row["state"] for row in table.rows] == ["finished"] * 3
        assert not any(table.run(row).meta.get("resumed") for row in table.rows)


def test_progress_counts_steps() -> None:
    wanted = sweep.from_plain({"base": TINY, "axes": {"lr": [0.1, 0.2, 0.3, 0.4]}})
    names = list(wanted.configs)
    progress = Progress(wanted, begun=0.0)
    assert (progress.steps, progress.step, progress.seconds_left) == (48, 0, None)
    progress.note(names[0], Outcome("finished"))  # from before
    assert progress.seconds_left is None
    progress.note(names[1], Outcome("finished", computed=True))
    progress.reached |= {names[1]: 12, names[2]: 6}
    progress.note(names[3], Outcome(BUSY))
    assert (progress.step, progress.elsewhere) == (30, {names[3]})
    assert progress.seconds_left > 0
    progress.note(names[3], Outcome("finished"))
    assert (progress.step, progress.elsewhere) == (42, set())


def test_bad_places_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        sweep.run(rates(), tmp_path / "file", workers=0)
    with pytest.raises(ConfigError, match="`workers`"):
        sweep.run(rates(), tmp_path, workers=-1)


def test_a_folder_can_be_moved(tmp_path: Path) -> None:
    sweep.run(rates(), tmp_path / "here", workers=0)
    shutil.move(tmp_path / "here", tmp_path / "there")
    watch = Watch()
    sweep.run(rates(), tmp_path / "there", workers=0, on_progress=watch)
    assert not any(outcome.computed for outcome in watch.progress.outcomes.values())
