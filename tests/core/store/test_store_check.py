"""`check` finds every damage that is done to a run here, and mends what can be mended; on whole runs it finds nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import cflows_core as cf
from cflows_core.errors import StoreError
from cflows_core.simulation import CHECKPOINT_VERSION
from cflows_core.store import Recorder, Run, document
from cflows_core.store.check import check, find
from cflows_core.store.packed import pack

CONFIG = cf.RunConfig(dataset="chebyshev", width=4, n_train=30, n_eigs=2, lr=0.3, flows=("discrete", "central"), steps=24)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole.zarr"
    cf.run(CONFIG, path, progress=False)
    return path


@pytest.fixture
def path(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "run.zarr")


def files(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def found(path: Path) -> str:
    """What check says is wrong; it writes nothing."""
    before = files(path)
    report = check(path)
    assert files(path) == before
    return "; ".join(finding.what for finding in report.findings)


def same(path: Path, whole: Path, rows: int) -> None:
    run, other = Run.open(path), Run.open(whole)
    assert run.rows == rows
    for name, values in other.columns().items():
        np.testing.assert_array_equal(run.columns()[name], values[:rows], err_msg=name)
    assert run.damaged == []


def edit(path: Path, **fields) -> None:
    text = json.loads((path / "zarr.json").read_text())
    text["attributes"]["cflows"].update(fields)
    (path / "zarr.json").write_text(json.dumps(text))


def test_a_whole_run_is_whole(path, whole) -> None:
    report = check(path)
    assert (report.whole, report.findings, report.state) == (True, [], "25 steps")
    before = files(path)
    assert check(path, repair=True).done == []
    assert files(path) == before
    assert check(pack(path, path.parent / "packed.zarr.zip")).state == "25 steps, packed"


@pytest.mark.parametrize("name", ["zarr.json", "step/zarr.json", "writer.lock"])
def test_a_document_nested_without_end_is_damage_like_any_other(path, whole, name) -> None:
    (path / name).write_text("[" * 10**5)
    assert name == "writer.lock" or found(path)
    assert check(path, repair=True).whole
    same(path, whole, 25)


def test_every_shipped_run_is_whole(repository) -> None:
    shipped = list(find(repository / "app" / "assets" / "runs"))
    assert shipped
    for run in shipped:
        assert check(run).whole


def test_a_torn_end_is_cut_and_computed_again(path, whole) -> None:
    for name in ("central/loss", "step", "discrete/step", "discrete/grad_norm_sq"):
        spec = Run.open(path).arrays[name]
        spec.write(path, 21, spec.blank(4))
    assert "the last 4 of 25 steps are torn" in found(path)
    former = (path / "zarr.json").read_bytes()
    report = check(path, repair=True)
    assert report.whole
    assert any(words.startswith("cut back to 21 whole steps (4 given up, which resume computes again") for words in report.done)
    assert any(words.startswith("the checkpoint put aside") for words in report.done)  # it is of a later step
    assert former in {file.read_bytes() for file in path.glob("zarr.json.aside*")}
    assert not Run.open(path).meta["closed"]
    same(path, whole, 21)
    cf.resume(path, progress=False)
    run, other = Run.open(path), Run.open(whole)
    assert run.events == other.events
    for name, values in other.columns().items():
        if not name.endswith("wall_time"):
            np.testing.assert_array_equal(run.columns()[name], values, err_msg=name)


def test_a_short_file_is_found(path) -> None:
    chunk = path / "central" / "effective_eigs" / "c.0.0"
    chunk.write_bytes(chunk.read_bytes()[: 20 * 16 + 5])
    assert "the last 5 of 25 steps are torn (central/effective_eigs)" in found(path)
    assert check(path, repair=True).whole
    assert Run.open(path).rows == 20


def test_a_hole_is_told_and_not_cut(path) -> None:
    spec = Run.open(path).arrays["central/loss"]
    spec.write(path, 7, spec.blank(3))
    assert "3 of 25 steps are lost in some series" in found(path)
    report = check(path, repair=True)
    assert not report.whole
    assert Run.open(path).rows == 25


def test_a_lost_array_is_told(path) -> None:
    shutil.rmtree(path / "central" / "loss")
    assert "central/loss" in found(path)
    assert not check(path).whole


@pytest.mark.parametrize("name", ["step", "wall_time"])
def test_coordinates_come_back_from_their_copies(path, whole, name) -> None:
    (path / name / "c.0").unlink()
    assert f"the array `{name}` is damaged" in found(path)
    report = check(path, repair=True)
    assert report.done == [f"`{name}` restored from its copy in the group `discrete`"]
    assert report.whole
    same(path, whole, 25)


def test_more_rows_than_files(path, whole) -> None:
    edit(path, rows=10**7)
    assert "10,000,000 steps are committed, and there are files for 1,024" in found(path)
    assert check(path, repair=True).whole
    same(path, whole, 25)


@pytest.mark.parametrize("root", [None, b"", b'{"zarr_format":3', b"\x00" * 5000])
def test_a_lost_root_document_is_restored(path, whole, root) -> None:
    (path / "zarr.json").unlink()
    if root is not None:
        (path / "zarr.json").write_bytes(root)
    assert list(find(path.parent)) == [path]
    assert "is not a stored run" in found(path)
    report = check(path, repair=True)
    assert report.whole
    assert "root document restored" in report.done[0]
    assert "lost: its events" in report.done[0]
    same(path, whole, 25)
    assert Run.open(path).config == CONFIG
    if root is not None:
        assert (path / "zarr.json.aside").read_bytes() == root
    assert cf.resume(path, steps=2, progress=False).rows == 27


def test_a_root_document_without_a_checkpoint_is_beyond_repair(path) -> None:
    (path / "zarr.json").write_bytes(b"{")
    (path / "checkpoint.pt").unlink()
    before = files(path)
    report = check(path, repair=True)
    assert not report.whole
    assert "cannot be restored: There is no checkpoint" in report.findings[0].what
    assert {name: content for name, content in files(path).items() if name != "writer.lock"} == {
        name: content for name, content in before.items() if name != "writer.lock"
    }


@pytest.mark.parametrize("damage", ["torn", "version", "other"])
def test_a_checkpoint_of_no_use_is_put_aside(path, whole, damage) -> None:
    file = path / "checkpoint.pt"
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "version":
        torch.save(torch.load(file, weights_only=True) | {"version": CHECKPOINT_VERSION + 1}, file)
    else:
        cf.Simulation(CONFIG.replace(seed=5)).save(file)
    content = file.read_bytes()
    assert "checkpoint" in found(path)
    report = check(path, repair=True)
    assert report.whole
    assert (path / "checkpoint.pt.aside").read_bytes() == content
    assert not file.exists()
    same(path, whole, 25)


def test_leftovers_and_documents(path, whole) -> None:
    (path / "zarr.json.0123abcd.partial").write_bytes(b"{")
    (path / "central" / "loss" / "c.0.0123abcd.partial").write_bytes(b"")
    (path / "central" / "zarr.json").write_text("{")
    (path / "step" / "zarr.json").unlink()
    report = check(path)
    assert report.whole  # it reads as it should
    assert len(report.findings) == 2
    assert len(check(path, repair=True).done) == 2
    assert found(path) == ""
    assert not list(path.rglob("*.partial"))
    assert json.loads((path / "step" / "zarr.json").read_text()) == json.loads((whole / "step" / "zarr.json").read_text())


def test_what_was_never_born_and_never_quite_deleted(tmp_path, whole) -> None:
    unborn, deleted = tmp_path / "unborn.zarr", tmp_path / f".run.zarr{document.DELETED}"
    unborn.mkdir()
    (unborn / "writer.lock").touch()
    (unborn / "zarr.json.0123abcd.partial").write_bytes(b"{")
    shutil.copytree(whole, deleted)
    assert sorted(find(tmp_path)) == [deleted, unborn]
    for path in (unborn, deleted):
        assert check(path).whole
        assert check(path, repair=True).whole
        assert not path.exists()


def test_a_run_that_is_being_recorded_is_only_looked_at(tmp_path, make_frame, config) -> None:
    path = tmp_path / "run.zarr"
    recorder = Recorder(path, config)
    recorder.append(make_frame(0))
    recorder.commit()
    (path / "zarr.json.0123abcd.partial").write_bytes(b"{")
    spec = Run.open(path).arrays["wall_time"]
    spec.write(path, 0, spec.blank(1))
    before = files(path)
    report = check(path, repair=True)
    assert "being recorded (process" in report.state
    assert not report.whole
    assert report.done == []
    assert files(path) == before
    recorder.close()


def test_a_configuration_under_another_hash(path) -> None:
    edit(path, config_hash="0" * 16)
    assert "is stored with 0000000000000000" in found(path)
    assert not check(path, repair=True).whole


def test_folders_are_searched(whole, tmp_path) -> None:
    shutil.copytree(whole, tmp_path / "a" / "b" / "run.zarr")
    pack(whole, tmp_path / "a" / "packed.zarr.zip")
    other = tmp_path / "other.zarr"
    other.mkdir()
    (other / "zarr.json").write_text('{"zarr_format":3,"node_type":"group","attributes":{}}')  # somebody else's
    (tmp_path / "notes.txt").write_text("notes")
    assert [path.name for path in find(tmp_path)] == ["run.zarr", "packed.zarr.zip"]
    with pytest.raises(StoreError, match="There is nothing at"):
        list(find(tmp_path / "absent"))
    (tmp_path / "a" / "packed.zarr.zip").write_bytes(b"PK")
    assert "a damaged one" in check(tmp_path / "a" / "packed.zarr.zip").findings[0].what


def test_no_damage_ends_in_anything_but_words(whole, tmp_path) -> None:
    """Files cut, emptied, filled with noise or lost at random: check and repair say something, reading raises StoreError at most."""
    random = np.random.default_rng(0)
    names = sorted(name for name in files(whole) if name != "writer.lock")
    for number in range(10):
        path = shutil.copytree(whole, tmp_path / f"{number}.zarr")
        for name in random.choice(names, size=3, replace=False):
            file, kind = path / name, random.integers(4)
            content = file.read_bytes()
            if kind == 0:
                file.unlink()
            else:
                noise = random.bytes(len(content))
                file.write_bytes([content[: random.integers(len(content))], b"", noise][kind - 1])
        check(path)
        report = check(path, repair=True)
        if report.whole and report.path.exists():
            Run.open(path).columns()
        assert [finding.what for finding in check(path).findings] == [finding.what for finding in report.findings]
