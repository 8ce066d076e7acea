"""Visits opened and closed, over all pages, one after another and some at once: what of the server remains when all have left?

python benchmarks/visits.py                  200 visits in Chromium, a third of which press Run; ten minutes
python benchmarks/visits.py --visits 40

Twenty visits come first, so that what is imported and cached once is there. Then the server is counted (clocked.py): before the visits,
half way and at the end, each time after Bokeh's time for sessions that nobody uses, and just after the last visit. What leaks grows
in the second half as in the first; what is only not given back does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import psutil
from load import CLOCKED, GONE
from playwright.async_api import Browser, async_playwright
from stay import _children, _resident
from timing import Row, report, row
from visit import ARGUMENTS, Dashboard, dashboard

PAGES = ("", "compare", "lessons", "toylab", "gallery")
RUNS = 3  # of a cycle of pages, the visits that press Run: a third, about
AT_ONCE = 4
STAYS = 0.7  # seconds that a visitor looks
LIMIT = 3000.0  # seconds for all visits


def visits(seed: int = 1) -> Iterator[tuple[str, bool]]:
    """Addresses, and whether Run is pressed: all pages in turns, and every third visit a run, shared, of its own, or of the stored one."""
    runs = 0
    for i in range(10**9):
        if i % RUNS:
            yield PAGES[i % len(PAGES)], False
        else:
            runs += 1
            yield ("", f"?seed={seed}&steps=100000", f"?seed={seed + runs}&steps=100000")[runs % 3], True


async def visit(browser: Browser, address: str, runs: bool) -> str:
    """Open a page in a context of its own, press Run or not, and close it; a sentence on what went wrong, or nothing."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(address, timeout=60_000)
        await page.wait_for_function("document.documentElement.dataset.ready", timeout=60_000)
        if runs:
            await page.get_by_role("button", name="Run", exact=True).click()
        await page.wait_for_timeout(1e3 * STAYS)
    except Exception as problem:
        problems.append(f"{type(problem).__name__}: {problem}".splitlines()[0])
    finally:
        await context.close()
    return "; ".join(problems)


async def visited(server: Dashboard, browser: Browser, planned: Sequence[tuple[str, bool]]) -> list[str]:
    """Carry the visits out, half of them one after another, half `AT_ONCE`; what went wrong."""
    alone, together = planned[: len(planned) // 2], planned[len(planned) // 2 :]
    problems = [await visit(browser, server.url + address, runs) for address, runs in alone]
    for i in range(0, len(together), AT_ONCE):
        problems += await asyncio.gather(*(visit(browser, server.url + address, runs) for address, runs in together[i : i + AT_ONCE]))
    return [problem for problem in problems if problem]


def counted(server: Dashboard, folder: Path) -> dict[str, float]:
    """What lives in the server and its workers now."""
    process = psutil.Process(server.pid)
    workers = _children(process)
    computing = [_census(worker.pid, folder) for worker in workers if (folder / f"census-{worker.pid}.json").exists()]
    return _census(server.pid, folder) | {
        "workers' simulations": sum(each["Simulation"] for each in computing),
        "workers' objects": sum(each["objects"] for each in computing),
        "server RSS (MB)": _resident([process]),
        "workers RSS (MB)": _resident(workers),
        "workers' threads": sum(worker.num_threads() for worker in workers),
    }


def _census(pid: int, folder: Path) -> dict[str, float]:
    """What a process counts of itself."""
    found = folder / f"census-{pid}.json"
    found.unlink()
    os.kill(pid, signal.SIGUSR1)
    end = time.monotonic() + 60
    while not found.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"process {pid} does not answer")
        time.sleep(0.05)
    return json.loads(found.read_text())


async def measured(server: Dashboard, folder: Path, many: int) -> tuple[dict[str, dict[str, float]], list[str], float]:
    """The counts before, with pages open, and after; what went wrong; seconds of the visits."""
    plan = visits()
    looks: dict[str, dict[str, float]] = {}
    async with asyncio.timeout(LIMIT), async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        problems = await visited(server, browser, list(islice(plan, 4 * len(PAGES))))
        await asyncio.sleep(GONE)
        looks["before"] = counted(server, folder)
        took = 0.0
        for name, part in (("half way", many // 2), ("after", many - many // 2)):
            begin = time.perf_counter()
            problems += await visited(server, browser, list(islice(plan, part)))
            took += time.perf_counter() - begin
            looks["just after"] = counted(server, folder)
            await asyncio.sleep(GONE)
            looks[name] = counted(server, folder)
        await browser.close()
    return looks, problems, took


def rows_of(looks: dict[str, dict[str, float]], problems: Sequence[str], took: float, many: int) -> list[Row]:
    """Each count before and after, with what there was in between as a note."""
    rows = [
        row("visits", "1/s", [many / took], note=f"{many} visits"),
        row("failures", "", [len(problems)], aim=0, note="; ".join(dict.fromkeys(problems))[:300]),
    ]
    for name, before in looks["before"].items():
        half, last, after = (looks[when][name] for when in ("half way", "just after", "after"))
        growth = f"{half - before:+,.0f} in the first half, {after - half:+,.0f} in the second"
        rows.append(row(name, "", [after], aim=before, note=f"{growth}; just after the last visit {last:,.0f}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cflows-") as name:
        options = ("--workers", str(arguments.workers), "--runs", f"{name}/runs")
        with dashboard(*options, script=CLOCKED, environment={"CLOCKED": name}) as server:
            looks, problems, took = asyncio.run(measured(server, Path(name), arguments.visits))
    report("visits", rows_of(looks, problems, took, arguments.visits), "after the visits (aim: as before)")


if __name__ == "__main__":
    main()
