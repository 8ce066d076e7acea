"""Two runs of the same benchmark side by side, with the ratio new / old; marked is what changed by more than either run's own spread.

python benchmarks/compare.py OLD.json NEW.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timing import shown

from cflows_core.cli.tables import console

ONCE = 0.3  # spread of what was measured only once
LEAST = 0.05  # changes below this share are never marked


@dataclass(frozen=True)
class Change:
    """A row of either run; what the other lacks is None."""

    name: str
    unit: str
    old: float | None
    new: float | None
    spread: float

    @property
    def ratio(self) -> float | None:
        return self.new / self.old if self.old and self.new is not None else None

    @property
    def mark(self) -> str:
        """More, less, only in one of the runs, or nothing."""
        if self.old is None or self.new is None:
            return "gone" if self.new is None else "added"
        if math.isclose(self.old, self.new) or abs(self.new - self.old) <= self.spread * abs(self.old):
            return ""
        return "more" if self.new > self.old else "less"


def changes(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The rows of two runs by name and unit, in the order of the new one and then what is only in the old one."""
    before, after = ({(line["name"], line["unit"]): line for line in rows} for rows in (old, new))
    found = []
    for key in [*after, *(key for key in before if key not in after)]:
        pair = before.get(key), after.get(key)
        spread = max(ONCE if line["spread"] is None else line["spread"] for line in pair if line is not None)
        values = [None if line is None else line["measured"] for line in pair]
        found.append(Change(*key, *values, spread=max(LEAST, spread)))
    return found


def main(paths: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    if len(paths) != 2:
        sys.exit("compare needs two files: python benchmarks/compare.py OLD.json NEW.json")
    old, new = (json.loads(Path(path).read_text(encoding="utf-8")) for path in paths)
    out = console()
    for title, run in (("old", old), ("new", new)):
        machine = run["machine"]
        out.print(Text(f"{title}: {run['date']}, {machine['cpu']}, {machine['threads']} threads, PyTorch {run['versions']['torch']}"))
    table = Table(box=None, pad_edge=False)
    for heading in ("work", "old", "new", "", "ratio", "±", ""):
        table.add_column(heading, justify="left" if heading in ("work", "") else "right")
    for line in changes(old["rows"], new["rows"]):
        cells = (line.name, shown(line.old), shown(line.new), line.unit, shown(line.ratio), f"{50 * line.spread:.0f} %", line.mark)
        table.add_row(*map(Text, cells))
    out.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
