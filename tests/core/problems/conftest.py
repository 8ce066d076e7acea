"""A tiny CIFAR-10 for the tests of data and download, and a world in which no other is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch
import pytest

from cflows_core.problems.cifar10 import FILES, RECORD


@pytest.fixture
def batches() -> dict[str, bytes]:
    """The six files with 6 records each: random pixels, labels 0, 1, 2, … around the ten classes through all files."""
    generator = np.random.default_rng(0)
    files = {}
    for number, name in enumerate(FILES):
        pixels = generator.integers(0, 256, (6, RECORD - 1), dtype=np.uint8)
        files[name] = b"".join(bytes([(6 * number + i) % 10]) + row.tobytes() for i, row in enumerate(pixels))
    return files


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No CIFAR-10 is found by default: an empty cache, no variable, a current folder outside any project."""
    monkeypatch.delenv("CFLOWS_DATA_DIR", raising=False)
    monkeypatch.setattr("cflows_core.problems.cifar10._project_root", lambda start: None)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    return tmp_path
