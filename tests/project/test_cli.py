"""The command `cflows`: what it says, and that nothing a user does wrong costs more than one sentence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cflows_core as cf
from cflows_core.cli import arguments, main
from cflows_core.presets import PRESETS
from cflows_core.problems import datasets

# Small enough that twenty steps take well under a second.
TINY = ("--n-train", "30", "--width", "4", "--n-eigs", "2", "--observe", "test")
# Above the edge from the start: all the machinery moves.
EDGE = ("--lr", "0.3", "--flows", "central,rod")
# Far below the edge, where no flow has eigenvalues to follow.
FAST = ("--lr", "0.01", "--flows", "stable,central")
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cflows(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: (exit code, output, errors)."""

    def call(*argv: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def is_a_sentence(text: str) -> bool:
    """One line, from us, with no traceback."""
    return bool(re.fullmatch(r"cflows: \S[^\n]*[.?]\n", text))


# What works


def test_version(cflows: Cli) -> None:
    assert cflows("--version")[:2] == (0, f"cflows {cf.__version__}\n")


def test_no_command_prints_the_help(cflows: Cli) -> None:
    code, out, err = cflows()
    assert (code, err) == (0, "")
    for command in ("run", "resume", "presets", "app", "doctor"):
        assert command in out


def test_every_field_has_a_flag_with_its_sentence_bounds_and_unit(cflows: Cli) -> None:
    code, out, _ = cflows("run", "--help")
    assert code == 0
    text = " ".join(out.split())
    for field in cf.RunConfig.fields():
        assert arguments.flag(field) in text
        # argparse may break a line after a hyphen, so compare without spaces.
        assert "".join(cf.RunConfig.param[field].doc.split()) in text.replace(" ", "")
    assert "above 0; step size; default 0.3" in text


def test_flags_make_the_same_configuration_as_python() -> None:
    line = "run --lr 0.15 --steps 50 --flows central --observe valley,test --activation gelu --changes 10:lr=0.2,20:lr=0.1"
    config = arguments.config_of(arguments.parse(line.split()))
    assert config == cf.RunConfig(
        lr=0.15,
        steps=50,
        flows=("discrete", "central"),
        observe=("test", "valley"),
        activation="gelu",
        changes=((10, "lr", 0.2), (20, "lr", 0.1)),
    )


@given(lr=st.floats(1e-9, 1e9), width=st.integers(1, 4096), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_numbers_survive_the_command_line(lr: float, width: int, seed: int) -> None:
    argv = ["run", "--lr", repr(lr), "--width", str(width), "--seed", str(seed)]
    assert arguments.config_of(arguments.parse(argv)) == cf.RunConfig(lr=lr, width=width, seed=seed)


def test_flags_change_a_preset_and_leave_the_rest() -> None:
    for name, preset in PRESETS.items():
        config = arguments.config_of(arguments.parse(["run", "--preset", name, "--seed", "7"]))
        assert config == preset.config.replace(seed=7)


def test_presets_are_listed(cflows: Cli) -> None:
    code, out, _ = cflows("presets")
    assert code == 0
    for name in PRESETS:
        assert name in out


def test_doctor(cflows: Cli) -> None:
    code, out, _ = cflows("doctor")
    assert code == 0
    assert "self-check passed" in out
    for word in ("torch", "clarabel", "digits", "cifar10", "threads", cf.__version__):
        assert word in out


def test_run_prints_a_summary_and_stores_the_run(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    code, out, err = cflows("run", *TINY, "--steps", "20", "--out", path)
    assert (code, err) == (0, "")
    assert cf.Run.open(path).steps.tolist() == list(range(21))
    for word in ("discrete", "stable", "central", "rod", "loss", "distance", "of path", "gradients", "steps/s"):
        assert word in out
    assert "run.zarr" in "".join(out.split())


def test_until_pauses_and_resume_goes_on(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    assert cflows("run", *TINY, *FAST, "--steps", "12", "--until", "5", "--out", path, "--quiet")[0] == 0
    assert cf.Run.open(path).steps.tolist() == list(range(6))
    assert cflows("resume", path, "--quiet") == (0, "", "")
    assert cf.Run.open(path).steps.tolist() == list(range(13))


def test_quiet_prints_nothing(cflows: Cli) -> None:
    assert cflows("run", *TINY, "--steps", "3", "--quiet") == (0, "", "")


def test_resume_goes_beyond_the_end_as_one_longer_run_would(cflows: Cli, tmp_path: Path) -> None:
    short, long = tmp_path / "short.zarr", tmp_path / "long.zarr"
    assert cflows("run", *TINY, "--steps", "10", "--out", short)[0] == 0
    code, _, err = cflows("resume", short)
    assert code == 2
    assert is_a_sentence(err)
    assert "finished" in err
    assert "--steps" in err
    assert cflows("resume", short, "--steps", "8")[0] == 0
    assert cflows("run", *TINY, "--steps", "18", "--out", long)[0] == 0
    for flow in ("discrete", "stable", "central", "rod"):
        # Bit for bit: a checkpoint holds all that moves.
        np.testing.assert_array_equal(cf.Run.open(short).series(flow, "loss"), cf.Run.open(long).series(flow, "loss"))


# What goes wrong: one sentence, exit code 2


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


def test_a_damaged_checkpoint(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    assert cflows("run", *TINY, "--steps", "2", "--quiet", "--out", path)[0] == 0
    checkpoint = cf.Run.open(path).checkpoint_path
    assert checkpoint is not None
    checkpoint.write_bytes(b"\x80\x04cos\nsystem\n")
    code, _, err = cflows("resume", path, "--steps", "2")
    assert code == 2
    assert is_a_sentence(err), err
    assert cf.Run.open(path).rows == 3


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


# The disk and the power


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk(cflows: Cli, tmp_path: Path) -> None:
    """A real one, small, and filled up to the last byte between two runs."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system; tests of the store simulate the error instead")
    try:
        path, filler = tmp_path / "run.zarr", tmp_path / "filler"
        assert cflows("run", *TINY, *FAST, "--steps", "30", "--out", path, "--quiet")[0] == 0
        before = cf.Run.open(path).series("central", "loss").copy()
        fill(filler)

        for command in (("resume", path, "--steps", "20"), ("run", *TINY, *FAST, "--out", tmp_path / "new.zarr")):
            code, _, err = cflows(*command)
            assert code == 2
            assert is_a_sentence(err), err
            assert "disk is full" in err
            np.testing.assert_array_equal(cf.Run.open(path).series("central", "loss")[:31], before)

        filler.unlink()
        code, _, err = cflows("resume", path, "--steps", "20", "--quiet")
        assert (code, err) == (0, "")
        assert cf.Run.open(path).steps.tolist() == list(range(51))
        assert not cf.Run.open(path).damaged
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_place_that_cannot_be_written(cflows: Cli, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("no /proc, which nobody can write to, on this system")
    code, _, err = cflows("run", *TINY, "--steps", "2", "--out", "/proc/run.zarr")
    assert code == 2
    assert is_a_sentence(err), err
    assert "/proc/run.zarr" in err


class Background:
    """A `cflows run` in a process of its own."""

    def __init__(self, *argv: str | Path):
        line = [sys.executable, "-m", "cflows_core", "run", *map(str, argv)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_rows(self, path: Path, rows: int, seconds: float = 60.0) -> int:
        """Until so many steps are committed; returns how many are."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()[1]
            try:
                present = cf.Run.open(path).rows
            except cf.StoreError:
                present = 0
            if present >= rows:
                return present
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"{rows} steps were not committed within {seconds} s")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_kill_9_loses_nothing_committed_and_the_run_goes_on(cflows: Cli, tmp_path: Path) -> None:
    path, whole = tmp_path / "killed.zarr", tmp_path / "whole.zarr"
    plan = (*TINY, *EDGE, "--steps", "80", "--checkpoint-every", "10")
    background = Background(*plan, "--out", path)
    committed = background.wait_for_rows(path, 21)
    background.end(signal.SIGKILL)

    run = cf.Run.open(path)
    assert committed <= run.rows < 81
    assert run.steps.tolist() == list(range(run.rows))
    assert not run.damaged
    before = {flow: run.series(flow, "loss").copy() for flow in run.flows}

    for command in (("resume", path), ("run", *plan, "--out", whole)):
        assert cflows(*command, "--quiet") == (0, "", "")
    resumed, undisturbed = cf.Run.open(path), cf.Run.open(whole)
    assert resumed.steps.tolist() == list(range(81))
    for flow, loss in before.items():
        # Nothing committed was changed, and the whole is what an undisturbed run gives, bit for bit.
        np.testing.assert_array_equal(resumed.series(flow, "loss")[: len(loss)], loss)
        np.testing.assert_array_equal(resumed.series(flow, "loss"), undisturbed.series(flow, "loss"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT from another process on Windows")
def test_ctrl_c_says_what_is_saved_and_how_to_go_on(cflows: Cli, tmp_path: Path) -> None:
    path = tmp_path / "interrupted.zarr"
    background = Background(*TINY, *EDGE, "--steps", "100000", "--out", path)
    background.wait_for_rows(path, 1)
    code, err = background.end(signal.SIGINT)
    assert code == 130
    assert is_a_sentence(err), err
    rows = cf.Run.open(path).rows
    assert f"{rows:,} steps are saved" in err
    assert f"cflows resume {path}" in err
    # Everything computed was saved, together with the state to go on from.
    checkpoint = cf.Run.open(path).checkpoint_path
    assert checkpoint is not None
    assert cf.Simulation.load(checkpoint).step_number == rows


def test_a_reader_who_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m cflows_core presets | true"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
