"""Is a stored run whole? Every file is compared with what the root document promises; store/mend.py mends what can be mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from cflows_core.errors import CflowsError, StoreError
from cflows_core.frames import STATUSES
from cflows_core.store import mend
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.document import DELETED, KEY, SCHEMA_VERSION, is_unborn, read_attributes
from cflows_core.store.files import LOCK, ROOT, WriterLock, leftovers, writer
from cflows_core.store.layout import COORDINATES, REPEATED, source
from cflows_core.store.packed import ENDING, unpacked
from cflows_core.store.resuming import check_version, usable_checkpoint
from cflows_core.store.run import CHECKPOINT, Run

PASSES = 4  # a restored root document lets more be seen
_RUNNING = STATUSES.index("running")


@dataclass(frozen=True)
class Finding:
    """what: the words for it. harm: whether the run is less than it should be. mend: mends it and says how, None where nothing can."""

    what: str
    harm: bool = True
    mend: Callable[[], str] | None = None


@dataclass
class Report:
    """state: the run in some words. findings: what is wrong with it still. done: what a repair did."""

    path: Path
    state: str = ""
    findings: list[Finding] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not any(finding.harm for finding in self.findings)

    @property
    def mendable(self) -> bool:
        return any(finding.mend for finding in self.findings)


def find(path: Path) -> Iterator[Path]:
    """The runs at `path`: itself, or those in the folder and its folders, packed ones included. Raises StoreError for nothing there."""
    if not path.exists():
        raise StoreError(f"There is nothing at {path}: check the path.")
    if path.is_file() or _is_run(path):
        yield path
        return
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            if not entry.name.startswith(".") or entry.name.endswith(DELETED):
                yield from find(entry)
        elif entry.name.endswith(ENDING):
            yield entry


def _is_run(folder: Path) -> bool:
    """Whether this is, or was, a run's folder; not that of a Zarr array of somebody else."""
    return read_attributes(folder) is not None or (folder / LOCK).exists() or (folder / CHECKPOINT).exists()


def check(path: Path, repair: bool = False) -> Report:
    """Look at one run, and with `repair` mend what can be mended; a run that somebody records is only looked at. Raises StoreError."""
    try:
        if path.is_file():
            return _packed(path)
        holder = writer(path)
        if holder is not None:
            report = _examine(path, alone=False)
            report.state += f", being recorded {holder}".rstrip()
            return report
        if not repair:
            return _examine(path)
        return _mended(path)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StoreError(f"{path} cannot be checked ({(error.strerror or str(error)).lower()}{where}): see to that first.") from error


def _mended(path: Path) -> Report:
    done: list[str] = []
    report = _examine(path)
    for _ in range(PASSES):
        if not report.mendable:
            break
        lock = WriterLock(path)
        try:
            if is_unborn(path):
                return Report(path, "nothing recorded", done=[mend.remove_unborn(path)])
            report = _examine(path)  # as it is now that nobody else can write
            done += [finding.mend() for finding in report.findings if finding.mend is not None]
        finally:
            lock.release()
        if not path.exists():
            return Report(path, "gone", done=done)
        report = _examine(path)
    report.done = done
    return report


def _packed(path: Path) -> Report:
    try:
        with unpacked(path) as folder:
            report = _examine(folder)
    except StoreError as error:
        return Report(path, "", [Finding(str(error))])
    findings = [Finding(finding.what, finding.harm) for finding in report.findings]  # to be mended once it is unpacked
    return Report(path, f"{report.state}, packed", findings)


def _examine(path: Path, alone: bool = True) -> Report:
    """alone: nobody is recording the run, so that what is unfinished is a leftover."""
    report = Report(path)
    if path.name.endswith(DELETED):
        report.state = "remains of a run"
        report.findings = [Finding("it was being deleted, to be overwritten", False, partial(mend.finish_deleting, path))]
    elif is_unborn(path):
        report.state = "nothing recorded"
        report.findings = (
            [Finding("its writer was killed at the very beginning", False, partial(mend.remove_unborn, path))] if alone else []
        )
    else:
        try:
            run = Run.open(path)
        except CflowsError as error:
            report.findings = [_without_root(path, error)]
            return report
        report.state = _state(run)
        report.findings = list(_findings(run, path))
        if alone and leftovers(path):
            names = ", ".join(file.relative_to(path).as_posix() for file in leftovers(path)[:3])
            report.findings.append(Finding(f"leftovers of a killed writer ({names})", False, partial(mend.clear_leftovers, path)))
    return report


def _without_root(path: Path, error: CflowsError) -> Finding:
    attributes = read_attributes(path)
    if attributes is not None and attributes["schema_version"] != SCHEMA_VERSION:
        return Finding(str(error))
    try:
        mend.restorable(path)
    except CflowsError as reason:
        return Finding(f"{error} It cannot be restored: {reason}")
    return Finding(str(error), mend=partial(mend.restore_root, path))


