"""A lecture hall: many visitors at once, on one run and on different ones. How late are new points, what fails, what is held in memory?

python benchmarks/load.py                               50 viewers of one run, then 10 of 10 runs, on 2 workers; four minutes
python benchmarks/load.py shared --viewers 100          parts by name: shared different

Viewers are headless (viewer.py), beside some pages in Chromium that check them (`--browsers`). The delay of a point is the time from the
moment at which its step was computed (clocked.py) to its arrival at the viewer, of all steps computed after the viewer saw its first one.
Viewers come one after another within `ARRIVING` seconds; what is measured begins when all are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import psutil
from playwright.async_api import Page, async_playwright
from stay import _children, _resident, _seconds
from timing import Row, report, row
from viewer import Viewer
from visit import ARGUMENTS, NEWEST, TABLE, Dashboard, dashboard

from cflows_core.presets import DEFAULT

ARRIVING = 20.0  # seconds within which all come
SETTLING = 5.0  # seconds after which all that is due to their coming is over
GONE = 40.0  # seconds until the server has let the last ones go: 15 s unused, looked for every 17 s
STALLED = 3.0  # seconds without a new point that are a failure
LIMIT = 360.0  # seconds for all of a part
AIM = 1.0  # second: 95 of 100 points are less late
CLOCKED = Path(__file__).with_name("clocked.py")


class Watching(Protocol):
    """A viewer, headless or in Chromium."""

    arrivals: dict[int, float]
    failures: list[str]


class Clock:
    """When each step of each run was computed, as the workers wrote it down (clocked.py)."""

    def __init__(self, folder: Path):
        self.computed: dict[int, dict[int, float]] = {}  # seed -> step -> seconds since the epoch
        self.simulations: set[tuple[str, str, str]] = set()  # seed, process, number in it
        for path in sorted(folder.glob("steps-*.txt")):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    seed, number, step, at = line.split()
                    self.simulations.add((seed, path.stem, number))
                    self.computed.setdefault(int(seed), {})[int(step)] = float(at)

    def delays(self, seed: int, arrivals: Mapping[int, float], since: float = 0.0) -> np.ndarray:
        """Seconds from each step to its arrival [points], of those computed after the viewer's first and after `since`."""
        computed, first = self.computed.get(seed, {}), max(since, min(arrivals.values(), default=0.0))
        return np.array([at - computed[step] for step, at in arrivals.items() if computed.get(step, 0.0) >= first])


class Memory:
    """What the server and its workers hold, MB, looked at twice a second; their processors' time; and the whole machine's."""

    def __init__(self, pid: int):
        self._server = psutil.Process(pid)
        self.looks: list[tuple[float, float]] = []

    def look(self) -> tuple[float, float]:
        """The server's and the workers' now."""
        self.looks.append((_resident([self._server]), _resident(_children(self._server))))
        return self.looks[-1]

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(0.5)

    def processors(self) -> dict[str, float]:
        """Seconds that were computed: by the server, its workers, this process with its browsers, and the whole machine."""
        machine = psutil.cpu_times()
        return {
            "server": _seconds([self._server]),
            "workers": _seconds(_children(self._server)),
            "clients": _seconds([psutil.Process(), *_children(psutil.Process())]) - _seconds([self._server, *_children(self._server)]),
            "machine": sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0),
        }


