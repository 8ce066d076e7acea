"""`cflows check`: a line for every stored run, and what a repair did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cflows_core.errors import CflowsError

if TYPE_CHECKING:
    from cflows_core.store.check import Report


def run(paths: Sequence[str], repair: bool) -> int:
    """Check the runs at or below each path, a line each; 0: all are whole, 1: some are not. Raises CflowsError where there is none."""
    from cflows_core.store.check import check, find

    code = 0
    for given in paths:
        found = list(find(Path(given).expanduser()))
        if not found:
            raise CflowsError(f"There is no stored run in {given}: give a run, or a folder that holds some.")
        for path in found:
            report = check(path, repair)
            print(line(report), flush=True)
            code |= not report.whole
    return code


def line(report: Report) -> str:
    """`ok  runs/a.zarr: 81 steps`, or what is wrong, what was mended, and whether `--repair` can mend more."""
    verdict = "ok" if report.whole else "damaged"
    if report.done:
        verdict = "mended" if report.whole else "damaged"
    parts = [report.state, *(finding.what.rstrip(".") for finding in report.findings), *(f"mended: {words}" for words in report.done)]
    if report.mendable:
        parts.append("--repair mends this" if all(finding.mend for finding in report.findings) else "--repair mends some of this")
    return f"{verdict:<8} {report.path}: {'; '.join(filter(None, parts))}"
