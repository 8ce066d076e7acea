"""Random `kill -9`: what of a run is lost, does its store open, and is it in the end what it had been undisturbed?

python benchmarks/faults.py                      100 kills of each kind of process
python benchmarks/faults.py run --kills 20       of `cflows run` and `cflows resume` alone
python benchmarks/faults.py app --minutes 20     as many as there is time for

A process computes and records; at a random moment it is killed, its store is opened, compared with an undisturbed run's and resumed, to be
killed again, until it is complete; then the next run begins. A further kind of victim is a function that fills a Tally until that is
enough, named in VICTIMS.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import numpy as np
from timing import Row, report, row
from victims import kill_apps, kill_schedulers, kill_workers

from cflows_core import cli
from cflows_core.errors import StoreError
from cflows_core.history import History
from cflows_core.store import Run
from cflows_core.store.check import check
from cflows_core.store.document import is_unborn
from cflows_core.store.export import recorded
from cflows_core.store.files import writer

PROBLEM = ("--dataset", "chebyshev", "--n-train", "30", "--width", "4", "--n-eigs", "2", "--lr", "0.3", "--flows", "stable,central,rod")
PLAN = (*PROBLEM, "--steps", "300", "--checkpoint-every", "10")
LIFE = 1.0  # seconds: a victim is killed at a random moment of so many, counted from one of these:
BEGINNINGS = {"its start": 0.15, "opening the store": 0.25, "the first commit of new steps": 0.6}  # share of victims
OPENING = 0.5  # seconds that a process may take before it opens anything
PATIENCE = 120.0  # seconds that it may take at most


@dataclass
class Tally:
    """What became of the runs of one kind of victim.

    lost: steps that were committed before a kill and are not there after it, or differ from the undisturbed run's. failed: stores that did
    not open. harmed: stores in which `cflows check` finds more than leftovers. unequal: complete runs that are not the undisturbed one.
    misdrawn: of those that somebody watched, histories on the page that are not. wanted, end: kills that are enough, time that is.
    """

    wanted: int = 100
    end: float = float("inf")
    kills: int = 0
    committed: int = 0
    lost: int = 0
    failed: int = 0
    harmed: int = 0
    complete: int = 0
    unequal: int = 0
    misdrawn: int | None = None
    during: dict[str, int] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Whether the run at hand is to be completed, and no other to be begun."""
        return self.kills >= self.wanted or time.monotonic() > self.end

    def after_kill(self, path: Path, known: int, whole: Run) -> None:
        """Count a kill: `known` steps were committed at `path` before it, -1 if there was no run yet; `whole` is the undisturbed run."""
        self.kills += 1
        try:
            run = Run.open(path)
        except StoreError as error:
            if known >= 0 or (path.exists() and not is_unborn(path)):
                self.failed += 1
                print(f"does not open: {error}", flush=True)
            return
        self.committed += max(known, 0)
        self.lost += max(known - run.rows, 0) + differing(run, whole)
        if not (found := check(path)).whole:
            self.harmed += 1
            print(f"not whole: {'; '.join(finding.what for finding in found.findings)}", flush=True)

    def after_end(self, path: Path, whole: Run, drawn: History | None = None) -> None:
        """Count a complete run: is it the undisturbed one, bit for bit, and is that what was drawn meanwhile?"""
        self.complete += 1
        self.unequal += unlike(Run.open(path), whole)
        if drawn is not None:
            self.misdrawn = (self.misdrawn or 0) + unlike(recorded(drawn, whole.config, {}), whole)

    def rows(self, name: str) -> list[Row]:
        when = ", ".join(f"{count} after {moment}" for moment, count in self.during.items())
        lines = [
            ("kill -9", self.kills, None, when),
            ("steps committed before the kills", self.committed, None, "summed over the kills"),
            ("committed steps lost", self.lost, 0, "or not equal to the undisturbed run's"),
            ("stores that do not open", self.failed, 0, ""),
            ("stores that cflows check finds harmed", self.harmed, 0, ""),
            ("runs completed", self.complete, None, ""),
            ("of these not equal to the undisturbed run", self.unequal, 0, "every series but the wall time, and the events, bit for bit"),
        ]
        if self.misdrawn is not None:
            lines.append(("of these drawn otherwise", self.misdrawn, 0, "what the page holds in the end, compared in the same way"))
        return [row(f"{name}: {what}", "", [number], aim=aim, note=note) for what, number, aim, note in lines]


