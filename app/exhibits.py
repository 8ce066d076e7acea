"""What the page Gallery shows: the figures that come with the dashboard, each drawn from its stored runs, read once a process."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cflows_app.share import query
from cflows_core.errors import StoreError
from cflows_core.gallery import FIGURES, Figure, Finding, get, making
from cflows_core.panels import Panel
from cflows_core.presets import PRESETS

FOLDER = Path(__file__).parent / "assets" / "gallery"
KEPT = 8  # figures that stay in memory
SOURCES = {  # by how their names begin
    "cf": "Central flows [CF]",
    "rf": "Rod flows [RF]",
    "b3": "The blog on RMSProp [B3]",
    "t1": "A lecture on gradient descent [T1]",
}


@dataclass(frozen=True)
class Exhibit:
    """A figure with all that is drawn and said of it."""

    figure: Figure
    panels: Sequence[Panel]
    findings: Sequence[Finding]

    @property
    def verdict(self) -> str:
        return self.figure.verdict(self.findings)


@functools.lru_cache(maxsize=KEPT)
def opened(name: str) -> Exhibit:
    """The figure of a name, from its stored runs. Raises ConfigError for no such figure, StoreError where runs are missing."""
    figure = get(name)
    data = making.stored(figure, [FOLDER])
    if data is None:
        raise StoreError(f"The runs of {figure.source} are not stored here: `cflows figure {name}` computes and draws it.")
    return Exhibit(figure, list(figure.panels(data)), figure.findings(data))


@functools.cache
def catalogue() -> list[dict[str, Any]]:
    """All figures for the page, in groups by where they come from, each with its verdict and its sketch."""
    known = making.index(FOLDER)
    groups = []
    for prefix, title in SOURCES.items():
        figures = [
            {
                "name": figure.name,
                "number": figure.source.partition("] ")[2],
                "title": figure.title,
                "verdict": known[figure.name]["verdict"],
                "sketch": known[figure.name]["sketch"],
            }
            for figure in FIGURES.values()
            if figure.name.partition("-")[0] == prefix and figure.name in known
        ]
        if figures:
            groups.append({"title": title, "figures": figures})
    return groups


def about(exhibit: Exhibit) -> dict[str, Any]:
    """What the page says of a figure."""
    figure = exhibit.figure
    preset = PRESETS.get(figure.preset)
    return {
        "name": figure.name,
        "source": figure.source,
        "title": figure.title,
        "caption": figure.caption,
        "verdict": exhibit.verdict,
        "panels": [panel.title for panel in exhibit.panels],
        "claims": [[claim.text, finding.number, finding.holds] for claim, finding in zip(figure.claims, exhibit.findings, strict=True)],
        "theirs": figure.theirs,
        "ours": figure.ours,
        "lacks": figure.lacks,
        "paper": bool(figure.paper),
        "preset": "" if preset is None else preset.title,
        "explore": "" if preset is None else f"./?{query(preset.config)}",
        "toy": f"./toylab?{figure.toy}" if figure.toy else "",
    }
