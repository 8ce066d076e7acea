"""What the dashboard's benchmarks share: a dashboard of its own process, a visitor's page in Chromium, and what both are asked."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TABLE = "Bokeh.documents[0].get_model_by_name('table')"
NEWEST = f"{TABLE}.data.step.at(-1)"
WARM = 5.0  # seconds until the worker is warm, as while a visitor looks around


@dataclass(frozen=True)
class Dashboard:
    url: str
    pid: int
    seconds: float  # until it answered

    def health(self, forget: bool = False) -> dict[str, float]:
        """How late the event loop was, in milliseconds (app/health.py); forget: begin anew."""
        with urllib.request.urlopen(f"{self.url}health{'?forget' if forget else ''}") as answer:
            return json.load(answer)["loop"]


@contextmanager
def dashboard(
    *options: str | Path, script: Path | None = None, environment: Mapping[str, str] | None = None, warm: float = WARM
) -> Iterator[Dashboard]:
    """`cflows app` with these options on a free port of this machine, its worker warm after `warm` seconds.

    script: to be run instead of the package.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if "--runs" not in options:  # what was computed before would be found again
        with (
            tempfile.TemporaryDirectory(prefix="cflows-benchmark-") as folder,
            dashboard(*options, "--runs", folder, script=script, environment=environment, warm=warm) as own,
        ):
            yield own
        return
    command = [
        sys.executable,
        *(["-m", "cflows_core"] if script is None else [str(script)]),
        "app",
        "--port",
        str(port),
        *map(str, options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    try:
        begin = time.perf_counter()
        found = Dashboard(f"http://127.0.0.1:{port}/", process.pid, 0.0)
        while True:
            try:
                found.health()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended at once") from None
                time.sleep(0.05)
        found = Dashboard(found.url, process.pid, time.perf_counter() - begin)
        time.sleep(warm)
        yield found
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def visitor() -> Iterator[Page]:
    """An empty page in a Chromium of its own."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


def drawn(page: Page, url: str, stored: bool = True) -> float:
    """Seconds until a visitor sees the page, with its run if the address asks for a stored one."""
    begin = time.perf_counter()
    page.goto(url)
    there = f"{NEWEST} > 0" if stored else "document.documentElement.dataset.ready"
    page.wait_for_function(f"window.Bokeh && Bokeh.documents.length && {there}", timeout=60_000, polling=10)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - begin


def first_point(page: Page) -> float:
    """Milliseconds from the click on Run to the first new step in the plots' data, by the browser's own clock."""
    page.evaluate(
        f"""() => {{
          const last = {NEWEST} ?? -1
          window.delay = null
          document.addEventListener("click", () => {{
            const begin = performance.now()
            const look = () => {NEWEST} > last ? (window.delay = performance.now() - begin) : setTimeout(look, 2)
            look()
          }}, {{once: true, capture: true}})
        }}"""
    )
    page.get_by_role("button", name="Run", exact=True).click()
    return page.wait_for_function("window.delay", timeout=60_000, polling=10).json_value()


def pause(page: Page) -> None:
    """Click Pause, and wait until nothing is computed."""
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("paused", exact=True).wait_for()