class Browsed:
    """A viewer in Chromium."""

    def __init__(self, page: Page):
        self._page = page
        self.arrivals: dict[int, float] = {}
        self.failures: list[str] = []
        page.on("pageerror", lambda error: self.failures.append(str(error)))

    async def watch(self, url: str, leave: asyncio.Event) -> None:
        """Open the page, press Run, and note in the page when which step came."""
        try:
            await self._page.goto(url, timeout=60_000)
            await self._page.wait_for_function("document.documentElement.dataset.ready", timeout=60_000)
            await self._page.evaluate(
                f"""() => {{
                  const table = {TABLE}, arrivals = window.arrivals = []
                  let newest = {NEWEST} ?? -1
                  const look = () => {{
                    const steps = Array.from(table.data.step), now = Date.now() / 1000
                    for (const step of steps.slice(steps.findLastIndex((step) => step <= newest) + 1)) arrivals.push([step, now])
                    newest = Math.max(newest, steps.at(-1) ?? -1)
                  }}
                  table.streaming.connect(look)
                  table.properties.data.change.connect(look)
                }}"""
            )
            await self._page.get_by_role("button", name="Run", exact=True).click()
            await leave.wait()
            self.arrivals = {int(step): at for step, at in await self._page.evaluate("window.arrivals")}
        except Exception as problem:
            self.failures.append(f"{type(problem).__name__}: {problem}")


@asynccontextmanager
async def browsers(many: int) -> AsyncIterator[list[Browsed]]:
    """So many visitors in one Chromium, each with cookies of their own."""
    if not many:
        yield []
        return
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield [Browsed(await (await browser.new_context(viewport={"width": 1440, "height": 900})).new_page()) for _ in range(many)]
        await browser.close()


async def watched(server: Dashboard, seeds: Sequence[int], many: int, seconds: float) -> tuple[dict[str, Any], Memory]:
    """Viewers come, one for each seed, `many` of them also in Chromium; they watch for so long, and leave."""
    memory, leave = Memory(server.pid), asyncio.Event()
    found: dict[str, Any] = {"before": memory.look()}
    addresses = [f"{server.url}?preset={DEFAULT}&seed={seed}&steps=1000000&warm_start=100" for seed in seeds]
    viewers = [Viewer(address) for address in addresses]
    async with browsers(many) as pages:
        looking = asyncio.ensure_future(memory.watch())
        tasks = []
        for i, (viewer, address) in enumerate(zip(viewers, addresses, strict=True)):
            tasks.append(asyncio.ensure_future(viewer.watch(leave)))
            if i < len(pages):
                tasks.append(asyncio.ensure_future(pages[i].watch(address, leave)))
            await asyncio.sleep(ARRIVING / len(viewers))
        begin = time.perf_counter()
        while not all(viewer.opened or viewer.failures for viewer in viewers):
            await asyncio.sleep(0.1)
        found["queue"] = time.perf_counter() - begin
        await asyncio.sleep(SETTLING)
        await asyncio.to_thread(server.health, True)
        found["since"], before, begin = time.time(), memory.processors(), time.perf_counter()
        told = [viewer.messages for viewer in viewers]
        await asyncio.sleep(seconds)
        after, took = memory.processors(), time.perf_counter() - begin
        found["processors"] = {name: (after[name] - before[name]) / took for name in before}
        found["messages"] = [viewer.messages - so_far for viewer, so_far in zip(viewers, told, strict=True)]
        found["loop"], found["until"] = await asyncio.to_thread(server.health), time.time()
        leave.set()
        await asyncio.gather(*tasks)
        looking.cancel()
    await asyncio.sleep(GONE)
    found |= {"during": np.max(memory.looks, axis=0), "after": memory.look(), "viewers": viewers, "pages": pages}
    return found, memory


def failures(seeds: Sequence[int], viewers: Sequence[Watching], until: float) -> list[str]:
    """A sentence for whatever went wrong, and for each viewer to whom nothing came at the end."""
    sentences = [f"seed {seed}: {sentence}" for seed, viewer in zip(seeds, viewers, strict=False) for sentence in viewer.failures]
    for seed, viewer in zip(seeds, viewers, strict=False):
        quiet = until - max(viewer.arrivals.values(), default=0.0)
        if quiet > STALLED and not viewer.failures:
            sentences.append(f"seed {seed}: no point came for {quiet:.1f} s" if viewer.arrivals else f"seed {seed}: no point came at all")
    return sentences


