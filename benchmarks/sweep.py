"""A sweep of 60 small runs on one and on two local workers: the speed-up, and whether every number is the same to the bit.

python benchmarks/sweep.py [--runs 60] [--steps 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import Row, report, row

from cflows_core import sweep
from cflows_core.sweep.running import Progress

SMALL = {"width": 8, "depth": 1, "n_train": 100, "n_eigs": 2, "observe": [], "threads": 1, "flows": ["central", "rod"], "warm_start": 20}


def small(runs: int, steps: int) -> sweep.Sweep:
    """Two optimizers, and a learning rate for each of half the runs."""
    rates = {"log": {"from": 0.02, "to": 0.3, "points": max(1, runs // 2)}}
    return sweep.from_plain({"base": {**SMALL, "steps": steps}, "axes": {"optimizer": ["gd", "scalar_rmsprop"], "lr": rates}}, "small")


def timed(wanted: sweep.Sweep, folder: Path, workers: int) -> tuple[sweep.Table, float, float]:
    """(table, seconds of the whole command, seconds from the first run's end to the last one's: without the workers' start)."""
    ends: list[float] = []

    def note(progress: Progress) -> None:
        while len(ends) < len(progress.outcomes):
            ends.append(time.perf_counter())

    begin = time.perf_counter()
    table = sweep.run(wanted, folder, workers=workers, on_progress=note)
    return table, time.perf_counter() - begin, ends[-1] - ends[0]


def different(one: sweep.Table, other: sweep.Table) -> tuple[int, int]:
    """(series that differ in any bit, series compared), the times aside."""
    found = compared = 0
    for mine, theirs in zip(one.rows, other.rows, strict=True):
        a, b = one.run(mine).columns(), other.run(theirs).columns()
        names = [name for name in a.keys() | b.keys() if not name.endswith("wall_time")]
        compared += len(names)
        found += sum(name not in a or name not in b or a[name].tobytes() != b[name].tobytes() for name in names)
    return found, compared


def rows(runs: int, steps: int) -> list[Row]:
    wanted = small(runs, steps)
    with tempfile.TemporaryDirectory() as folder:
        one, whole_one, going_one = timed(wanted, Path(folder) / "one", 1)
        two, whole_two, going_two = timed(wanted, Path(folder) / "two", 2)
        again = time.perf_counter()
        sweep.run(wanted, Path(folder) / "two", workers=2)
        again = time.perf_counter() - again
        differ, compared = different(one, two)
        states = [entry["state"] for entry in one.rows]
    count = f"{len(wanted.configs)} runs of {steps} steps"
    computing, apart = (float(np.sum([entry["wall_time"] for entry in table.rows])) for table in (one, two))
    return [
        row("1 worker", "s", [whole_one], note=f"{count}; {states.count('finished')} finished; computing {computing:.0f} s"),
        row("2 workers", "s", [whole_two], note=f"{count}; computing {apart:.0f} s"),
        row("speed-up, the whole command", "×", [whole_one / whole_two], note="workers started and stopped"),
        row("speed-up, first end to last", "×", [going_one / going_two], note="without start and stop"),
        row("series that differ in a bit", f"of {compared}", [float(differ)], note="1 worker against 2"),
        row("the same command again", "s", [again], note="nothing left to compute"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    report("sweep", rows(given.runs, given.steps), "A sweep on local workers")


# Workers are spawned, and a spawned process imports the main module again.
if __name__ == "__main__":
    main()
