"""A run that was ever written opens for ever, or says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cflows_core as cf
from cflows_core.errors import StoreError
from cflows_core.store import SCHEMA_VERSION, Recorder, Run, document
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.check import check
from cflows_core.store.packed import unpacked

SAMPLES = Path(__file__).parent / "samples"
FROZEN = SAMPLES / "schema-1.zarr.zip"
# As printed when it was recorded.
LOSS = [0.20087823225085094, 0.19320890722641573, 0.18868436244028802, 0.18583376018601572, 0.1838837623563204, 0.18242143989582862]


def test_every_schema_has_a_sample() -> None:
    assert [path.name for path in sorted(SAMPLES.iterdir())] == [f"schema-{n}.zarr.zip" for n in range(1, SCHEMA_VERSION + 1)]


def test_the_frozen_run_of_schema_1_opens() -> None:
    run = Run.open(FROZEN)
    assert run.steps.tolist() == list(range(9))
    assert run.flows == ("discrete", "stable", "central", "rod")
    assert run.series("central", "loss")[3:].tolist() == LOSS
    assert np.isnan(run.series("central", "loss")[:3]).all()
    assert run.config.replace(steps=1).dataset == "chebyshev"
    assert run.meta["config_hash"] == "500b9298bda2c80f"
    assert [event.kind for event in run.events] == ["start", "start", "start", "finished"]
    assert run["rod"].extent.shape == (9,)
    assert not run.damaged
    assert check(FROZEN).whole


def test_the_frozen_run_goes_on(tmp_path: Path) -> None:
    with unpacked(FROZEN) as folder:
        path = shutil.copytree(folder, tmp_path / "run.zarr")
    run = cf.resume(path, steps=2, progress=False)  # it has no checkpoint: from the beginning
    assert run.steps.tolist() == list(range(11))
    np.testing.assert_allclose(run.series("central", "loss")[3:9], LOSS, rtol=1e-6)  # on another machine the last bits may differ


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run as a schema 0 would have stored it: its rows were called `length`, and its arrays lay in no order."""
    with unpacked(FROZEN) as folder:
        path = shutil.copytree(folder, tmp_path / "old.zarr")
    root = json.loads((path / "zarr.json").read_text())
    attributes = root["attributes"]["cflows"]
    attributes["schema_version"] = 0
    attributes["length"] = attributes.pop("rows")
    (path / "zarr.json").write_text(json.dumps(root))
    return path


def rows_were_called_length(root: dict) -> dict:
    attributes = root["attributes"]["cflows"]
    attributes["rows"] = attributes.pop("length")
    return root


def test_an_older_schema_opens_by_its_migrations(old, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(document.MIGRATIONS, 0, rows_were_called_length)
    before = (old / "zarr.json").read_bytes()
    run, frozen = Run.open(old), Run.open(FROZEN)
    assert run.meta["schema_version"] == SCHEMA_VERSION
    for name, values in frozen.columns().items():
        np.testing.assert_array_equal(run.columns()[name], values)
    assert (old / "zarr.json").read_bytes() == before  # reading changes nothing
    report = check(old)
    assert report.whole
    assert [finding.what for finding in report.findings] == ["it is of schema 0, and opens by migration"]
    resumed = shutil.copytree(old, tmp_path / "resumed.zarr")
    Recorder.reopen(resumed).close()
    assert check(old, repair=True).done == [f"migrated to schema {SCHEMA_VERSION} (the former root document is zarr.json.aside)"]
    assert (old / "zarr.json.aside").read_bytes() == before
    monkeypatch.delitem(document.MIGRATIONS, 0)
    for path in (old, resumed):  # they are of the present schema now
        assert Run.open(path).rows == 9
        assert check(path).findings == []


def test_migrations_follow_one_another(old, monkeypatch) -> None:
    """Two schemas back, each migration makes the next schema's document."""
    monkeypatch.setattr(document, "SCHEMA_VERSION", 2)
    seen = []

    def second(root: dict) -> dict:
        seen.append(root["attributes"]["cflows"]["schema_version"])
        assert "length" not in root["attributes"]["cflows"]
        return root

    monkeypatch.setitem(document.MIGRATIONS, 0, rows_were_called_length)
    monkeypatch.setitem(document.MIGRATIONS, 1, second)
    assert Run.open(old).meta["schema_version"] == 2
    assert seen == [1]


def test_a_schema_of_which_nothing_is_known(old) -> None:
    for opener in (Run.open, Recorder.reopen):
        with pytest.raises(
            StoreError, match=r"written in store schema 0, of which this cflows .* knows nothing .*: open it with the cflows"
        ):
            opener(old)
    assert not check(old).whole
    assert not check(old, repair=True).done


@pytest.mark.parametrize("shape", [[], [None], ["8"], [0], [-1], [True], [2**40], [8, None], [8, 0]])
def test_an_array_whose_files_hold_no_number_of_rows_is_refused(shape) -> None:
    metadata = ArraySpec("step", "int64", (), (), {}, 1024).metadata(3)
    assert ArraySpec.from_metadata("step", metadata).chunk_rows == 1024
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = shape
    with pytest.raises(StoreError, match="not in the layout that cflows writes"):
        ArraySpec.from_metadata("step", metadata)
