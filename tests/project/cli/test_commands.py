"""What works: commands, flags, presets, runs and their continuation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cflows_core as cf
from cflows_core.cli import arguments
from cflows_core.presets import PRESETS
from tests.project.cli.lines import FAST, TINY, Cli, is_a_sentence


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


def test_table_puts_presets_side_by_side(cflows: Cli) -> None:
    code, out, _ = cflows("table", "digits-sharpening", "digits-diverges", "--steps", "3")
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in out.splitlines()]
    assert code == 0
    assert [row[:2] for row in rows[2:]] == [["gd", "digits-sharpening"], ["gd", "digits-diverges"]]
    assert len({len(row) for row in rows}) == 1
    assert float(rows[2][2].split()[0]) >= 0
    code, _, err = cflows("table", "digits-mpl")
    assert code == 2
    assert "digits-mlp" in err
