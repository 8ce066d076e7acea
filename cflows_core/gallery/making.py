"""Where a figure's runs come from: the folders that hold them, or, where none does, computing them.

A folder has a packed run `NAME.zarr.zip` for each `Stored`, `NAME.json` for each `Study`, and `figures.json`, an index of what was found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError, StoreError
from cflows_core.frames import Frame
from cflows_core.gallery.figure import Arrays, Data, Figure, Finding, Stored, Study
from cflows_core.gallery.sketch import sketch
from cflows_core.panels import Panel
from cflows_core.running import resume, run
from cflows_core.store import Run
from cflows_core.store.files import LOCK, PARTIAL, dumps, replace_file
from cflows_core.store.packed import ENDING, pack
from cflows_core.store.run import CHECKPOINT

INDEX = "figures.json"
OnFrame = Callable[[Frame], Any] | None

_MACHINE = ("device", "dtype", "threads", "max_memory", "checkpoint_every")  # say where a run was made, not what it is


def collect(
    figure: Figure,
    folders: Sequence[Path],
    *,
    again: bool = False,
    paper_scale: bool = False,
    tell: Callable[[str], None] = lambda sentence: None,
    progress: bool = False,
    watched: Callable[[], AbstractContextManager[OnFrame]] = nullcontext,
    **machine: Any,
) -> Data:
    """What the figure is drawn from: out of the first folder that has it, else computed and stored in the first folder.

    again: compute it whatever the folders hold. paper_scale: the runs at the paper's scale. progress: show a bar. watched: a
    context around each run that is computed, which gives what to call with its frames. machine: fields of the configuration that say where
    it is computed, such as `device`. A run that is interrupted stays in the first folder, and goes on from there the next time. Raises
    ConfigError where the figure has no runs at the paper's scale, StoreError.
    """
    if paper_scale and not figure.paper:
        raise ConfigError(f"The text gives no setting of {figure.source} that could be run at the paper's scale: leave out --paper-scale.")
    places = () if again else folders
    wanted = figure.paper if paper_scale else figure.runs

    def computed(stored: Stored) -> Run:
        config = stored.config.replace(**machine)
        tell(f"Computing {stored.name}: {config.warm_start + config.steps:,} steps.")
        with watched() as on_frame:
            return _computed(stored.name, config, folders[0], again, progress=progress, on_frame=on_frame)

    runs = {label: _found(stored, places) or computed(stored) for label, stored in wanted.items()}
    studies = {label: _read(study, places) or _studied(study, folders[0], tell) for label, study in figure.studies.items()}
    return Data(runs, studies)


def stored(figure: Figure, folders: Sequence[Path]) -> Data | None:
    """What the figure is drawn from if the folders have all of it, else None. Raises StoreError for files that cannot be read."""
    runs = {label: _found(run, folders) for label, run in figure.runs.items()}
    studies = {label: _read(study, folders) for label, study in figure.studies.items()}
    if None in runs.values() or None in studies.values():
        return None
    return Data(runs, studies)  # type: ignore[arg-type]


def same_run(one: RunConfig, other: RunConfig) -> bool:
    """Whether two configurations are of one run, wherever it is computed."""
    return _what(one) == _what(other)


def note(figure: Figure, findings: Sequence[Finding], panels: Sequence[Panel], folder: Path) -> None:
    """Write what was found into the folder's index."""
    entry = {
        "verdict": figure.verdict(findings),
        "findings": [[finding.number, bool(finding.holds)] for finding in findings],
        "sketch": sketch(panels[0]) if panels else [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    known = index(folder) | {figure.name: entry}
    replace_file(folder / INDEX, json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False).encode())


def index(folder: Path) -> dict[str, Any]:
    """What was found, by the figure's name; empty where the folder has no index that can be read."""
    try:
        known = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _what(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in _MACHINE}


def _found(stored: Stored, folders: Sequence[Path]) -> Run | None:
    """Raises StoreError for a file that cannot be read, or that holds another run."""
    for folder in folders:
        path = folder / (stored.name + ENDING)
        if path.exists():
            found = Run.open(path)
            if not same_run(found.config, stored.config):
                raise StoreError(f"{path} holds another configuration than the figure's: compute it again with --again.")
            return found
    return None


def _computed(name: str, config: RunConfig, folder: Path, again: bool, **options: Any) -> Run:
    """The run, packed in the folder; until it is whole it lies there as a directory, from which it goes on after an interruption."""
    folder.mkdir(parents=True, exist_ok=True)
    directory, packed = folder / f"{name}.zarr", folder / (name + ENDING)
    if directory.exists() and not again and same_run(Run.open(directory).config, config):
        resume(directory, **options)
    else:
        run(config, directory, overwrite=True, **options)
    partial = pack(directory, folder / f"{name}{PARTIAL}", leave_out=(LOCK, CHECKPOINT))
    partial.replace(packed)
    shutil.rmtree(directory)
    return Run.open(packed)


def _read(study: Study, folders: Sequence[Path]) -> Arrays | None:
    for folder in folders:
        path = folder / f"{study.name}.json"
        if path.exists():
            try:
                return {name: np.array(values, dtype=float) for name, values in json.loads(path.read_text()).items()}
            except (ValueError, TypeError, AttributeError):
                raise StoreError(f"{path} is damaged: compute it again with --again.") from None
    return None


def _studied(study: Study, folder: Path, tell: Callable[[str], None]) -> Arrays:
    tell(f"Computing {study.name}.")
    arrays = study.compute()
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: np.where(np.isfinite(values), values.astype(object), None).tolist() for name, values in arrays.items()}  # type: ignore[call-overload]
    replace_file(folder / f"{study.name}.json", dumps(plain))
    return arrays