def differing(run: Run, whole: Run) -> int:
    """Steps of a run that are not those of the undisturbed run to the last bit, wall times aside."""
    rows = min(run.rows, whole.rows)
    different = np.zeros(rows, dtype=bool)
    known = run.columns()
    for path, values in whole.columns().items():
        if path.endswith("wall_time"):
            continue
        expected = values[:rows]
        found = known[path][:rows] if path in known else np.full_like(expected, np.nan if expected.dtype.kind == "f" else 0)
        equal = (found == expected) | ((found != found) & (expected != expected))
        different |= ~equal.reshape(rows, -1).all(1)
    return int(different.sum()) + run.rows - rows


def unlike(run: Run, whole: Run) -> bool:
    """Whether a run is not the undisturbed one."""
    return run.rows != whole.rows or differing(run, whole) > 0 or run.events != whole.events


def committed(path: Path) -> int:
    """Steps committed at `path`, -1 if there is no run."""
    try:
        return Run.open(path).rows
    except StoreError:
        return -1


def start(*words: str | Path) -> Process:
    """The command `cflows` in a process of its own; forked, since a victim would spend most of its life importing PyTorch."""
    process = get_context("fork").Process(target=_command, args=([*map(str, words), "--quiet"],))
    process.start()
    return process


def _command(words: list[str]) -> None:
    sys.exit(cli.main(words))


def finish(process: Process) -> None:
    """Wait for a process that is to succeed."""
    process.join()
    if process.exitcode:
        raise SystemExit(f"a process that nobody killed ended with {process.exitcode}")


def wait_until(true: Callable[[], bool], process: Process) -> None:
    """Until something is so, or the process has ended."""
    begin = time.monotonic()
    while process.is_alive() and not true():
        if time.monotonic() - begin > PATIENCE:
            raise SystemExit(f"process {process.pid} did not come so far within {PATIENCE:.0f} s")
        time.sleep(0.01)


def live(process: Process, path: Path, beginning: str, moments: random.Random) -> None:
    """Let the process, which records at `path`, live until a random moment."""
    before = committed(path)
    if beginning == "its start":
        time.sleep(moments.uniform(0.0, OPENING))
        return
    wait_until(lambda: f"process {process.pid} " in (writer(path) or ""), process)
    if beginning != "opening the store":
        wait_until(lambda: committed(path) > max(before, 0), process)
    time.sleep(moments.uniform(0.0, LIFE))


def kill_runs(tally: Tally) -> None:
    """`cflows run`, then `cflows resume`, each killed at a random moment, until the run is complete; and so on."""
    moments = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="cflows-faults-") as folder:
        undisturbed = Path(folder) / "undisturbed.zarr"
        cli.main(["run", *PLAN, "--out", str(undisturbed), "--quiet"])  # here, so that the victims inherit what is compiled
        whole = Run.open(undisturbed)
        whole.columns()
        while not tally.enough:
            path = Path(folder) / f"{tally.complete}.zarr"
            while committed(path) < whole.rows:
                process = start("resume", path) if committed(path) >= 0 else start("run", *PLAN, "--out", path)
                if tally.enough:
                    finish(process)
                    break
                (beginning,) = moments.choices(list(BEGINNINGS), list(BEGINNINGS.values()))
                live(process, path, beginning, moments)
                known = committed(path)
                process.kill()
                process.join()
                assert process.exitcode is not None
                if process.exitcode > 0:
                    raise SystemExit(f"a process that nobody had killed yet ended with {process.exitcode}")
                if process.exitcode < 0:  # else it was faster
                    tally.during[beginning] = tally.during.get(beginning, 0) + 1
                    tally.after_kill(path, known, whole)
                    print(f"kill {tally.kills}, after {beginning}: {known} steps were committed, {committed(path)} are", flush=True)
            tally.after_end(path, whole)


VICTIMS: dict[str, Callable[[Tally], None]] = {"run": kill_runs, "worker": kill_workers, "scheduler": kill_schedulers, "app": kill_apps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victims", nargs="*", metavar="victim", help=f"of {', '.join(VICTIMS)}; all without one")
    parser.add_argument("--kills", type=int, default=100, help="of each kind (100)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for each kind, after which no further process is killed")
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # PyTorch's threads for a GPU outlive no fork
    if unknown := set(arguments.victims) - set(VICTIMS):
        parser.error(f"there is no victim {', '.join(sorted(unknown))}: take {', '.join(VICTIMS)}")
    rows: list[Row] = []
    for name in arguments.victims or VICTIMS:
        tally = Tally(arguments.kills, time.monotonic() + 60 * arguments.minutes)
        try:
            VICTIMS[name](tally)
        finally:  # what was found before something went wrong
            rows += tally.rows(name)
            report("faults", rows)


if __name__ == "__main__":
    main()
