"""The results of a sweep as one table: a row a case, its swept fields, what came of it, and the numbers of `Run.summary`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.errors import CflowsError, StoreError
from cflows_core.store import Run
from cflows_core.store.files import replace_file
from cflows_core.sweep.grid import Sweep
from cflows_core.sweep.task import DIVERGED, FAILED, FINISHED, Outcome, state, where
from cflows_core.written import to_text

if TYPE_CHECKING:
    import xarray

MISSING = "not computed"
UNFINISHED = "unfinished"
TABLE = "table.csv"
# Column -> unit, sentence. Those of a flow stand after its name: central_distance.
NUMBERS = {
    "last_step": ("steps", "The last step recorded, those of the warm start included."),
    "gradients": ("gradients", "Gradient-equivalents spent by all flows."),
    "wall_time": ("seconds", "Time spent computing."),
    "threshold": ("", "The effective eigenvalue c at the edge of stability."),
    "path_length": ("weights", "Length of the path of the optimizer's centre since the flows started."),
}
OF_A_FLOW = {
    "loss": ("loss", "The last train loss."),
    "distance": ("weights", "The last Euclidean distance to the optimizer's centre."),
    "share_of_path": ("", "That distance over the length of the optimizer's path."),
    "top_eigenvalue": ("", "Mean of λ₁/c over the steps at the edge."),
    "edge_steps": ("steps", "Steps at the edge."),
    "loss_error": ("", "Mean relative error of the predicted loss against the smoothed one."),
    "variance_ratio": ("", "Predicted over measured variance of the first mode."),
}
_SHOWN = ("discrete_loss", "discrete_top_eigenvalue", "central_share_of_path", "central_loss_error", "rod_share_of_path")


@dataclass(frozen=True)
class Table:
    """One row a case of the sweep. rows: column -> value, absent where it is not known. folder: where the runs are."""

    sweep: Sweep
    folder: Path
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, sweep: Sweep, folder: Path, outcomes: Mapping[str, Outcome] | None = None) -> Table:
        """What the folder holds of a sweep. outcomes: by hash, what the folder cannot tell."""
        told: dict[str, dict[str, Any]] = {}
        for name, config in sweep.configs.items():
            path = where(folder, config)
            outcome, numbers = (outcomes or {}).get(name), {}
            try:
                ended = state(path, config)
                stored = Run.open(path) if path.exists() else None
                if stored is not None and stored.rows:
                    numbers = _numbers(stored)
                if ended is not None:
                    outcome = ended
            except CflowsError as error:
                outcome = outcome or Outcome(FAILED, str(error))
            if outcome is None or outcome.state not in (FAILED, FINISHED, DIVERGED):
                outcome = Outcome(UNFINISHED if numbers else MISSING)
            told[name] = {"run": name, "state": outcome.state, "sentence": outcome.sentence, **numbers}
        rows = [{**{key: _plain(value) for key, value in case.values.items()}, **told[case.config.hash]} for case in sweep.cases]
        return cls(sweep, folder, rows)

    def run(self, row: Mapping[str, Any]) -> Run:
        """The stored run of a row. Raises StoreError where there is none."""
        return Run.open(self.folder / f"{row['run']}.zarr")

    @property
    def columns(self) -> list[str]:
        """Swept fields, then what came of it, then numbers."""
        known = dict.fromkeys(name for row in self.rows for name in row)
        first = [*self.sweep.columns, "run", "state", "sentence"]
        return [*first, *(name for name in known if name not in first)]

    def column(self, name: str) -> list[Any]:
        """Values of a column, one a case: None where a case has no such field, NaN where a number is not known."""
        missing = math.nan if _documented(name) else None
        return [row.get(name, missing) for row in self.rows]

    def to_csv(self, path: Path) -> Path:
        """The table as a CSV file; unknown numbers are empty. Raises StoreError."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows([_cell(row.get(name)) for name in self.columns] for row in self.rows)
        try:
            replace_file(path, text.getvalue().encode())
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({(error.strerror or str(error)).lower()}): the runs beside it are safe.") from None
        return path

    def to_xarray(self) -> xarray.Dataset:
        """Numbers, hash, state and sentence over the axes of the sweep; over `case` where some cases lie on no axis."""
        import xarray

        grid = self.sweep.gridded
        axes = self.sweep.axes
        dims, shape = (tuple(axis.name for axis in axes), self.sweep.shape) if grid else (("case",), (len(self.rows),))
        coordinates: dict[str, Any] = {axis.name: axis.coordinates for axis in axes} if grid else {}
        variables = {}
        for name in self.columns:
            if name in coordinates:
                continue
            known = _documented(name)
            given = self.column(name)
            values = np.array(given if all(isinstance(value, (int, float)) for value in given) else [_cell(value) for value in given])
            attributes = {"units": known[0], "doc": known[1]} if known else {}
            # A field that changes along an axis with others, or by a factor, is a coordinate too.
            (coordinates if name in self.sweep.columns else variables)[name] = (dims, values.reshape(shape), attributes)
        return xarray.Dataset(variables, coordinates, {"title": self.sweep.name})

    def to_markdown(self, columns: Iterable[str] | None = None) -> str:
        """The swept fields, the state and a few numbers, or the columns that are named."""
        chosen = list(columns or [*self.sweep.columns, "state", *(name for name in _SHOWN if name in self.columns)])
        lines = ["| " + " | ".join(name.replace("_", " ") for name in chosen) + " |", "|" + "---|" * len(chosen)]
        lines += ["| " + " | ".join(_short(row.get(name)).replace("|", r"\|") for name in chosen) + " |" for row in self.rows]
        return "\n".join(lines)


def _numbers(run: Run) -> dict[str, Any]:
    summary = run.summary()
    numbers = {name: summary[name] for name in NUMBERS}
    for flow, entry in summary["flows"].items():
        ratio = entry["variance"][0]["ratio"] if entry["variance"] else math.nan
        numbers |= {f"{flow}_{name}": value for name, value in {**entry, "variance_ratio": ratio}.items() if name in OF_A_FLOW}
    return numbers


def _documented(name: str) -> tuple[str, str] | None:
    if name in NUMBERS:
        return NUMBERS[name]
    return next((OF_A_FLOW[end] for end in OF_A_FLOW if name.endswith(f"_{end}")), None)


def _plain(value: Any) -> Any:
    return (
        value
        if isinstance(value, (int, float, str))
        else to_text("changes" if value and isinstance(value[0], (list, tuple)) else "flows", value)
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value)


def _short(value: Any) -> str:
    return format(value, ".4g") if isinstance(value, float) and math.isfinite(value) else _cell(value)
