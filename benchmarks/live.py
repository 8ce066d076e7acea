"""The dashboard as a visitor has it: time to the first drawing, from Run to the first new point, points a second, delays of the server.

make bench            needs Chromium; takes half a minute
"""

from __future__ import annotations

import time
from statistics import median

from timing import keep, row
from visit import NEWEST, dashboard, drawn, first_point, pause, visitor

ROUNDS = 5
SECONDS = 15.0


def main() -> None:
    with dashboard() as server, visitor() as page:
        print(f"server answers after {server.seconds:.1f} s")
        visits = [drawn(page, server.url) for _ in range(ROUNDS)]
        rows = [row("page drawn, first visit", "s", visits[:1]), row("page drawn, later visits", "s", visits[1:])]
        print(f"drawn: first visit {visits[0]:.2f} s, later ones {median(visits[1:]):.2f} s, the best {min(visits):.2f} s")
        delays = []
        for _ in range(ROUNDS):
            delays.append(first_point(page))
            time.sleep(1)
            pause(page)
            time.sleep(1)
        print(
            f"first new point after a click on Run: {delays[0]:.0f} ms with the worker's start, then {median(delays[1:]):.0f} ms, "
            f"the best {min(delays):.0f} ms"
        )
        rows += [row("first point after Run, first time", "ms", delays[:1]), row("first point after Run, later", "ms", delays[1:])]
        server.health(forget=True)
        first_point(page)
        before, begin = page.evaluate(NEWEST), time.perf_counter()
        time.sleep(SECONDS)
        rate = (page.evaluate(NEWEST) - before) / (time.perf_counter() - begin)
        loop = server.health()
        print(
            f"{rate:.0f} steps/s in the page with four flows; the server's event loop computed at most {loop['busiest_ms']:.0f} ms "
            f"at a stretch and was at most {loop['longest_ms']:.0f} ms late ({loop['mean_ms']:.1f} ms in the mean)"
        )
        rows += [row("in the page with four flows", "steps/s", [rate])]
        rows += [row(f"server's event loop: {name[:-3]}", "ms", [loop[name]]) for name in ("busiest_ms", "longest_ms", "mean_ms")]
        keep("live", rows)


if __name__ == "__main__":
    main()
