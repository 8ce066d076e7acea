"""What is recorded comes back, by frames, arrays, xarray and zarr; creating, resuming and closing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import xarray

from cflows_core.errors import StoreError
from cflows_core.frames import SERIES, Event, Frame
from cflows_core.store import SCHEMA_VERSION, Recorder, Run, layout


def record(path, config, make_frame, steps) -> Run:
    with Recorder(path, config, {"device": "cpu", "threads": 1}) as recorder:
        for step in steps:
            recorder.append(make_frame(step))
    return recorder.run


@pytest.fixture(params=["disk", "memory"])
def where(request, tmp_path: Path) -> Path | None:
    return tmp_path / "run.zarr" if request.param == "disk" else None


def test_frames_come_back_bit_for_bit(where, config, make_frame, same_frames, monkeypatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_ROWS", 64)  # several chunks
    run = record(where, config, make_frame, range(250))
    assert len(run) == 250
    assert run.flows == ("discrete", "stable", "central", "rod")
    assert run.config == config
    frames = list(run.frames())
    assert all(same_frames(a, make_frame(step)) for step, a in enumerate(frames))
    assert [f.step for f in run.frames(100, 103)] == [100, 101, 102]
    assert run.events == [event for step in range(250) for event in make_frame(step).events]


def test_datasets_have_coordinates_units_and_documentation(where, config, make_frame) -> None:
    run = record(where, config, make_frame, range(30))
    central = run["central"]
    assert central.effective_eigs.dims == ("step", "mode")
    assert central.sizes["mode"] == config.n_eigs
    assert set(central.coords) == {"step", "wall_time"}
    for name, variable in central.data_vars.items():
        assert variable.attrs["doc"].endswith(".")
        assert "units" in variable.attrs
        if name in SERIES:
            assert variable.attrs["units"] == SERIES[str(name)].unit
    # the flow starts with the warm start's end; before, nothing
    assert central.loss.isnull().values.tolist() == [step < 5 for step in range(30)]
    meanings = dict(zip(central.status.attrs["flag_values"], central.status.attrs["flag_meanings"].split(), strict=True))
    assert [meanings[int(code)] for code in central.status.values[[0, 5, 29]]] == ["not_started", "settling", "running"]
    assert run.distance.dims == ("flow", "step")
    assert run.distance.sel(flow="rod", step=20).item() == make_frame(20).distance["rod"]
    assert run.tree["rod"].to_dataset().identical(run["rod"])
    with pytest.raises(StoreError, match="has the flows discrete, stable, central, rod, got 'modified'"):
        run["modified"]


def test_plain_xarray_and_zarr_read_it(tmp_path: Path, config, make_frame, monkeypatch) -> None:
    import zarr

    monkeypatch.setattr(layout, "CHUNK_ROWS", 64)
    path = tmp_path / "run.zarr"
    recorder = Recorder(path, config)
    for step in range(150):
        recorder.append(make_frame(step))
    recorder.commit()
    recorder.append(make_frame(150))  # not committed: nobody sees it
    for state in ("open", "closed"):
        run = Run.open(path)
        rows = 150 if state == "open" else 151
        assert len(run) == rows
        for flow in run.flows:
            stored = xarray.open_zarr(path, group=flow, chunks=None)
            xarray.testing.assert_identical(stored.load(), run[flow])
        xarray.testing.assert_equal(xarray.open_datatree(path, engine="zarr", chunks=None), run.tree)
        root = zarr.open_group(path, mode="r")
        assert root["central/covariance_eigs"].shape == (rows, config.n_eigs)
        if state == "open":
            recorder.close()
    # A reader that knows nothing of consolidated metadata finds a closed run, too
    plain = zarr.open_group(path, mode="r", use_consolidated=False)
    assert plain["rod/extent"].shape == (151,)
    np.testing.assert_array_equal(plain["rod/extent"][:], run.series("rod", "extent"))
    assert plain["rod"].attrs["coordinates"] == "wall_time"


def test_the_store_names_its_origin(tmp_path: Path, config) -> None:
    path = tmp_path / "run.zarr"
    Recorder(path, config, {"threads": 7}).close()
    run = Run.open(path)
    assert set(run.meta["versions"]) == {"cflows", "torch", "zarr", "python"}
    assert run.meta["schema_version"] == SCHEMA_VERSION
    assert run.meta["config_hash"] == config.hash
    assert (run.meta["threads"], run.meta["device"]) == (7, config.device)
    assert run.meta["created"].endswith("+00:00")
    assert run.meta["closed"]
    assert len(run) == 0
    assert run.checkpoint_path is None
    assert "no steps yet" in repr(run)


def test_thinning_keeps_events(where, config, make_frame) -> None:
    run = record(where, config.replace(record_every=7), make_frame, range(50))
    assert run.steps.tolist() == [0, 7, 14, 21, 28, 35, 42, 49]
    assert [event.step for event in run.events] == [0, 10, 20, 30, 40]
    assert [[e.step for e in frame.events] for frame in run.frames()] == [[0], [], [10], [20], [], [30], [40], []]


def test_a_number_that_is_not_there(where, config, make_frame) -> None:
    """A diverged run has infinite and missing values: stored as they are."""
    first = make_frame(20)
    odd = {flow: {**series, "loss": np.inf, "grad_norm_sq": np.nan} for flow, series in first.flows.items()}
    with Recorder(where, config) as recorder:
        recorder.append(Frame(20, 0.0, 0.0, odd))
    run = recorder.run
    assert run.series("discrete", "loss").tolist() == [np.inf]
    assert np.isnan(run.series("discrete", "grad_norm_sq")).all()
    assert run.status("rod").tolist() == [1]  # given without a status: it runs
    assert run.distance.shape == (0, 1)


def test_repr_shows_flows_and_distances(where, config, make_frame) -> None:
    text = repr(record(where, config, make_frame, range(12)))
    assert "12 steps, 0 to 11" in text
    assert f"central: running, {make_frame(11).distance['central']:.3g} from the optimizer" in text


def test_resume_overwrites_with_the_same_rows(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    record(path, config, make_frame, range(130))
    before = {f.relative_to(path): f.read_bytes() for f in path.rglob("c.*")}
    recorder = Recorder.reopen(path)
    assert len(Run.open(path)) == 130
    for step in range(60, 110):  # from a checkpoint at step 60
        recorder.append(make_frame(step))
        if step % 20 == 0:
            recorder.commit()
            assert len(Run.open(path)) == 130
    recorder.commit()
    assert {f.relative_to(path): f.read_bytes() for f in path.rglob("c.*")} == before
    for step in range(110, 160):
        recorder.append(make_frame(step))
    recorder.close()
    run = Run.open(path)
    assert run.steps.tolist() == list(range(160))
    assert run.events == [event for step in range(160) for event in make_frame(step).events]
    assert [entry["rows"] for entry in run.meta["resumed"]] == [130]
    straight = record(None, config, make_frame, range(160))
    for flow in run.flows:
        xarray.testing.assert_identical(run[flow], straight[flow])


def test_another_course_after_a_resume_gives_up_the_old_one(where, config, make_frame) -> None:
    old = config.replace(changes=[(90, "lr", 0.1)])
    recorder = Recorder(where, old)
    for step in range(100):
        recorder.append(make_frame(step))
    recorder.commit()
    if where is not None:
        recorder.close()
        recorder = Recorder.reopen(where)
    recorder.config = config.replace(changes=[(70, "lr", 0.2)])
    for step in range(60, 70):
        recorder.append(make_frame(step))
    recorder.commit()
    kept = recorder.run
    assert len(kept) == 100  # the new course has not left the old one yet
    assert kept.changes == ((90, "lr", 0.1),)
    recorder.append(make_frame(70))
    recorder.commit()
    run = recorder.run
    assert run.steps.tolist() == list(range(71))
    assert run.changes == ((70, "lr", 0.2),)
    assert run.meta["config_hash"] == run.config.hash != old.hash
    assert max(event.step for event in run.events) == 70
    recorder.append(make_frame(71))
    recorder.close()
    assert recorder.run.steps.tolist() == list(range(72))


def test_a_run_is_never_written_over_by_accident(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    record(path, config, make_frame, range(3))
    with pytest.raises(StoreError, match=r"stored at .* already"):
        Recorder(path, config)
    assert len(Run.open(path)) == 3
    Recorder(path, config, overwrite=True).close()
    assert len(Run.open(path)) == 0
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("text")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="exists and is not a stored run"):
            Recorder(precious, config, overwrite=overwrite)
    assert (precious / "chapter.txt").read_text() == "text"


def test_one_writer_at_a_time(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    first = Recorder(path, config)
    for attempt in (lambda: Recorder.reopen(path), lambda: Recorder(path, config, overwrite=True)):
        with pytest.raises(StoreError, match="Only one recorder can write a run"):
            attempt()
    first.append(make_frame(0))
    first.close()
    with pytest.raises(StoreError, match="closed: go on with"):
        first.append(make_frame(1))
    second = Recorder.reopen(path)
    assert not Run.open(path).meta["closed"] or second.rows == 1
    second.close()


OTHERS = [None, "", "{", "[]", "{}", '{"zarr_format":3,"node_type":"group","attributes":{}}', '{"attributes":{"cflows":{}}}']


@pytest.mark.parametrize("content", OTHERS)
def test_a_path_that_is_no_run(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "no.zarr"
    path.mkdir()
    if content is not None:
        (path / "zarr.json").write_text(content)
    for opener in (Run.open, Recorder.reopen):
        with pytest.raises(StoreError, match="is not a stored run"):
            opener(path)
        with pytest.raises(StoreError, match="no stored run at"):
            opener(tmp_path / "absent.zarr")
    assert not (path / "writer.lock").exists()


def test_a_file_is_no_run(tmp_path: Path, config) -> None:
    path = tmp_path / "file.zarr"
    path.write_text("something else")
    with pytest.raises(StoreError, match="is not a stored run"):
        Run.open(path)
    with pytest.raises(StoreError, match="exists and is not a stored run"):
        Recorder(path, config, overwrite=True)
    with pytest.raises(StoreError, match=r"cannot be written \(not a directory\)"):
        Recorder(path / "run.zarr", config)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path, config) -> None:
    path = tmp_path / "run.zarr"
    Recorder(path, config).close()
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["cflows"]["schema_version"] = SCHEMA_VERSION + 1
    document["attributes"]["cflows"]["config"]["field_of_the_future"] = 1
    (path / "zarr.json").write_text(json.dumps(document))
    for opener in (Run.open, Recorder.reopen):
        with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}.*reads up to schema {SCHEMA_VERSION}: upgrade"):
            opener(path)


def test_another_layout_is_refused(tmp_path: Path, config, make_frame) -> None:
    path = tmp_path / "run.zarr"
    record(path, config, make_frame, range(8))
    document = json.loads((path / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"]["rod/loss"]["codecs"].append({"name": "zstd"})
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="`rod/loss` is not in the layout"):
        Run.open(path)


def test_programming_errors_are_sentences(where, config, make_frame) -> None:
    recorder = Recorder(where, config)
    with pytest.raises(StoreError, match=r"registered in cflows_core.frames.SERIES, got `mood` of central"):
        recorder.append(Frame(0, 0.0, 0.0, {"central": {"mood": 1.0}}))
    recorder.append(make_frame(8))
    with pytest.raises(StoreError, match="`stable/effective_eigs` holds 4 values a step in this run, got 9"):
        recorder.append(Frame(9, 0.0, 0.0, {"stable": {"loss": 7.0, "effective_eigs": np.ones(9)}}))
    recorder.append(Frame(10, 0.0, 0.0, {"discrete": {"loss": 1.0}}))
    recorder.close()
    assert recorder.run.steps.tolist() == [8, 10]
    assert np.isnan(recorder.run.series("stable", "loss")[1])  # nothing of the frame that was refused


def test_commits_come_in_time(tmp_path: Path, config, make_frame, monkeypatch) -> None:
    """Every 100 steps, or so often that at most two seconds of computing wait in memory."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    recorder = Recorder(tmp_path / "run.zarr", config)
    for step in range(300):  # fast steps
        recorder.append(make_frame(step))
        assert step + 1 - recorder.rows < 100
    for step in range(300, 310):  # half a second each
        now[0] += 0.5
        recorder.append(make_frame(step))
        assert step + 1 - recorder.rows <= 3
    for step in range(310, 314):  # so slow that waiting for the next one would be too long
        now[0] += 1.5
        recorder.append(make_frame(step))
        assert recorder.rows == step + 1
    recorder.close()


def test_recording_is_cheap(tmp_path: Path, config, make_frame) -> None:
    """Under a millisecond of computing a step, with a commit every 60 steps of all flows (measured 0.2 ms)."""
    frames = [make_frame(step) for step in range(300)]
    costs = []
    with Recorder(tmp_path / "run.zarr", config) as recorder:
        for start in range(0, 300, 60):
            begin = time.process_time()  # not the wall's: other tests share the cores
            for step in range(start, start + 60):
                recorder.append(frames[step])
            recorder.commit()
            costs.append((time.process_time() - begin) / 60)
    assert min(costs) < 1e-3


def test_events_repeat_neither_by_rewinding_nor_by_thinning(where, config, make_frame) -> None:
    recorder = Recorder(where, config.replace(record_every=3))
    note = Event(4, "", "note", "Between two recorded steps.")
    for step in (0, 1, 2, 3, 4, 5, 3, 4, 5, 6):
        frame = make_frame(step)
        recorder.append(Frame(step, 0.0, 0.0, frame.flows, events=(*frame.events, *((note,) if step == 4 else ()))))
    recorder.close()
    assert recorder.run.events == [*make_frame(0).events, note]
    assert recorder.run.steps.tolist() == [0, 3, 6]
