"""What goes wrong is one sentence and exit code 2."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cflows_core as cf
from cflows_core.presets import PRESETS
from cflows_core.problems import datasets
from tests.project.cli.lines import TINY, Cli, is_a_sentence


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run --lr -0.1", ["lr", "positive", "-0.1"]),
        ("run --lr -1e-3", ["lr", "positive", "-0.001"]),
        ("run --lr abc", ["lr", "positive", "abc"]),
        ("run --lr nan", ["lr", "finite", "nan"]),
        ("run --lr inf", ["lr", "finite", "inf"]),
        ("run --lr", ["--lr", "expected one argument"]),
        ("run --width 2.5", ["width", "whole number", "2.5"]),
        ("run --n-train 0", ["n_train", "1 to", "0"]),
        ("run --n-train 40000 --steps 1", ["n_train", "1,797", "40,000"]),
        ("run --optimizer sgd", ["optimizer", "gd", "sgd"]),
        ("run --dataset mnist", ["dataset", "digits", "mnist"]),
        ("run --flows centrl", ["flows", "central", "centrl"]),
        ("run --changes 400", ["STEP:FIELD=VALUE", "400"]),
        ("run --changes 400:width=3", ["width", "start a new run"]),
        ("run --changes 400:lr=-1", ["lr", "positive", "-1"]),
        ("run --learning-rate 0.1", ["--learning-rate"]),
        ("run --stepz 10", ["--stepz", "--steps"]),
        ("run --targets signed", ["signed", "classes=2"]),
        ("run --out=", ["--out", "empty"]),
        ("run --until 0", ["--until", "at least 1", "0"]),
        ("walk", ["walk", "--help"]),
        ("resume", ["path", "--help"]),
        ("resume x --steps 0", ["--steps", "at least 1", "0"]),
        ("resume x --steps many", ["--steps", "whole number", "many"]),
        ("app --port 70000", ["--port", "65535", "70000"]),
        ("app --port http", ["--port", "http"]),
        ("app --workers 0", ["--workers", "at least 1", "0"]),
        ("app --problem absent.py", ["--problem", "absent.py", "check the path"]),
        ("run --problem absent.py", ["--problem", "absent.py", "check the path"]),
        ("run --problem x.py --dataset digits", ["--problem", "--dataset digits", "leave one out"]),
        ("run --dataset file:x@0123456789abcdef", ["x.py", "--problem"]),
    ],
)
def test_nonsense_is_one_sentence(cflows: Cli, line: str, words: list[str]) -> None:
    code, out, err = cflows(*line.split())
    assert (code, out) == (2, "")
    assert is_a_sentence(err), err
    for word in words:
        assert word.lower() in err.lower(), f"{word!r} is missing in: {err}"


def test_unknown_preset_suggests_close_ones(cflows: Cli) -> None:
    name = next(iter(PRESETS))
    code, _, err = cflows("run", "--preset", name[:-1] + "x")
    assert code == 2
    assert is_a_sentence(err)
    assert name in err
    assert "did you mean" in err
    assert all(name in cflows("run", "--preset", "§§§")[2] for name in PRESETS)


def test_a_store_that_is_no_store(cflows: Cli, tmp_path: Path) -> None:
    (tmp_path / "file.zarr").write_text("not a run")
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    for name in ("missing.zarr", "file.zarr", "folder.zarr"):
        code, _, err = cflows("resume", tmp_path / name)
        assert code == 2
        assert is_a_sentence(err), err
        assert name in err


def test_what_exists_is_never_overwritten(cflows: Cli, tmp_path: Path) -> None:
    run, other = tmp_path / "run.zarr", tmp_path / "thesis"
    assert cflows("run", *TINY, "--steps", "2", "--quiet", "--out", run)[0] == 0
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    for path in (run, other, other / "chapter.txt"):
        code, _, err = cflows("run", *TINY, "--steps", "5", "--out", path)
        assert code == 2
        assert is_a_sentence(err), err
    assert cf.Run.open(run).rows == 3
    assert (other / "chapter.txt").read_text() == "years of work"


def test_a_damaged_checkpoint(cflows: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "run.zarr"
    assert cflows("run", *TINY, "--steps", "2", "--quiet", "--out", path)[0] == 0
    checkpoint = cf.Run.open(path).checkpoint_path
    assert checkpoint is not None
    checkpoint.write_bytes(b"\x80\x04cos\nsystem\n")
    with caplog.at_level("WARNING"):
        assert cflows("resume", path, "--steps", "2", "--quiet")[0] == 0
    assert "is damaged: the run is computed again from its beginning, which repeats what is stored." in caplog.text
    assert cf.Run.open(path).rows == 5


def test_nan_in_the_data(cflows: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = datasets.load

    def damaged(*args: Any, **kwargs: Any) -> datasets.Dataset:
        data = whole(*args, **kwargs)
        inputs = data.inputs.copy()
        inputs[3, 0, 5, 5] = np.nan
        return replace(data, inputs=inputs)

    monkeypatch.setattr(datasets, "load", damaged)
    code, out, err = cflows("run", *TINY, "--steps", "2")
    assert (code, out) == (2, "")
    assert is_a_sentence(err), err
    assert "must be finite" in err
    assert "got 1" in err


def test_a_diverging_run_is_told_and_kept(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    # η = 50 is far beyond any edge of this net (sharpness of about 2 at the start).
    code, out, err = cflows("run", *TINY, "--activation", "gelu", "--lr", "50", "--steps", "40", "--out", path)
    assert code == 1
    assert is_a_sentence(err), err
    assert "diverged" in err
    assert "lower the learning rate" in err
    assert "discrete" in out
    run = cf.Run.open(path)
    assert np.isfinite(run.series("discrete", "loss")[0])
    assert any(event.kind == "diverged" for event in run.events)


def test_a_missing_extra_is_named(cflows: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("cflows_app", "panel")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "panel", None)  # as where it is not installed
    code, _, err = cflows("app")
    assert code == 2
    assert is_a_sentence(err), err
    assert "panel" in err
    assert "pip install 'cflows[app]'" in err
