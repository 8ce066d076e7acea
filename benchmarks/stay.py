"""A visitor who stays: what the dashboard, its worker and the browser take, minute by minute, and what of it grows.

python benchmarks/stay.py --minutes 20                    the default preset, running on
python benchmarks/stay.py --minutes 20 --stored 200000    a stored run of so many steps (stored.py): opened, zoomed, and running on

Needs Chromium. "Growth" compares the end with minute 5, when imports and caches are over. The browser's RSS is the sum of its processes'.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import psutil
from playwright.sync_api import CDPSession, Page
from stored import make, size
from timing import Row, report, row
from visit import NEWEST, TABLE, Dashboard, dashboard, drawn, first_point, pause, visitor

from cflows_core.history import History
from cflows_core.presets import DEFAULT
from cflows_core.store import Run

MINUTE = 60.0
SETTLED = 5  # minutes, from which on growth is measured
ZOOMS = 5
UNITS = {
    "in the page": "steps/s",
    "server CPU": "% of a core",
    "worker CPU": "% of a core",
    "server RSS": "MB",
    "worker RSS": "MB",
    "browser RSS": "MB",
    "JS heap": "MB",
    "DOM nodes": "",
    "loop busiest": "ms",
    "loop longest": "ms",
    "loop mean": "ms",
}
GROW = ("server RSS", "worker RSS", "browser RSS", "JS heap", "DOM nodes")


class Meter:
    """What a dashboard and its visitor's page took since the last look."""

    def __init__(self, server: Dashboard, page: Page):
        self._server, self._page = server, page
        self._devtools: CDPSession = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable")
        self._process = psutil.Process(server.pid)
        self._then = self._counts()
        server.health(forget=True)

    def look(self) -> dict[str, float]:
        """Quantity of `UNITS` -> its value since the last look, or now."""
        then, self._then = self._then, self._counts()
        rates = {name: (self._then[name] - then[name]) / (self._then["time"] - then["time"]) for name in then}
        loop = self._server.health(forget=True)
        self._devtools.send("HeapProfiler.collectGarbage")
        metrics = {entry["name"]: entry["value"] for entry in self._devtools.send("Performance.getMetrics")["metrics"]}
        browser = [process for process in _children(psutil.Process()) if "chrom" in process.name()]
        return {
            "in the page": rates["steps"],
            "server CPU": 100 * rates["server"],
            "worker CPU": 100 * rates["worker"],
            "server RSS": _resident([self._process]),
            "worker RSS": _resident(_children(self._process)),
            "browser RSS": _resident(browser),
            "JS heap": metrics["JSHeapUsedSize"] / 1e6,
            "DOM nodes": self._devtools.send("Memory.getDOMCounters")["nodes"],
            "loop busiest": loop["busiest_ms"],
            "loop longest": loop["longest_ms"],
            "loop mean": loop["mean_ms"],
        }

    def _counts(self) -> dict[str, float]:
        return {
            "time": time.perf_counter(),
            "steps": self._page.evaluate(NEWEST),
            "server": _seconds([self._process]),
            "worker": _seconds(_children(self._process)),
        }


def _children(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if child.is_running()]


def _seconds(processes: Sequence[psutil.Process]) -> float:
    """Of a processor, that the processes have used."""
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


def _resident(processes: Sequence[psutil.Process]) -> float:
    """What the processes hold in memory, MB."""
    return sum(process.memory_info().rss for process in processes) / 1e6


def stay(server: Dashboard, page: Page, minutes: int) -> list[dict[str, float]]:
    """What was taken in each minute of a run that goes on."""
    meter, looks = Meter(server, page), []
    headings = [f"{name} {unit}".strip() for name, unit in UNITS.items()]
    print("minute  " + "  ".join(headings))
    for minute in range(1, minutes + 1):
        page.wait_for_timeout(1e3 * MINUTE)  # events are handled meanwhile
        looks.append(meter.look())
        shown = [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in looks[-1].values()]
        print(f"{minute:6}  " + "  ".join(text.rjust(len(heading)) for text, heading in zip(shown, headings, strict=True)), flush=True)
    return looks


def rows_of(looks: Sequence[dict[str, float]], settled: int = SETTLED) -> list[Row]:
    """Each quantity over the minutes, and by how much memory grew from minute `settled` to the end, in per cent."""
    rows = []
    for name, unit in UNITS.items():
        values = [look[name] for look in looks]
        rows.append(row(name, unit, values, note="minute by minute: " + " ".join(f"{value:.4g}" for value in values)))
    for name in GROW if len(looks) > settled else ():
        first, last = looks[settled - 1][name], looks[-1][name]
        rows.append(row(f"{name}: growth from minute {settled} to {len(looks)}", "%", [100 * (last / first - 1)]))
    return rows


def opened(path: Path) -> list[Row]:
    """What reading a stored run costs, in this process."""
    begin = time.perf_counter()
    run = Run.open(path)
    history = History.from_run(run)
    seconds = time.perf_counter() - begin
    return [
        row("store on disk", "MB", [size(path) / 1e6], note=path.stem),
        row("run opened and read", "s", [seconds]),
        row("its history in memory", "MB", [history.nbytes / 1e6]),
    ]


def zoomed(page: Page, share: float) -> float:
    """Milliseconds until the page has the detail of a part of the step axis, of so large a share, by the browser's clock."""
    return page.evaluate(
        f"""(share) => new Promise((done) => {{
          const table = {TABLE}, axis = Bokeh.documents[0].get_model_by_name("steps")
          const last = {NEWEST}, begin = performance.now()
          const first = last * (1 - share) * Math.random()
          const answer = () => {{
            table.properties.data.change.disconnect(answer)
            requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)))
          }}
          table.properties.data.change.connect(answer)
          axis.setv({{start: first, end: first + share * last}})
        }})""",
        share,
    )


def measured(options: Sequence[str | Path], query: str, minutes: int, *, stored: bool) -> list[Row]:
    """A visitor opens an address, zooms into a stored run, and lets the run go on."""
    rows = []
    with dashboard(*options) as server, visitor() as page:
        rows += [row("page drawn", "s", [drawn(page, server.url + query, stored)])]
        if stored:
            last = page.evaluate(NEWEST)
            rows += [row(f"answer to a zoom to {share:.0%}", "ms", [zoomed(page, share) for _ in range(ZOOMS)]) for share in (0.9, 0.01)]
            page.get_by_role("button", name="Follow").click()
            page.wait_for_function(f"{NEWEST} >= {last}")
        rows += [row("first point after Run", "ms", [first_point(page)])]
        for line in rows:
            print(f"{line.name}: {line.measured:.3g} {line.unit}")
        looks = stay(server, page, minutes)
        pause(page)
    return rows + rows_of(looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--stored", type=int, default=0, metavar="STEPS", help="go on from a stored run of so many steps")
    arguments = parser.parse_args()
    if not arguments.stored:
        report("stay", measured([], f"?preset={DEFAULT}&steps=1000000&warm_start=100", arguments.minutes, stored=False))
        return
    with tempfile.TemporaryDirectory(prefix="cflows-") as folder:
        path = make(Path(folder), arguments.stored)
        rows = opened(path)
        rows += measured(["--runs", folder], f"?run={quote(path.name)}", arguments.minutes, stored=True)
        report(f"stay-{arguments.stored}", rows)


if __name__ == "__main__":
    main()
