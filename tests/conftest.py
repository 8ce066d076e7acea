"""What every test shares: one thread, fixed seeds, and finding Chromium and the GPU (or saying which is missing)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before torch is imported, here and in every process that a test starts: two tests side by side must not fight for the
# cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what a dependency draws from the global generator is to be fixed too


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for `playwright.chromium.launch(executable_path=...)`.

    Without one the test is skipped, or fails where CFLOWS_REQUIRE_BROWSER=1 says that it must run.
    """
    found = os.environ.get("CFLOWS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return found
    missing = "no Chromium found: install the package chromium, or give its path in CFLOWS_BROWSER"
    if os.environ.get("CFLOWS_REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device found"))