def rows_of(what: str, seeds: Sequence[int], found: dict[str, Any], clock: Clock) -> list[Row]:
    """What a part measured."""

    def late(viewers: Sequence[Watching]) -> list[np.ndarray]:
        return [clock.delays(seed, viewer.arrivals, found["since"]) for seed, viewer in zip(seeds, viewers, strict=False)]

    def delays(kind: str, each: list[np.ndarray]) -> list[Row]:
        known = [values for values in each if values.size]
        if not known:
            return []
        every = np.concatenate(known)
        worst = max(float(np.percentile(values, 95)) for values in known)
        return [
            row(f"{what}: delay of new points{kind}, median", "s", [float(np.median(every))], note=f"{every.size:,} points"),
            row(f"{what}: delay of new points{kind}, 95th percentile", "s", [float(np.percentile(every, 95))], aim=AIM),
            row(f"{what}: delay of new points{kind}, 95th percentile of the worst viewer", "s", [worst]),
        ]

    viewers, pages = found["viewers"], found["pages"]
    wrong = failures(seeds, viewers, found["until"]) + failures(seeds, pages, found["until"])
    made = sum(int(seed) in seeds for seed, _, _ in clock.simulations)
    steps = [sum(found["since"] <= at < found["until"] for at in clock.computed.get(seed, {}).values()) for seed in dict.fromkeys(seeds)]
    loop = found["loop"]
    return [
        *delays("", late(viewers)),
        *delays(" in Chromium", late(pages)),
        row(f"{what}: failures", "", [len(wrong)], aim=0, note="; ".join(dict.fromkeys(wrong))[:300]),
        row(f"{what}: simulations made", "", [made], aim=len(set(seeds))),
        row(f"{what}: computed", "steps/s", [sum(steps) / (found["until"] - found["since"])]),
        row(
            f"{what}: page and its parts opened", "s", [viewer.opened for viewer in viewers], note=f"the last in {viewers[-1].opened:.1f} s"
        ),
        row(f"{what}: all were in after the last had come", "s", [found["queue"]]),
        row(f"{what}: messages to a viewer", "1/s", [median(found["messages"]) / (found["until"] - found["since"])]),
        *(row(f"{what}: server's event loop {name[:-3]}", "ms", [loop[name]]) for name in ("mean_ms", "longest_ms", "busiest_ms")),
        *(row(f"{what}: {name} processor", "% of a core", [100 * value]) for name, value in found["processors"].items()),
        *(
            row(f"{what}: {name} RSS {when}", "MB", [float(found[when][i])])
            for i, name in enumerate(("server", "workers"))
            for when in ("before", "during", "after")
        ),
    ]


def measured(what: str, seeds: Sequence[int], arguments: argparse.Namespace) -> list[Row]:
    """The rows of a part: a dashboard of its own, a viewer for each seed."""

    async def bounded(server: Dashboard) -> tuple[dict[str, Any], Memory]:
        async with asyncio.timeout(LIMIT + arguments.seconds):
            return await watched(server, seeds, min(arguments.browsers, len(seeds)), arguments.seconds)

    with tempfile.TemporaryDirectory(prefix="cflows-") as folder:
        with dashboard(
            "--workers", str(arguments.workers), "--runs", f"{folder}/runs", script=CLOCKED, environment={"CLOCKED": folder}
        ) as server:
            found, _ = asyncio.run(bounded(server))
        return rows_of(what, seeds, found, Clock(Path(folder)))


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "shared": lambda arguments: measured("one run", [11] * arguments.viewers, arguments),
    "different": lambda arguments: measured("different runs", list(range(11, 11 + arguments.runs)), arguments),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--viewers", type=int, default=50, help="on one run (50)")
    parser.add_argument("--runs", type=int, default=10, help="different ones, a viewer each (10)")
    parser.add_argument("--browsers", type=int, default=3, help="pages in Chromium beside them (3)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="for which all watch (30)")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: take {', '.join(PARTS)}")
    print(f"load average before: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    rows = [line for part in arguments.parts or PARTS for line in PARTS[part](arguments)]
    report("load", rows)


if __name__ == "__main__":
    main()
