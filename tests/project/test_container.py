"""What can be checked of the container file without building it: its paths are there, its commands parse, and it holds no secret."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from cflows_core.cli import arguments

SECRET = re.compile(r"PASSWORD\s*=|SECRET\s*=|TOKEN\s*=")


@pytest.fixture(scope="module")
def lines(repository: Path) -> list[list[str]]:
    """Instruction and the rest, a line each."""
    text = (repository / "Containerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_what_is_copied_exists_and_is_all_that_the_build_needs(repository: Path, lines):
    copied = {source for name, rest in lines if name == "COPY" for source in rest.split()[:-1]}
    assert all((repository / source).exists() for source in copied)
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "cflows_core", "app"} <= copied


def test_the_command_is_one_that_cflows_knows(lines):
    (entry,) = [json.loads(rest) for name, rest in lines if name == "ENTRYPOINT"]
    given = arguments.parse([*entry[1:], "--origin", "cflows.test"])
    assert (entry[0], given.command, given.public, given.proxied, given.address) == ("cflows", "app", True, True, "0.0.0.0")
    ports = {rest for name, rest in lines if name == "EXPOSE"}
    assert ports == {str(given.port)}
    assert given.runs in {rest for name, rest in lines if name == "VOLUME"}


def test_its_health_is_asked_where_it_is_told(lines):
    (rest,) = [rest for name, rest in lines if name == "HEALTHCHECK"]
    command = json.loads(rest[rest.index("[") :])
    ast.parse(command[-1])
    assert "http://127.0.0.1:5006/healthz" in command[-1]


def test_nobody_is_root_and_nothing_is_secret(repository: Path, lines):
    assert [rest for name, rest in lines if name == "USER"] == ["cflows"]
    assert [name for name, _ in lines].index("USER") < [name for name, _ in lines].index("ENTRYPOINT")
    assert not any(SECRET.search(rest) for _, rest in lines)


def test_the_commands_of_the_operators_page_parse(repository: Path):
    text = (repository / "docs" / "operating.md").read_text()
    commands = re.findall(r"(?:ExecStart=\S*/)?\bcflows (app --[^`\n]*)", text)
    assert len(commands) >= 3
    for command in commands:
        assert arguments.parse(shlex.split(command)).public
