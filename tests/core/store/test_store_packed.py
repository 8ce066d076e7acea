"""A run as one file: what comes out is what went in, and what is no run is told in a sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import cflows_core as cf
from cflows_core.errors import StoreError
from cflows_core.store.packed import pack, unpacked


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "small.zarr"
    cf.run(cf.RunConfig(width=4, n_train=60, warm_start=2, steps=6, n_eigs=2), path, progress=False)
    return path


def test_a_packed_run_opens_as_the_run_itself(stored, tmp_path):
    packed = cf.Run.open(pack(stored, tmp_path / "small.zarr.zip"))
    run = cf.Run.open(stored)
    assert packed.config == run.config
    assert packed.meta == run.meta
    assert packed.events == run.events
    assert packed.columns().keys() == run.columns().keys()
    for path, values in run.columns().items():
        np.testing.assert_array_equal(packed.columns()[path], values)
    assert not packed.damaged
    assert packed.path == tmp_path / "small.zarr.zip"
    assert packed.to_zarr(tmp_path / "again.zarr").exists()


def test_equal_runs_make_equal_files(stored, tmp_path):
    first, second = (pack(stored, tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert not any(name.endswith("writer.lock") for name in archive.namelist())


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_what_is_no_packed_run_is_told(stored, tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(pack(stored, tmp_path / "whole.zip").read_bytes()[:2000])
    nameless = tmp_path / "nameless.zip"
    archive(nameless, **{"é/zarr.json": b"{}"})
    nameless.write_bytes(nameless.read_bytes().replace("é".encode(), b"\x93\x93"))
    two = archive(tmp_path / "two.zip", **{"a/zarr.json": b"{}", "b/zarr.json": b"{}"})
    empty = archive(tmp_path / "empty.zip")
    for path in (tmp_path / "text.zip", cut, nameless):
        with pytest.raises(StoreError, match=r"is not a stored run, or a damaged one .*: copy it again"):
            cf.Run.open(path)
    for path in (two, empty):
        with pytest.raises(StoreError, match="does not hold one stored run"):
            cf.Run.open(path)
    with pytest.raises(StoreError, match="is not a stored run"):
        cf.Run.open(archive(tmp_path / "other.zip", **{"a/zarr.json": b"{}"}))


def test_members_stay_in_the_folder_that_is_unpacked_to(tmp_path):
    path = archive(tmp_path / "hostile.zip", **{"a/zarr.json": b"{}", "../outside": b"x", "/absolute-of-cflows": b"x"})
    with unpacked(path) as folder:
        inside = folder.parent.resolve()
        assert all(file.resolve().is_relative_to(inside) for file in inside.rglob("*"))
    assert not (tmp_path.parent / "outside").exists()
    assert not Path("/absolute-of-cflows").exists()


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(stored, tmp_path, monkeypatch):
    monkeypatch.setattr("cflows_core.store.packed.LARGEST", 1000)
    with pytest.raises(StoreError, match="would unpack to more than"):
        cf.Run.open(pack(stored, tmp_path / "large.zip"))
