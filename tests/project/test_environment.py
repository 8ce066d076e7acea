"""pyproject.toml, constraints.txt, environment.yml and CITATION.cff say the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cflows_core._version

# PyPI's name -> conda-forge's, where they differ.
CONDA_NAMES = {"torch": "pytorch", "build": "python-build", "playwright": "playwright-python"}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def ranges(project: dict[str, Any]) -> dict[str, SpecifierSet]:
    """Every dependency of the project, of all extras together -> its range."""
    written = sum(project["optional-dependencies"].values(), start=[*project["dependencies"]])
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, written):
        name = canonicalize_name(requirement.name)
        if name != "cflows":
            assert name not in found, f"{name} is asked for twice"
            found[name] = requirement.specifier
    return found


def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in entry for entry in entries)
    return {canonicalize_name(name): version for name, version in (entry.split("==") for entry in entries)}


def test_conda_environment_has_the_same_ranges(repository: Path, project: dict[str, Any]) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    assert environment["channels"][0] == "conda-forge"
    conda = {}
    *written, rest = environment["dependencies"]  # the rest is pip's
    for requirement in map(Requirement, written + rest["pip"]):
        conda[canonicalize_name(requirement.name)] = requirement.specifier
    conda.pop("pip")
    assert conda.pop("python") == SpecifierSet(project["requires-python"])
    assert conda == {CONDA_NAMES.get(name, name): specifier for name, specifier in ranges(project).items()}


def test_dependencies_are_ranges_not_pins(project: dict[str, Any]) -> None:
    for name, specifier in ranges(project).items():
        operators = {clause.operator for clause in specifier}
        assert ">=" in operators, f"{name} has no lower bound"
        assert operators <= {">=", "<", "!="}, f"{name} is pinned: {specifier}"


def test_versions_verified_together_lie_within_the_ranges(repository: Path, project: dict[str, Any]) -> None:
    wanted = ranges(project)
    for name, version in pins(repository).items():
        if name in wanted:
            assert version in wanted[name], f"constraints.txt has {name}=={version}, outside {wanted[name]}"


def test_every_base_and_app_dependency_has_a_verified_version(repository: Path, project: dict[str, Any]) -> None:
    wanted = [*project["dependencies"], *project["optional-dependencies"]["app"]]
    missing = {canonicalize_name(Requirement(entry).name) for entry in wanted} - set(pins(repository))
    assert not missing
    # Any other request for torch may fetch gigabytes.
    assert pins(repository)["torch"] == "2.13.0"


def test_one_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    version = cflows_core._version.__version__
    assert str(citation["version"]) == version
    assert f"[{version}]" in (repository / "CHANGELOG.md").read_text()