def _state(run: Run) -> str:
    closed = "" if run.meta["closed"] else ", not closed"
    return f"{run.rows:,} steps{closed}"


def _findings(run: Run, path: Path) -> Iterator[Finding]:
    stored = json.loads((path / ROOT).read_bytes())["attributes"][KEY]["schema_version"]
    if stored != SCHEMA_VERSION:
        yield Finding(f"it is of schema {stored}, and opens by migration", False, partial(mend.migrate, path))
    if run.config.hash != run.meta["config_hash"]:
        yield Finding(f"its configuration has the hash {run.config.hash}, and is stored with {run.meta['config_hash']}")
    at = [event.step for event in run.events]
    if at != sorted(at):
        yield Finding("its events are not in the order of their steps")
    rows = list(_rows(run, path))
    yield from rows
    missing = [name for name in _members(run) if not _is_document(path / name / ROOT)]
    if missing:
        words = f"documents of {len(missing)} groups or arrays are missing or damaged ({', '.join(missing[:3])})"
        yield Finding(words, False, partial(mend.write_members, path))
    if not any(finding.mend for finding in rows):  # else the checkpoint is compared with what is left of them
        yield from _checkpoint(run, path)


def _rows(run: Run, path: Path) -> Iterator[Finding]:
    rows = run.rows
    copies = {name: run.arrays.get(f"discrete/{name}", run.arrays[name]) for name in REPEATED} if rows else {}
    room = max((max(run.arrays[name].room(path), copy.room(path)) for name, copy in copies.items()), default=0)
    if rows > room:
        yield Finding(f"{rows:,} steps are committed, and there are files for {room:,}", mend=partial(mend.cut, path, room))
        return
    torn = torn_rows(run)
    again = [name for name, copy in copies.items() if name in torn and not _is_torn(copy, path, rows)]
    for name in again:
        del torn[name]
        yield Finding(f"the array `{name}` is damaged", mend=partial(mend.restore_coordinate, path, name))
    if not torn:
        return
    bad = np.any(list(torn.values()), axis=0)
    whole = 0 if bad.all() else rows - int(np.argmin(bad[::-1]))  # what is left without the torn end
    names = ", ".join(sorted(torn)[:3]) + (f" and {len(torn) - 3} more" if len(torn) > 3 else "")
    if whole < rows:
        yield Finding(f"the last {rows - whole:,} of {rows:,} steps are torn ({names})", mend=partial(mend.cut, path, whole))
    middle = int(bad[:whole].sum())
    if middle:
        yield Finding(f"{middle:,} of {rows:,} steps are lost in some series, and read as NaN ({names}): only a new run has them again")


def _is_torn(spec: ArraySpec, path: Path, rows: int) -> bool:
    values, lost = spec.read(path, rows)
    return bool(lost.any() or np.isnan(values).any() or (values.dtype.kind == "i" and (np.diff(values) <= 0).any()))


def torn_rows(run: Run) -> dict[str, np.ndarray]:
    """Array -> which committed rows, bool [rows], are not there, of the arrays where some are not.

    Not there: the file is too short or gone, the step does not ascend, a coordinate is NaN, a running flow has no loss.
    """
    torn = dict(run.lost())

    def add(path: str, rows: np.ndarray) -> None:
        if rows.any():
            torn[path] = torn.get(path, np.zeros(run.rows, dtype=bool)) | rows

    if run.rows:
        steps = run.steps
        add("step", np.concatenate([[False], steps[1:] <= np.maximum.accumulate(steps)[:-1]]))
        for name in COORDINATES[1:]:
            add(name, np.isnan(run.columns()[name]))
        for flow in run.flows:
            add(f"{flow}/loss", (run.status(flow) == _RUNNING) & np.isnan(run.series(flow, "loss")))
        for path in run.arrays:
            if source(path) == path and run.path is not None and not any((run.path / path).glob("c*")):
                add(path, np.ones(run.rows, dtype=bool))
    return torn


def _members(run: Run) -> list[str]:
    return sorted({*run.arrays, *(path.rpartition("/")[0] for path in run.arrays if "/" in path)})


def _is_document(file: Path) -> bool:
    try:
        return json.loads(file.read_bytes())["zarr_format"] == 3
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _checkpoint(run: Run, path: Path) -> Iterator[Finding]:
    if run.checkpoint_path is None:
        return
    aside = partial(mend.set_checkpoint_aside, path)
    checkpoint, problem = usable_checkpoint(run)
    if checkpoint is None:
        yield Finding(problem, mend=aside)
        return
    try:
        check_version(run, checkpoint)
    except StoreError as error:
        yield Finding(str(error), mend=aside)
