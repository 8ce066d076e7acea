"""The table of a sweep against its runs; its overview."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from cflows_core import sweep
from cflows_core.errors import ConfigError
from cflows_core.sweep import Table, overview
from tests.core.sweep.tiny import TINY

OPTIMIZERS, RATES = ["gd", "rmsprop"], [0.02, 0.05, 0.1]
GRID = {"base": TINY, "axes": {"optimizer": OPTIMIZERS, "lr": RATES}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    sweep.run(sweep.from_plain(GRID), path, workers=0)
    return path


@pytest.fixture(scope="module")
def table(folder: Path) -> Table:
    return Table.of(sweep.from_plain(GRID), folder)


def test_rows_are_the_summaries(table: Table) -> None:
    for row, case in zip(table.rows, table.sweep.cases, strict=True):
        summary = table.run(row).summary()
        assert (row["optimizer"], row["lr"], row["run"]) == (case.config.optimizer, case.config.lr, case.config.hash)
        assert row["gradients"] == summary["gradients"]
        for name in ("loss", "distance", "share_of_path", "edge_steps"):
            assert row[f"central_{name}"] == pytest.approx(summary["flows"]["central"][name], nan_ok=True)


def test_a_dataset_over_the_axes(table: Table) -> None:
    data = table.to_xarray()
    assert data.sizes == {"optimizer": 2, "lr": 3}
    for row in table.rows:
        assert float(data.discrete_loss.sel(optimizer=row["optimizer"], lr=row["lr"])) == row["discrete_loss"]
        assert str(data.run.sel(optimizer=row["optimizer"], lr=row["lr"]).item()) == row["run"]
    assert data.central_distance.attrs["units"] == "weights"


def test_a_dataset_over_cases_where_some_lie_on_no_axis(folder: Path) -> None:
    table = Table.of(sweep.from_plain({**GRID, "configs": [{"lr": 0.3}, {"seed": 4}]}), folder)
    data = table.to_xarray()
    assert data.sizes == {"case": 8}
    assert data.state.values.tolist() == ["finished"] * 6 + ["not computed"] * 2
    assert np.isnan(data.discrete_loss.values[6:]).all()
    assert data.coords["optimizer"].values.tolist()[5:] == ["rmsprop", "", ""]


def test_fields_together_are_coordinates_of_their_axis(folder: Path) -> None:
    table = Table.of(sweep.from_plain({"base": TINY, "axes": {"optimizer, lr": [["gd", 0.05], ["rmsprop", 0.1]]}}), folder)
    data = table.to_xarray()
    assert data.sizes == {"optimizer, lr": 2}
    assert data.coords["lr"].values.tolist() == [0.05, 0.1]
    assert np.isfinite(data.discrete_loss.values).all()


def test_csv_holds_every_number(table: Table, tmp_path: Path) -> None:
    with table.to_csv(tmp_path / "table.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 6
    for row, line in zip(table.rows, read, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                assert line[name] == "" if math.isnan(value) else float(line[name]) == value
            else:
                assert line[name] == str(value)


def test_markdown_is_a_table(table: Table) -> None:
    lines = table.to_markdown().splitlines()
    assert len(lines) == 8
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| gd | 0.02 | finished |")
    assert table.to_markdown(["lr", "gradients"]).splitlines()[0] == "| lr | gradients |"


def test_the_overview_draws_the_stored_series(table: Table) -> None:
    panels = overview.panels(table)
    titles = [panel.title for panel in panels]
    assert titles[:2] == ["gd: train loss", "gd: distance to the optimizer"]
    assert "Final loss" in titles
    losses = panels[0].curves
    for number, row in enumerate(table.rows[:3]):
        assert np.array_equal(losses[2 * number].ys, table.run(row).series("discrete", "loss"))
        assert losses[2 * number].label == f"lr {row['lr']:g}"
    final = panels[titles.index("Final loss")].curves
    assert [curve.label for curve in final] == OPTIMIZERS
    assert final[1].xs.tolist() == RATES
    assert final[1].ys.tolist() == [row["discrete_loss"] for row in table.rows[3:]]


def test_any_two_fields_may_be_compared(table: Table) -> None:
    panels = overview.panels(table, "optimizer", "lr")
    assert [panel.title for panel in panels if "loss" in panel.title][:3] == [f"{rate:g}: train loss" for rate in RATES]
    with pytest.raises(ConfigError, match="over optimizer, lr, got 'seed'"):
        overview.panels(table, "seed")


def test_one_field_alone(folder: Path) -> None:
    for axes, base in (({"lr": RATES}, TINY), ({"optimizer": OPTIMIZERS}, {**TINY, "lr": 0.05})):
        table = Table.of(sweep.from_plain({"base": base, "axes": axes}), folder)
        assert {row["state"] for row in table.rows} == {"finished"}
        assert overview.panels(table)[0].title == "sweep: train loss"


def test_the_overview_is_one_file_that_asks_nobody(table: Table, tmp_path: Path) -> None:
    pytest.importorskip("holoviews", reason="needs holoviews: pip install 'cflows[app]'")
    text = overview.save(table, tmp_path / "overview.html").read_text()
    assert "6 configurations: 6 finished" in text
    assert "<script src" not in text
    assert text.count("train loss") >= 2


def test_nothing_to_draw_is_told(tmp_path: Path) -> None:
    table = Table.of(sweep.from_plain(GRID), tmp_path)
    assert {row["state"] for row in table.rows} == {"not computed"}
    with pytest.raises(ConfigError, match="No run has a step"):
        overview.save(table, tmp_path / "overview.html")
