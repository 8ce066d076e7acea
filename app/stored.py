"""The stored runs that the dashboard ships with: one a preset at most, made by the project's own command, read once a process."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.facts import Facts
from cflows_core.history import History
from cflows_core.presets import PRESETS
from cflows_core.store import Run

NAMED = 3  # series that a sentence names
RUNS = Path(__file__).parent / "assets" / "runs"


@dataclass(frozen=True)
class Stored:
    """A stored run as it is drawn: shared by all visitors, so its history is never appended to.

    lacks: a sentence on rows whose files are not there, or nothing.
    """

    path: Path
    config: RunConfig
    history: History
    facts: Facts = field(default_factory=Facts)
    lacks: str = ""

    @classmethod
    def of(cls, run: Run) -> Stored:
        """A run that lies on disk."""
        assert run.path is not None
        lacks = ""
        if run.damaged:
            series = ", ".join(run.damaged[:NAMED]) + (" …" if len(run.damaged) > NAMED else "")
            lacks = f"{run.path.name} lacks rows of {series}, drawn as gaps: copy it again from where it came."
        return cls(run.path, run.config, History.from_run(run), Facts.from_plain(run.meta), lacks)


@functools.cache
def stored_run(preset: str) -> Stored | None:
    """The stored run of a preset, or None if it has none that can be read."""
    try:
        return Stored.of(Run.open(RUNS / f"{preset}.zarr"))
    except StoreError:
        return None


def first_config(preset: str) -> RunConfig:
    """What the controls show when a preset is chosen: its stored run's configuration, or its own."""
    stored = stored_run(preset)
    return PRESETS[preset].config if stored is None else stored.config.replace(changes=())
