"""`cflows sweep`: many configurations from one file, computed by workers, in one folder with one table and one overview."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cflows_core.cli.arguments import own_problem
from cflows_core.cli.running import bar_wanted, interruptible
from cflows_core.cli.tables import console
from cflows_core.config import problem_of_file
from cflows_core.errors import CflowsError, ConfigError
from cflows_core.sweep import Sweep, Table, overview, read, run, task
from cflows_core.sweep.showing import shown
from cflows_core.sweep.table import TABLE

if TYPE_CHECKING:
    from cflows_core.sweep.running import Progress


def start(given: argparse.Namespace) -> int:
    """What `cflows sweep` was asked for; the exit code. Raises CflowsError, Interrupted."""
    for name, least in (("workers", 0), ("threads", 1)):
        value = getattr(given, name)
        if not isinstance(value, int) or value < least:
            raise CflowsError(f"`--{name}` must be a whole number of at least {least}, got {value}: the default is 1.")
    base, problems = {}, ()
    if given.problem is not None:
        from cflows_core.problems import files

        base = problem_of_file(own_problem(given.problem))
        problems = (files.ProblemFile.read(given.problem),)
    sweep = read(given.spec, base)
    over = _fields(given.over, sweep)
    folder = Path("runs") / sweep.name if given.out is None else Path(_named(given.out)).expanduser()
    if given.dry_run:
        dry(sweep, folder)
        return 0
    out = console()

    def stopping() -> None:
        if not given.quiet:
            out.print("Stopping: what is computed is being stored. Ctrl-C again ends at once.", markup=False, soft_wrap=True)

    with interruptible(lambda _: _interruption(sweep, folder), stopping) as check, shown(out, given.quiet, bar_wanted(given.quiet)) as show:

        def on_progress(progress: Progress) -> None:
            show(progress)
            check(progress)

        asked = {"workers": given.workers, "threads": given.threads, "scheduler": given.scheduler, "problems": problems}
        table = run(sweep, folder, **asked, on_progress=on_progress)
    return finish(table, folder, over, given)


def finish(table: Table, folder: Path, over: tuple[str, ...], given: argparse.Namespace) -> int:
    """Draw the overview and say what came out; 1 where a run failed."""
    out = console()
    drawn = None
    with suppress(ConfigError):  # nothing can be drawn, or nothing to draw with
        drawn = overview.save(table, folder / overview.OVERVIEW, *over)
    if given.table:
        print(table.to_markdown())
    states = [row["state"] for row in table.rows]
    if not given.quiet:
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        where = f"{folder / TABLE}" + ("" if drawn is None else f" and {drawn}")
        out.print(f"{len(states)} configurations: {counts}. In {where}.", markup=False, soft_wrap=True)
        for row in table.rows:
            if row["state"] == task.FAILED:
                out.print(f"{row['run']}: {row['sentence']}", markup=False, soft_wrap=True)
    return int(task.FAILED in states)


def dry(sweep: Sweep, folder: Path) -> None:
    """Say what would be computed."""
    from rich.table import Table as Grid

    out = console()
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("run", "configuration", ""):
        grid.add_column(heading)
    left = 0
    for name, config in sweep.configs.items():
        try:
            ended = task.state(task.where(folder, config), config)
        except CflowsError as error:
            ended = task.Outcome(task.FAILED, str(error))
        left += ended is None
        grid.add_row(name, sweep.labels[name], "" if ended is None else ended.state)
    out.print(grid)
    same = len(sweep.cases) - len(sweep.configs)
    repeated = f", {same} of them the same as another" if same else ""
    out.print(f"{len(sweep.cases)} configurations{repeated}; {left} runs to be computed, in {folder}.", markup=False, soft_wrap=True)


def _named(out: str) -> str:
    if not out.strip():
        raise CflowsError("`--out` must name a folder, got an empty name: try --out runs/rates.")
    return out


def _fields(over: str | None, sweep: Sweep) -> tuple[str, ...]:
    fields = tuple(part.strip() for part in over.split(",")) if over else ()
    if len(fields) > 2 or not set(fields) <= set(sweep.columns):
        raise CflowsError(f"`--over` takes one or two of the swept fields {', '.join(sweep.columns)}, got {over}.")
    return fields


def _interruption(sweep: Sweep, folder: Path) -> str:
    ended = 0
    for config in sweep.configs.values():
        try:
            ended += task.state(task.where(folder, config), config) is not None
        except CflowsError:
            continue
    return (
        f"interrupted; {ended} of {len(sweep.configs)} runs are finished in {folder}, the others as far as they came: "
        "the same command goes on from there."
    )
