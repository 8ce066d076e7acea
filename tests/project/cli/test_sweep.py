"""`cflows sweep`: one file, one folder, one table; what is wrong ends in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cflows_core.store import Run
from tests.core.sweep.tiny import TINY
from tests.project.cli.lines import Cli, is_a_sentence


def spec(folder: Path, **content: object) -> Path:
    path = folder / "rates.json"
    path.write_text(json.dumps({"base": TINY, **content}))
    return path


def test_a_sweep_and_the_same_again(cflows: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = spec(tmp_path, axes={"lr": [0.05, 50.0]})
    code, output, errors = cflows("sweep", path, "--workers", "0")
    assert (code, errors) == (0, "")
    assert "1 of 2: lr=0.05: finished." in output
    assert "lr=50: diverged. At step" in output
    assert "2 configurations: 1 finished, 1 diverged. In runs/rates/table.csv and runs/rates/overview.html." in output
    assert len(list(Path("runs/rates").glob("*.zarr"))) == 2
    code, output, errors = cflows("sweep", path, "--workers", "0", "--quiet", "--table")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 0.05 | finished | ")


def test_a_dry_run_computes_nothing(cflows: Cli, tmp_path: Path) -> None:
    code, output, _ = cflows("sweep", spec(tmp_path, axes={"lr": [0.1, 0.2, 0.1]}), "--dry-run", "--out", tmp_path / "out")
    assert code == 0
    assert f"3 configurations, 1 of them the same as another; 2 runs to be computed, in {tmp_path / 'out'}." in output
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_is_told_and_the_others_are_computed(cflows: Cli, tmp_path: Path) -> None:
    path = spec(tmp_path, configs=[{"device": "cuda", "lr": 0.1}, {"lr": 0.1}])
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU, on which this does not fail")
    code, output, _ = cflows("sweep", path, "--out", tmp_path / "out", "--workers", "0")
    assert code == 1
    assert "1 failed, 1 finished" in output
    assert "needs a CUDA GPU" in output


def test_a_problem_of_ones_own(cflows: Cli, tmp_path: Path) -> None:
    (tmp_path / "bowl.py").write_text(
        "import torch\nfrom cflows_core import Objective\n"
        "def make_objective():\n    return Objective.from_function(lambda w: (w**2).sum(), 3), torch.ones(3)\n"
    )
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"base": {"steps": 5, "flows": ["stable"], "observe": [], "n_eigs": 1}, "axes": {"lr": [0.1, 0.2]}}))
    code, output, errors = cflows("sweep", path, "--problem", tmp_path / "bowl.py", "--out", tmp_path / "out", "--workers", "0")
    assert (code, errors) == (0, ""), output
    assert {Run.open(run).config.dataset.split("@")[0] for run in (tmp_path / "out").glob("*.zarr")} == {"file:bowl"}


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ((), {"axes": {"lrr": [1]}}),
        ((), {}),
        (("--workers", "-1"), {"axes": {"lr": [0.1]}}),
        (("--threads", "x"), {"axes": {"lr": [0.1]}}),
        (("--out", ""), {"axes": {"lr": [0.1]}}),
        (("--over", "lr,seed,steps"), {"axes": {"lr": [0.1]}}),
        (("--over", "seed"), {"axes": {"lr": [0.1]}}),
        (("--scheduler", "nobody there"), {"axes": {"lr": [0.1]}}),
        (("--cluster", "x"), {"axes": {"lr": [0.1]}}),
    ],
)
def test_what_is_wrong_is_one_sentence(cflows: Cli, tmp_path: Path, words: tuple[str, ...], content: dict) -> None:
    out = () if "--out" in words else ("--out", tmp_path / "out")
    workers = () if {"--workers", "--scheduler"} & set(words) else ("--workers", "0")
    code, _, errors = cflows("sweep", spec(tmp_path, **content), *words, *workers, *out)
    assert code == 2
    assert is_a_sentence(errors), errors
    assert not list((tmp_path / "out").glob("*.zarr"))  # told before anything is computed


def test_no_file_is_one_sentence(cflows: Cli, tmp_path: Path) -> None:
    code, _, errors = cflows("sweep", tmp_path / "none.yaml")
    assert (code, is_a_sentence(errors)) == (2, True)
    code, _, errors = cflows("sweep")
    assert (code, is_a_sentence(errors)) == (2, True)
