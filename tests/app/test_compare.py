"""Compare without a browser: runs of a shelf laid over one another, their differences, and what a visitor does with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document

from cflows_app.comparison import Compared, differing, in_words, sentence, table
from cflows_app.export import Snapshot
from cflows_app.pages.compare import COLORS, ComparePage
from cflows_app.shelf import Shelf
from cflows_app.shell import page_template
from cflows_app.streaming import Reading
from cflows_core.config import RunConfig
from cflows_core.store import Recorder
from tests.app.conftest import synthetic_history

STEPS = {"one": 260, "two": 300, "three": 240}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Three runs that differ in their step sizes, one of which was changed."""
    shelf = Shelf(tmp_path)
    for i, (name, steps) in enumerate(STEPS.items()):
        config = RunConfig(lr=0.1 * (i + 1), changes=[(100, "lr", 0.05)] if name == "two" else [])
        shelf.keep(name, Snapshot(name, config, synthetic_history(steps, config), {}).to_zarr)
    return shelf


def visit(shelf: Shelf, scene: Callable[[ComparePage], Coroutine]) -> None:
    async def whole() -> None:
        page = ComparePage(shelf)
        await settled(page)
        await scene(page)
        await page.leave()
        assert not page._tasks

    asyncio.run(whole())


async def settled(page: ComparePage) -> None:
    """Look into the folder, read what is picked, and draw."""
    page._looked = -1e9
    page.tick()
    while page._tasks:
        await asyncio.gather(*page._tasks)
    page.tick()


def last_step(page: ComparePage, layer: int) -> int:
    """The newest step that a layer draws, -1 if there is none."""
    steps = np.asarray(page.canvas.tables[layer].source.data["step"])
    return int(steps[-1]) if len(steps) else -1


def compared(*configs: RunConfig) -> list[Compared]:
    return [Compared(f"{i}.zarr", str(i), COLORS[i], config, {"flows": {}}) for i, config in enumerate(configs)]


def test_the_document_is_valid_with_runs_that_come_later(shelf, caplog):
    async def scene(page: ComparePage):
        document = Document()
        page_template(page, "dark").server_doc(document)
        page.pick(["one.zarr", "two.zarr"])
        await settled(page)
        with caplog.at_level(logging.WARNING):
            document.validate()
        assert [record.getMessage() for record in caplog.records] == []
        assert {"runs", "differences", "status", "viewbar", "loss_plot", "loss_legend"} <= {root.name for root in document.roots}

    visit(shelf, scene)


def test_runs_are_drawn_each_in_its_colour(shelf):
    async def scene(page: ComparePage):
        page.pick(["two.zarr", "one.zarr"])
        await settled(page)
        for layer, name in enumerate(("two", "one")):
            history = synthetic_history(STEPS[name], shelf.open(f"{name}.zarr").config)
            reading = Reading(history, shelf.open(f"{name}.zarr").config, {})
            assert last_step(page, layer) == STEPS[name] - 1
            drawn = np.asarray(page.canvas.tables[layer].source.data["central.predicted_loss"])
            np.testing.assert_allclose(drawn[-1], reading.series("central", "predicted_loss")[-1], rtol=1e-6)
            lines = [renderer for view in page.views for renderer in view.layers[layer] if renderer.visible]
            assert {str(renderer.glyph.line_color) for renderer in lines} <= {
                page.canvas.palette[COLORS[layer]],
                page.canvas.palette["edge"],
            }
            assert all(renderer.name.startswith(f"{name} · ") for renderer in lines)
        assert page.status.state["sentence"] == "2 runs, which differ in η and changes."
        assert [entry["color"] for entry in page.runs.state["entries"] if entry["name"] == "one.zarr"] == [COLORS[1]]
        assert float(page.canvas.steps.end) > STEPS["two"]  # the longest fits
        assert list(page.canvas.marks.data["label"]) == ["η = 0.05"]

    visit(shelf, scene)


