"""What a figure of the gallery is: runs, what is drawn of them, and what is claimed, with a measurement for each claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cflows_core.config import RunConfig
from cflows_core.panels import Panel

if TYPE_CHECKING:
    from cflows_core.store import Run

Arrays = dict[str, np.ndarray]
VERDICTS = ("reproduced", "partly", "not reproduced")


@dataclass(frozen=True)
class Stored:
    """A run that a figure is drawn from. name: of its file, which figures that draw one configuration share."""

    name: str
    config: RunConfig


@dataclass(frozen=True)
class Study:
    """Numbers that no single run holds. name: of its file. compute: what makes them: name -> array [...], finite or NaN."""

    name: str
    compute: Callable[[], Arrays]


@dataclass(frozen=True)
class Data:
    """What a figure is drawn from: its runs and the arrays of its studies, by the figure's own labels."""

    runs: Mapping[str, Run]
    studies: Mapping[str, Arrays] = field(default_factory=dict)

    def __getitem__(self, label: str) -> Run:
        return self.runs[label]


@dataclass(frozen=True)
class Finding:
    """What was measured, in words with numbers, and whether the claim holds."""

    number: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """One sentence on what the figure shows in its paper, and how it is measured here. Limits stand in `measure`, with their reason."""

    text: str
    measure: Callable[[Data], Finding]


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, at this machine's scale.

    name: as in `cflows figure NAME`. source: paper and number. title, caption: ours; the caption says what to look at.
    theirs, ours: the paper's setting as far as its text gives it, and the one drawn here. preset: whose run Explore opens, "" if none.
    runs, studies: by label. panels: what is drawn. claims: what the paper says of it. lacks: what the paper shows and this does not,
    with the reason, "" if nothing. paper: runs at the paper's own scale, by the same labels, for a GPU. toy: the toy lab's setting that
    shows it, as an address has it, "" if none.
    """

    name: str
    source: str
    title: str
    caption: str
    theirs: str
    ours: str
    panels: Callable[[Data], Sequence[Panel]]
    claims: tuple[Claim, ...]
    preset: str = ""
    runs: Mapping[str, Stored] = field(default_factory=dict)
    studies: Mapping[str, Study] = field(default_factory=dict)
    paper: Mapping[str, Stored] = field(default_factory=dict)
    lacks: str = ""
    toy: str = ""

    def findings(self, data: Data) -> list[Finding]:
        """What each claim measures, in their order; a run in which what a claim is about never happens does not bear it out."""
        found = []
        for claim in self.claims:
            try:
                found.append(claim.measure(data))
            except (IndexError, ValueError) as reason:  # there is no such step
                found.append(Finding(f"There is nothing to measure, 0 steps of what it is about ({reason}).", False))
        return found

    def verdict(self, findings: Sequence[Finding]) -> str:
        """One of `VERDICTS`: all claims hold and nothing lacks, some hold, none does."""
        held = [finding.holds for finding in findings]
        if held and all(held) and not self.lacks:
            return VERDICTS[0]
        return VERDICTS[1] if any(held) else VERDICTS[2]
