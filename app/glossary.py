"""What the page's cards teach: for every quantity that is drawn or controlled a formula, a unit, one sentence and a source.

The content is assets/glossary.toml; sentences that stand elsewhere, in `SERIES` and in `RunConfig`, are taken from there.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cflows_app.mathml import mathml
from cflows_core.config import RunConfig
from cflows_core.frames import SERIES

LINES = ",  "  # between a formula's lines
_FILE = Path(__file__).parent / "assets" / "glossary.toml"


@dataclass(frozen=True)
class Term:
    """A card. math: MathML, "" if a formula would say nothing. unit: "" where there is none to speak of. text: one sentence."""

    title: str
    math: str
    unit: str
    text: str
    source: str


@functools.cache
def glossary() -> dict[str, Term]:
    """Key -> card: the terms, `page.NAME` of the page itself, `field.NAME` for each control and `optimizer.NAME` for each of the nine."""
    content = _content()
    terms = {key: _term(entry) for key, entry in content["terms"].items()}
    terms |= {f"page.{name}": _term(entry) for name, entry in content["page"].items()}
    for name in RunConfig.fields():
        entry, parameter = content["fields"].get(name, {}), RunConfig.param[name]
        said = {"title": parameter.label, "unit": RunConfig.UNITS.get(name, ""), "text": parameter.doc}
        terms[f"field.{name}"] = _term(said | entry)
    for name, formula in content["optimizers"].items():
        text = "One step, without bias correction; where the edge is depends on the kind of momentum and on β₁ alone."
        entry = {"title": "", "formula": formula, "unit": "weights", "text": text, "source": "docs/mathematics.md, Nine optimizers"}
        terms[f"optimizer.{name}"] = _term(entry)
    return terms


def plain() -> dict[str, dict[str, str]]:
    """The glossary for the page's script."""
    return {key: asdict(term) for key, term in glossary().items()}


def term_of(panel: str, name: str) -> str:
    """The key of what a panel's `title`, a legend's entry or a choice `unit.VALUE` stands for, "" if there is no card."""
    panels = _content()["panels"]
    return panels.get(panel, {}).get(name) or panels["any"].get(name, "")


def _term(entry: dict[str, str]) -> Term:
    series = SERIES[entry["series"]] if "series" in entry else None
    return Term(
        title=entry["title"],
        math="".join(mathml(line) for line in entry.get("formula", "").split(LINES) if line),
        unit=entry.get("unit", "" if series is None else series.unit),
        text=entry.get("text", "" if series is None else series.doc),
        source=entry.get("source", ""),
    )


@functools.cache
def _content() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