def test_a_run_that_is_unticked_leaves_its_colour_to_the_next(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr", "two.zarr"])
        await settled(page)
        page._on_runs({"drop": "one.zarr"})
        await settled(page)
        assert last_step(page, 0) == -1
        assert last_step(page, 1) == STEPS["two"] - 1
        page._on_runs({"pick": "three.zarr"})
        await settled(page)
        assert page.slots[:2] == ["three.zarr", "two.zarr"]
        assert last_step(page, 0) == STEPS["three"] - 1
        assert page.views[0].layers[0][0].name.startswith("three · ")

    visit(shelf, scene)


def test_flows_that_are_ticked_are_drawn_for_every_run(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr", "two.zarr"])
        page._on_runs({"flows": ["rod", "stable", "nonsense"]})
        await settled(page)
        distance = next(view for view in page.views if view.key == "distance")
        for layer in distance.layers:
            assert {curve.flow for curve, renderer in zip(distance.curves, layer, strict=True) if renderer.visible} == {"stable", "rod"}
        assert [flow["value"] for flow in page.runs.state["flows"] if flow["on"]] == ["stable", "rod"]

    visit(shelf, scene)


def test_a_pan_keeps_the_view_and_sends_it_in_detail(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr"])
        await settled(page)
        page.canvas.steps.update(start=100, end=140)
        page._drawn_at = -1e9
        page.tick()
        assert not page.axis.following
        steps = page.canvas.table.source.data["step"]
        assert (steps[0], steps[-1]) == (80, 159)  # half as much again on either side
        page._on_viewbar({"follow": True})
        page.tick()
        assert page.viewbar.state["following"]
        assert float(page.canvas.steps.end) > STEPS["one"]

    visit(shelf, scene)


def test_six_runs_at_most(shelf):
    for i in range(6):
        shelf.keep(f"more {i}", Snapshot("", RunConfig(), synthetic_history(5), {}).to_zarr)

    async def scene(page: ComparePage):
        page.pick(f"more {i}.zarr" for i in range(6))
        assert page.error == ""
        page.pick(["one.zarr"])
        assert page.error == "At most 6 runs are laid over one another: untick one first."
        await settled(page)
        assert page.runs.state["most"] == len(page.runs.state["picked"]) == 6
        assert page.status.state["problem"] == page.error
        page._on_status({"dismiss": True})
        page.tick()
        assert page.status.state["problem"] == ""

    visit(shelf, scene)


def test_a_deleted_run_leaves_the_page_and_the_disk(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr", "two.zarr"])
        await settled(page)
        page._on_runs({"delete": "one.zarr"})
        await settled(page)
        assert {entry["label"] for entry in page.runs.state["entries"]} == {"two", "three"}
        assert page.slots[0] is None
        assert not (shelf.folder / "one.zarr").exists()
        assert "two: tick another run" in page.status.state["sentence"]

    visit(shelf, scene)


def test_a_run_deleted_by_someone_else_leaves_the_page(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr"])
        await settled(page)
        shelf.delete("one.zarr")
        await settled(page)
        assert page.slots == [None] * len(COLORS)
        assert page.error == ""

    visit(shelf, scene)


def test_a_run_that_is_being_recorded_grows_on_the_page_and_is_not_deleted(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr"])
        await settled(page)
        with Recorder.reopen(shelf.folder / "one.zarr") as recorder:
            for frame in synthetic_history(STEPS["one"] + 40, RunConfig(lr=0.1)).frames[STEPS["one"] :]:
                recorder.append(frame)
            recorder.commit()
            await settled(page)
            assert last_step(page, 0) == STEPS["one"] + 39
            page._on_runs({"delete": "one.zarr"})
            await settled(page)
            assert "is being written: stop what computes it" in page.error
        assert page.slots[0] == "one.zarr"

    visit(shelf, scene)


@pytest.mark.parametrize("name", ["gone.zarr", "../one.zarr", ""])
def test_an_address_that_names_no_run_is_explained(shelf, name):
    async def scene(page: ComparePage):
        page.pick([name, "one.zarr"])
        await settled(page)
        assert page.error.startswith(f"There is no run called {name!r}")
        assert page.slots[1] == "one.zarr"
        assert last_step(page, 1) == STEPS["one"] - 1  # the others are drawn

    visit(shelf, scene)


def test_an_empty_shelf_says_how_it_fills(tmp_path):
    async def scene(page: ComparePage):
        assert page.status.state["sentence"].startswith("No run is kept yet: press Keep on Explore")

    visit(Shelf(tmp_path / "none"), scene)


def test_the_table_says_what_differs_and_what_came_out(shelf):
    async def scene(page: ComparePage):
        page.pick(["one.zarr", "two.zarr"])
        await settled(page)
        state = page.differences.state
        assert [head["label"] for head in state["heads"]] == ["one", "two"]
        differs, came_out = ({row["label"]: row["cells"] for row in group["rows"]} for group in state["groups"])
        assert differs == {"Learning rate η": ["0.1", "0.2"], "Changes": ["none", "100:lr=0.05"]}
        assert came_out["Last step"] == ["259", "299"]
        assert came_out["Loss, optimizer"] == [f"{page.picked[name].summary['flows']['discrete']['loss']:.4g}" for name in page.slots[:2]]

    visit(shelf, scene)


def test_sentences():
    assert sentence([]) == "Tick runs to lay them over one another."
    one = RunConfig()
    assert sentence(compared(one, one)) == "2 runs of one configuration."
    other = one.replace(lr=0.1, seed=3, width=20, n_train=80, depth=3)
    assert sentence(compared(one, other)).startswith("2 runs, which differ in ")
    assert sentence(compared(one, other)).endswith(" and 2 more.")


def test_of_one_run_the_table_says_what_is_not_the_default():
    assert differing([RunConfig(seed=4)]) == ["seed"]
    assert table(compared(RunConfig(seed=4)))[0] == {
        "title": "What is not the default",
        "rows": [{"label": "Seed", "term": "field.seed", "cells": ["4"]}],
    }


def test_runs_in_words():
    assert in_words(RunConfig(lr=0.3)) == "GD, η = 0.3 · MLP on Digits"
    assert in_words(RunConfig(optimizer="nadam", lr=1e-4, dataset="sorting", architecture="lstm", targets="onehot")).startswith(
        "NAdam, η = 0.0001 · LSTM"
    )


def test_runs_that_have_little_in_common_are_drawn_together(shelf):
    """One without a step, one of the optimizer alone, one thinned out, one with another optimizer and threshold."""
    odd = {
        "empty": (RunConfig(), 0),
        "alone": (RunConfig(flows=["discrete"]), 40),
        "thin": (RunConfig(record_every=7, steps=900), 50),
        "adaptive": (RunConfig(optimizer="nadam", lr=1e-3, schedule="cosine(300, 0.1)"), 260),
    }
    for name, (config, steps) in odd.items():
        shelf.keep(name, Snapshot("", config, synthetic_history(steps, config), {}).to_zarr)

    async def scene(page: ComparePage):
        page.pick([f"{name}.zarr" for name in odd])
        for unit in ("step", "time"):
            page._on_viewbar({"unit": unit})
            for view in page.views:
                for option, values in view.options.items():
                    for value in values:
                        page._on_legend(view, {"choose": option, "value": value})
                        await settled(page)
        assert page.error == ""
        assert [last_step(page, layer) for layer in range(4)] == [-1, 39, 49, 259]
        assert page.status.state["sentence"].startswith("4 runs, which differ in ")
        rows = {row["label"]: row["cells"] for group in page.differences.state["groups"] for row in group["rows"]}
        assert rows["Last step"] == ["0", "39", "49", "259"]
        assert rows["Loss, central flow"][0] == "–"

    visit(shelf, scene)
