"""The columnar history: what goes in comes out, as frames and as columns, whatever a flow leaves out."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.frames import SERIES, STATUSES, Event, Frame
from cflows_core.history import History
from cflows_core.store import Recorder, Run

LENGTHS = {"mode": 6, "axis": 2, "pair": 3, "output": 10, "coordinate": 10}


def full_frame(step: int) -> Frame:
    """A frame with every series of the registry, all different."""
    generator = np.random.default_rng(step)

    def value(dims: tuple[str, ...]) -> float | np.ndarray:
        return generator.normal(size=LENGTHS[dims[0]]) if dims else float(generator.normal())

    names = ("discrete", "stable", "central", "rod")
    flows = {flow: {name: value(s.dims) for name, s in SERIES.items() if flow in s.flows} for flow in names}
    events = (Event(step, "central", "rank", "Σ has rank 1."),) if step % 10 == 3 else ()
    return Frame(step, 0.1 * step, 2.0 * step, flows, {"stable": 0.5 * step}, dict.fromkeys(names, "running"), events)


def warm_start_frame(step: int) -> Frame:
    """Before the flows start: the discrete optimizer alone."""
    return Frame(step, 0.1 * step, 1.0, {"discrete": {"loss": 1.0 / (1 + step)}}, status={"discrete": "running"})


def assert_same(one: Frame, other: Frame) -> None:
    assert (one.step, one.wall_time, one.gradients) == (other.step, other.wall_time, other.gradients)
    assert (one.distance, one.status, one.events) == (other.distance, other.status, other.events)
    assert {flow: set(series) for flow, series in one.flows.items()} == {f: set(s) for f, s in other.flows.items()}
    for flow, series in one.flows.items():
        for name, value in series.items():
            np.testing.assert_array_equal(value, other.flows[flow][name])  # bit for bit: only copies are made


@pytest.fixture
def frames() -> list[Frame]:
    return [*(warm_start_frame(step) for step in range(300)), *(full_frame(step) for step in range(300, 700))]


def test_frames_come_back_as_they_went_in(frames: list[Frame]) -> None:
    history = History(frames)
    assert len(history) == len(history.frames) == 700
    for row in (0, 299, 300, 303, 699, -1):
        assert_same(history.frames[row], frames[row])
    assert [frame.step for frame in history.frames[298:302]] == [298, 299, 300, 301]
    assert sum(1 for _ in history.frames) == 700
    with pytest.raises(IndexError):
        history.frames[700]


def test_columns(frames: list[Frame]) -> None:
    history = History(frames)
    np.testing.assert_array_equal(history.steps, np.arange(700))
    loss = history.series("discrete", "loss")
    assert loss.shape == (700,)
    assert loss[5] == 1 / 6
    eigenvalues = history.series("central", "effective_eigs")
    assert eigenvalues.shape == (700, 6)
    assert np.isnan(eigenvalues[:300]).all()
    assert not np.isnan(eigenvalues[300:]).any()
    assert np.isnan(history.distance("stable")[299])
    assert history.distance("stable")[300] == 150.0
    assert STATUSES[history.status("rod")[299]] == "not started"
    assert STATUSES[history.status("rod")[300]] == "running"
    assert history.flows == ("discrete", "stable", "central", "rod")
    assert ("rod", "extent") in history.names
    assert [event.step for event in history.events] == list(range(303, 700, 10))
    assert history.changes == ()


def test_what_was_never_given_reads_as_absent() -> None:
    history = History([warm_start_frame(0)])
    assert np.isnan(history.series("rod", "extent")).tolist() == [True]
    assert np.isnan(history.distance("rod")).tolist() == [True]
    assert history.status("rod").tolist() == [0]


def test_readers_cannot_write(frames: list[Frame]) -> None:
    history = History(frames)
    with pytest.raises(ValueError, match="read-only"):
        history.series("discrete", "loss")[0] = 0.0
    history.frames[400].flows["central"]["effective_eigs"][0] = -1.0  # type: ignore[index] - a frame's array is a copy
    assert history.series("central", "effective_eigs")[400, 0] != -1.0


def test_a_view_stays_valid_while_the_history_grows(frames: list[Frame]) -> None:
    history = History(frames[:10])
    early = history.series("discrete", "loss")
    before = early.copy()
    history.append(frames[10:])
    np.testing.assert_array_equal(early, before)


def test_since_gives_each_row_once(frames: list[Frame]) -> None:
    history, cursor, steps, losses = History(), 0, [], []
    for start in range(0, 700, 37):
        history.append(frames[start : start + 37])
        rows = history.since(cursor)
        assert {len(values) for values in rows.values()} == {len(rows["step"])}
        cursor += len(rows["step"])
        steps.append(rows["step"])
        losses.append(rows["discrete.loss"])
    np.testing.assert_array_equal(np.concatenate(steps), np.arange(700))
    np.testing.assert_array_equal(np.concatenate(losses), history.series("discrete", "loss"))
    assert {"rod.status", "stable.distance", "gradients", "wall_time"} <= set(history.since(0))


def test_packed_rows_join_to_the_same_history(frames: list[Frame]) -> None:
    whole, joined = History(frames), History()
    for start in range(0, 700, 41):  # what a worker sends, slice by slice
        joined.extend(History(frames[start : start + 41]).pack())
    for row in range(0, 700, 13):
        assert_same(joined.frames[row], whole.frames[row])
    assert joined.events == whole.events


def test_a_copy_goes_its_own_way(frames: list[Frame]) -> None:
    history = History(frames[:400])
    fork = history.copy()
    fork.append(frames[400:])
    assert (len(history), len(fork)) == (400, 700)
    assert_same(fork.frames[350], frames[350])


def test_a_continued_run_starts_with_its_past(frames: list[Frame]) -> None:
    past = History(frames[:10])
    longer, other = History(frames), History([*frames[:9], full_frame(99)])
    assert longer.starts_with(past)
    assert past.starts_with(past.copy())
    assert not past.starts_with(longer)
    assert not other.starts_with(past)
    assert longer.starts_with(History())


def test_until_drops_what_comes_after(frames: list[Frame]) -> None:
    history = History(frames).until(354)
    assert len(history) == 354
    assert [event.step for event in history.events] == [303, 313, 323, 333, 343, 353]
    assert_same(history.frames[353], frames[353])


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_from_a_stored_run(frames: list[Frame], tmp_path: Path, kept: str) -> None:
    out = tmp_path / "run.zarr" if kept == "disk" else None
    with Recorder(out, RunConfig(warm_start=300, steps=400)) as recorder:
        for frame in frames:
            recorder.append(frame)
    run = recorder.run if out is None else Run.open(out)
    history = History.from_run(run)
    assert len(history) == 700
    for row in (0, 299, 300, 303, 699):
        assert_same(history.frames[row], frames[row])
    assert history.events == tuple(run.events)


def test_an_empty_run_gives_an_empty_history(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.zarr", RunConfig()):
        pass
    assert len(History.from_run(Run.open(tmp_path / "run.zarr"))) == 0


def test_memory_of_a_long_run() -> None:
    """200,000 steps of four flows with all series but those of single weights stay below 0.5 GB, a third of what frames would take."""
    tracemalloc.start()
    try:
        frames = [full_frame(step) for step in range(500)]
        for frame in frames:
            for series in frame.flows.values():
                for name in [name for name in series if SERIES[name].dims == ("coordinate",)]:
                    del series[name]
        a_frame = tracemalloc.get_traced_memory()[0] / len(frames)
    finally:
        tracemalloc.stop()
    history, rows = History(), History(frames).pack()
    for _ in range(40):
        history.extend(rows)
    a_row = history.nbytes / len(history)
    assert a_row < 2500  # 185 numbers, and at most half as much again to grow into
    assert a_frame > 3 * a_row  # which is why there is a history
