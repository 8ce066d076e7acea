"""The papers' figures at this machine's scale: what each is drawn from, and what was found of what it shows (`cflows figure NAME`)."""

from __future__ import annotations

import difflib
from pathlib import Path

from cflows_core.errors import ConfigError
from cflows_core.gallery.adaptive import ADAPTIVE
from cflows_core.gallery.descent import DESCENT
from cflows_core.gallery.figure import Claim, Data, Figure, Finding, Stored, Study
from cflows_core.gallery.rods import RODS

__all__ = ["FIGURES", "Claim", "Data", "Figure", "Finding", "Stored", "Study", "folders", "get"]

FIGURES: dict[str, Figure] = {figure.name: figure for figure in (*DESCENT, *ADAPTIVE, *RODS)}


def get(name: str) -> Figure:
    """The figure of a name. Raises ConfigError, which names close ones."""
    if name not in FIGURES:
        close = difflib.get_close_matches(name, FIGURES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "`cflows figure` lists them."
        raise ConfigError(f"There is no figure {name!r}: {hint}")
    return FIGURES[name]


def folders(first: Path) -> list[Path]:
    """Where to look for runs: in the folder given, and in the one that comes with the dashboard, if that is installed."""
    from importlib.util import find_spec

    spec = find_spec("cflows_app")
    bundled = [Path(place) / "assets" / "gallery" for place in (spec.submodule_search_locations or [])] if spec else []
    return [first, *(folder for folder in bundled if folder.is_dir() and folder.resolve() != first.resolve())]
