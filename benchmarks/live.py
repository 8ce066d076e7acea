"""The dashboard as a visitor has it: time to the first drawing, from Run to the first new point, points a second, delays of the server.

make bench            needs Chromium; takes half a minute
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from statistics import median

from playwright.sync_api import Page, sync_playwright
from timing import keep, row

ROUNDS = 5
SECONDS = 15.0
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
NEWEST = "Bokeh.documents[0].get_model_by_name('table').data.step.at(-1)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def drawn(page: Page, url: str) -> float:
    """Seconds until a visitor sees the default run."""
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_function(f"window.Bokeh && Bokeh.documents.length && {NEWEST} > 0", timeout=60_000, polling=10)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - begin


def first_point(page: Page) -> float:
    """Milliseconds from the click on Run to the first new step in the plots' data, by the browser's own clock."""
    page.evaluate(
        f"""() => {{
          const last = {NEWEST}
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


def main() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    process = subprocess.Popen(
        [sys.executable, "-m", "cflows_core", "app", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        begin = time.perf_counter()
        while True:
            try:
                urllib.request.urlopen(f"{url}health").read()
                break
            except OSError:
                time.sleep(0.05)
        print(f"server answers after {time.perf_counter() - begin:.1f} s")
        time.sleep(5)  # its worker warms up meanwhile, as while a visitor looks around
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            visits = [drawn(page, url) for _ in range(ROUNDS)]
            rows = [row("page drawn, first visit", "s", visits[:1]), row("page drawn, later visits", "s", visits[1:])]
            print(f"drawn: first visit {visits[0]:.2f} s, later ones {median(visits[1:]):.2f} s")
            delays = []
            for _ in range(ROUNDS):
                delays.append(first_point(page))
                time.sleep(1)
                page.get_by_role("button", name="Pause", exact=True).click()
                page.get_by_text("paused", exact=True).wait_for()
                time.sleep(1)
            print(f"first new point after a click on Run: {delays[0]:.0f} ms with the worker's start, then {median(delays[1:]):.0f} ms")
            rows += [row("first point after Run, first time", "ms", delays[:1]), row("first point after Run, later", "ms", delays[1:])]
            urllib.request.urlopen(f"{url}health?forget").read()
            first_point(page)
            before, begin = page.evaluate(NEWEST), time.perf_counter()
            time.sleep(SECONDS)
            rate = (page.evaluate(NEWEST) - before) / (time.perf_counter() - begin)
            loop = json.loads(urllib.request.urlopen(f"{url}health").read())["loop"]
            print(
                f"{rate:.0f} steps/s in the page with four flows; the server's event loop computed at most {loop['busiest_ms']:.0f} ms "
                f"at a stretch and was at most {loop['longest_ms']:.0f} ms late ({loop['mean_ms']:.1f} ms in the mean)"
            )
            rows += [row("in the page with four flows", "steps/s", [rate])]
            rows += [row(f"server's event loop: {name[:-3]}", "ms", [loop[name]]) for name in ("busiest_ms", "longest_ms", "mean_ms")]
            keep("live", rows)
            browser.close()
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
