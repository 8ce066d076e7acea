"""The first notebook in JupyterLab, as a reader runs it: plots move while it computes, the claim is printed, no other host is asked."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import artefacts

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(400)]

NAME = "01_gradient_descent_at_the_edge.ipynb"
CLAIM = "η = 0.4: sharpness · η/2 ="
STARTS_WITHIN = 120.0  # seconds; a quiet machine needs three
ENDS_WITHIN = 240.0  # seconds; a quiet machine needs twenty
# How many numbers the plots of the page hold: grows while a run is watched.
NUMBERS = """() => (window.Bokeh?.documents ?? []).flatMap((one) => [...one._all_models.values()])
    .filter((model) => model.type === "ColumnDataSource").map((source) => source.length ?? 0).reduce((a, b) => a + b, 0)"""


@pytest.fixture
def lab(tmp_path: Path, repository: Path) -> Iterator[str]:
    """Address of a JupyterLab that has a copy of the notebook, and no one's settings."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is missing: pip install 'cflows[notebooks]'")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(repository / "notebooks" / NAME, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"), "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += [
        "--IdentityProvider.token=",
        f"--notebook-dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **own, "IPYTHONDIR": str(tmp_path / "ipython")}
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + STARTS_WITHIN
        while not _answers(f"{url}api"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def test_the_first_notebook_runs_and_its_plots_move(lab: str, browser: Any, repository: Path) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda asked: requests.append(asked.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab}lab/tree/{NAME}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
    _run_all(page, lab)
    grown, end = [0], time.monotonic() + ENDS_WITHIN
    while _status(page) != "idle":
        assert time.monotonic() < end, f"not done after {ENDS_WITHIN:.0f} s"
        numbers = page.evaluate(NUMBERS)
        if numbers > grown[-1] and _status(page) == "busy":
            grown.append(numbers)
        page.wait_for_timeout(200)
    told = _scroll_through(page, artefacts("jupyterlab"))

    assert "Traceback" not in told
    assert CLAIM in told
    assert len(grown) > 6, f"the plots moved {len(grown)} times only: {grown}"
    assert errors == []
    elsewhere = [url for url in requests if not url.startswith((lab, "data:", f"blob:{lab}"))]
    assert elsewhere == []


def _status(page: Any) -> str | None:
    return page.locator(".jp-Notebook-ExecutionIndicator").get_attribute("data-status")


def _run_all(page: Any, lab: str) -> None:
    """Run > Run All Cells, once the page has its kernel (before that JupyterLab asks for one); return when it runs."""
    end = time.monotonic() + STARTS_WITHIN
    while not any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in _kernels(lab)):
        assert time.monotonic() < end, "the page got no kernel"
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').wait_for(timeout=60_000)


def _kernels(lab: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{lab}api/kernels", timeout=20) as answer:
        return json.load(answer)


def _scroll_through(page: Any, artefacts: Path) -> str:
    """Pictures of the whole notebook, in which every plot has been drawn; all that its outputs say."""
    told = ""
    height = page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollHeight")
    for part, top in enumerate(range(0, height, 850)):
        page.evaluate("top => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = top }", top)
        page.wait_for_timeout(700)
        page.screenshot(path=artefacts / f"jupyterlab-{part}.png")
        told += "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    assert page.evaluate("Bokeh.documents.length") >= 4
    assert page.evaluate("Bokeh.documents.every((one) => one.views_manager?.roots.length)")
    return told
