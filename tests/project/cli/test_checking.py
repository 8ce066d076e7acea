"""`cflows check`: a line a run, exit codes, and nothing written without --repair."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cflows_core as cf
from tests.project.cli.lines import Cli, is_a_sentence

CONFIG = cf.RunConfig(dataset="chebyshev", width=4, n_train=30, n_eigs=2, flows=("discrete", "stable"), steps=12)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole.zarr"
    cf.run(CONFIG, path, progress=False)
    return path


def test_whole_runs(cflows: Cli, stored: Path) -> None:
    assert cflows("check", stored) == (0, f"ok       {stored}: 13 steps\n", "")
    assert cflows("check", stored.parent)[0] == 0


def test_a_damaged_run_is_told_and_mended(cflows: Cli, stored: Path, tmp_path: Path) -> None:
    path = shutil.copytree(stored, tmp_path / "a" / "run.zarr")
    shutil.copytree(stored, tmp_path / "whole.zarr")
    chunk = path / "discrete" / "loss" / "c.0"
    chunk.write_bytes(chunk.read_bytes()[: 10 * 8])
    content = chunk.read_bytes()
    for _ in range(2):  # looking mends nothing
        code, out, err = cflows("check", tmp_path)
        assert (code, err) == (1, "")
        lines = out.splitlines()
        assert lines[0].startswith(f"damaged  {path}: 13 steps; the last 3 of 13 steps are torn (discrete/loss); --repair mends this")
        assert lines[1].startswith("ok       ")
        assert chunk.read_bytes() == content
    code, out, err = cflows("check", "--repair", tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(f"mended   {path}: 10 steps, not closed; mended: cut back to 10 whole steps")
    assert cflows("check", tmp_path)[0] == 0
    assert cflows("resume", path, "--quiet") == (0, "", "")
    assert cf.Run.open(path).rows == 13


def test_where_no_run_is(cflows: Cli, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "no stored run in"), (tmp_path / "absent", "nothing at")):
        code, out, err = cflows("check", path)
        assert (code, out) == (2, "")
        assert is_a_sentence(err)
        assert words in err


def test_resume_says_that_it_begins_again(cflows: Cli, stored: Path, tmp_path: Path, caplog) -> None:
    path = shutil.copytree(stored, tmp_path / "run.zarr")
    (path / "checkpoint.pt").write_bytes(b"torn")
    assert cflows("resume", path, "--steps", "1", "--quiet")[0] == 0
    assert f"The checkpoint of {path} is damaged: the run is computed again from its beginning" in caplog.text
    assert cf.Run.open(path).rows == 14
