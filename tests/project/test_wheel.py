"""The wheel holds everything, and works in an environment that has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import cflows_core._version

# Names as a Zarr store and a style sheet have them; setuptools' patterns easily miss files without an extension.
PROBES = ["assets/probe/style.css", "assets/probe/run.zarr/zarr.json", "assets/probe/run.zarr/central/loss/c/0/0"]


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: an old build/ in the tree would leak into it."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("cflows_core", "app"):
        shutil.copytree(repository / folder, source / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source / name)
    for probe in PROBES:
        path = source / "app" / probe
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("probe")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        "dist",
        ".",
        cwd=source,
        timeout=300,
    )
    return next((source / "dist").glob("*.whl"))


def run(*command: str | Path, cwd: Path, timeout: float) -> str:
    # Neither this environment's packages nor its settings may reach the new one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_wheel_contains_every_module_and_asset(wheel: Path, repository: Path) -> None:
    assert wheel.name == f"cflows-{cflows_core._version.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
        entry_points = archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
    assert "cflows = cflows_core.cli:main" in entry_points

    expected = {f"cflows_app/{probe}" for probe in PROBES}
    for folder, package in (("cflows_core", "cflows_core"), ("app", "cflows_app")):
        for path in (repository / folder).rglob("*"):
            relative = path.relative_to(repository / folder)
            if path.is_file() and (path.suffix == ".py" or relative.parts[0] == "assets"):
                expected.add(f"{package}/{relative.as_posix()}")
    assert names == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheel_works_in_an_empty_environment(wheel: Path, repository: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "fresh", cwd=tmp_path, timeout=120)
    scripts = tmp_path / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    constraints = repository / "constraints.txt"
    run(scripts / "python", "-m", "pip", "install", "--quiet", "-c", constraints, wheel, cwd=tmp_path, timeout=900)

    version = run(scripts / "cflows", "--version", cwd=tmp_path, timeout=60)
    assert version.strip() == f"cflows {cflows_core._version.__version__}"
    # Without the extra "app" the doctor says so, and the core still works.
    doctor = run(scripts / "cflows", "doctor", cwd=tmp_path, timeout=120)
    assert "self-check passed" in doctor
    assert "not installed" in doctor
    short = ("--n-train", "30", "--width", "4", "--steps", "3", "--n-eigs", "2", "--out", "short.zarr")
    summary = run(scripts / "cflows", "run", *short, cwd=tmp_path, timeout=120)
    assert "central" in summary
    assert (tmp_path / "short.zarr").is_dir()
