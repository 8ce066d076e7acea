"""The command `cflows` in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from cflows_core.cli import main
from tests.project.cli.lines import Cli


@pytest.fixture
def cflows(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: (exit code, output, errors)."""

    def call(*argv: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
