"""`cflows figure`: a figure of the papers from its runs: numbers on the terminal, and one file with the plots."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cflows_core.cli.running import bar_wanted, interruptible
from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.gallery import FIGURES, Figure, Finding, folders, get, making

if TYPE_CHECKING:
    from cflows_core.panels import Panel

MARKS = {True: "✓", False: "✗"}


def show(given: argparse.Namespace) -> None:
    """What `cflows figure` was asked for. Raises CflowsError."""
    places = folders(Path(given.runs).expanduser())
    if places[0].exists() and not places[0].is_dir():
        raise ConfigError(f"`--runs` must name a folder, got the file {places[0]}: give another.")
    if given.markdown:
        print(markdown(places))
        return
    names = list(FIGURES) if given.all else given.names
    if not names:
        catalogue(places)
        return
    for figure in [get(name) for name in names]:
        make(figure, places, given)


def make(figure: Figure, places: Sequence[Path], given: argparse.Namespace) -> None:
    """Collect the figure's runs, print what was found, and write the plots."""
    out = console()
    machine = {} if given.device is None else {"device": RunConfig.check("device", given.device)}
    watched = partial(
        interruptible, lambda step: f"interrupted at step {step:,}, saved in {places[0]}: the same command goes on from there."
    )
    asked = {"again": given.again, "paper_scale": given.paper_scale, "progress": bar_wanted(given.quiet), "watched": watched, **machine}
    data = making.collect(figure, places, tell=(lambda _: None) if given.quiet else out.print, **asked)
    panels, findings = list(figure.panels(data)), figure.findings(data)
    if not given.paper_scale:
        making.note(figure, findings, panels, places[0])
    if not given.quiet:
        out.print(f"{figure.source}. {figure.title}: {figure.verdict(findings)}", style="bold", markup=False, soft_wrap=True)
        for claim, finding in zip(figure.claims, findings, strict=True):
            out.print(f"  {MARKS[finding.holds]} {claim.text} {finding.number}", markup=False, soft_wrap=True)
        if figure.lacks:
            out.print(f"  Lacks: {figure.lacks}", markup=False, soft_wrap=True)
    if given.out is not None:
        path = _target(Path(given.out).expanduser(), figure, given)
        _save(figure, findings, panels, path)
        if not given.quiet:
            out.print(f"  Drawn in {path}", markup=False, soft_wrap=True)


def catalogue(places: Sequence[Path]) -> None:
    """Print all figures, each with its verdict."""
    from rich.table import Table
    from rich.text import Text

    known = _known(places)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for figure in FIGURES.values():
        table.add_row(figure.name, figure.source, Text(figure.title), known.get(figure.name, {}).get("verdict", "not computed yet"))
    out = console()
    out.print(table)
    out.print("\nDraw one with: cflows figure NAME --out figures/")


def markdown(places: Sequence[Path]) -> str:
    """The table of docs/gallery.md: every claim of every figure with its number."""
    known = _known(places)
    lines = ["| figure | | what the paper shows | | here |", "|---|---|---|---|---|"]
    for figure in FIGURES.values():
        entry = known.get(figure.name)
        if entry is None:
            raise ConfigError(f"{figure.name} was not computed yet: run `cflows figure {figure.name}` first.")
        for at, (claim, (number, holds)) in enumerate(zip(figure.claims, entry["findings"], strict=True)):
            first = (f"**{figure.source}** {figure.title}", entry["verdict"]) if at == 0 else ("", "")
            cells = (*first, claim.text, MARKS[holds], number)
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        if figure.lacks:
            lines.append(f"| | | | | Lacks: {figure.lacks} |")
    counts = [sum(entry["verdict"] == verdict for entry in known.values()) for verdict in ("reproduced", "partly", "not reproduced")]
    return "\n".join([*lines, "", f"{counts[0]} figures are reproduced, {counts[1]} partly, {counts[2]} not."])


def _known(places: Sequence[Path]) -> dict:
    known: dict = {}
    for folder in reversed(places):
        known |= making.index(folder)
    return {name: known[name] for name in FIGURES if name in known}


def _target(out: Path, figure: Figure, given: argparse.Namespace) -> Path:
    """A file of that name for one figure, or a file in the folder of that name."""
    if out.suffix == ".html":
        if given.all or len(given.names) > 1:
            raise ConfigError(f"`--out {out}` is one file for several figures: name a folder.")
        out.parent.mkdir(parents=True, exist_ok=True)
        return out
    out.mkdir(parents=True, exist_ok=True)
    return out / f"{figure.name}{'-paper' if given.paper_scale else ''}.html"


def _save(figure: Figure, findings: Sequence[Finding], panels: Sequence[Panel], path: Path) -> None:
    try:
        from cflows_core.figures import save
    except ModuleNotFoundError as missing:
        raise ConfigError(f"Drawing needs the package {missing.name}: pip install 'cflows[app]', or leave out --out.") from None
    rows = "".join(
        f"<li>{MARKS[finding.holds]} {escape(claim.text)} <b>{escape(finding.number)}</b></li>"
        for claim, finding in zip(figure.claims, findings, strict=True)
    )
    words = (
        f"<p>{escape(figure.caption)}</p><p>{escape(figure.theirs)} {escape(figure.ours)}</p><ul>{rows}</ul><p>{escape(figure.lacks)}</p>"
    )
    save(panels, path, f"{figure.source}. {figure.title}", words)
