"""Lessons without a browser: steps, what they hold back, how it is revealed, and what is computed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document

import cflows_app.pages.lessons as lessons_module
from cflows_app.export import Snapshot
from cflows_app.lessons.drawings import RealityView, SweepView
from cflows_app.lessons.library import Library
from cflows_app.pages.lessons import LessonsPage
from cflows_app.session import Session
from cflows_app.shell import page_template
from cflows_core.config import RunConfig
from tests.app.conftest import FakeEngine, synthetic_history

LESSON = """# Mine

About it.

## Asked

What next?

- [ ] this
- [x] that

```show
run: one
panels: eigenvalues, loss
curves: discrete
loss.hide: raw
eigenvalues.scale: log
from: 40
until: 100
```
---
That.

```show
until: 250
curves: discrete, central
results: loss, loss-central
```

## The same run

```show
run: one
panels: covariance
until: 50
```

## Computed

```show
n_train: 60
lr: 0.2
warm_start: 0
steps: 300
panels: loss
until: 30
```
---
```show
until: end
```

## Drawn

```show
panels: reality
```
---
It slides.

## Many

```show
panels: sweep
runs: one, two
```

## Two

```show
run: one
beside: two
panels: loss
results: last-step
```

## Words alone
"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name, steps, lr in (("one", 300, 0.1), ("two", 200, 0.4)):
        config = RunConfig(steps=steps, lr=lr)
        Snapshot(name, config, synthetic_history(steps, config), {}).to_zarr(tmp_path / "runs" / f"{name}.zarr")
    (tmp_path / "mine.md").write_text(LESSON)
    return Library(tmp_path)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Seconds that go by only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(lessons_module.time, "monotonic", lambda: now[0])
    return now


def visit(library: Library, engine: FakeEngine, scene: Callable[[LessonsPage], Coroutine], lesson: str = "mine", step: int = 1) -> None:
    async def whole() -> None:
        async def ready() -> FakeEngine:
            return engine

        page = LessonsPage(Session(ready), library)
        page.open(lesson, step)
        await settled(page)
        await scene(page)
        await page.leave()
        assert engine.runners == []

    asyncio.run(whole())


async def settled(page: LessonsPage) -> None:
    """Let everything under way finish, and draw."""
    for _ in range(2):
        while page._tasks or page.session._tasks:
            await asyncio.gather(*page._tasks, *page.session._tasks)
        page.tick()


def drawn(page: LessonsPage, layer: int = 0) -> int:
    """The newest step that is drawn, -1 if there is none."""
    steps = np.asarray(page.canvas.tables[layer].source.data["step"])
    return int(steps[-1]) if len(steps) else -1


async def asked_again(page: LessonsPage) -> None:
    """The first step holds its answer back."""
    await settled(page)
    assert (drawn(page), page.story.state["answer"]) == (100, "")


def pictures(page: LessonsPage) -> list[str]:
    return page.story.state["panels"]


def test_the_document_is_valid(library, fake_engine, caplog):
    async def scene(page: LessonsPage):
        document = Document()
        page_template(page, "dark").server_doc(document)
        for step in range(7):
            page.go(step)
            await settled(page)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            document.validate()
        assert [record.getMessage() for record in caplog.records] == []
        assert {"story", "contents", "lectern", "results", "status", "reality_plot", "sweep_plot"} <= {root.name for root in document.roots}

    visit(library, fake_engine, scene)


def test_a_step_holds_back_what_it_asks(library, fake_engine, clock):
    async def scene(page: LessonsPage):
        story = page.story.state
        assert (story["lesson"], story["title"], story["answer"]) == ("Mine", "Asked", "")
        assert story["about"] == "<p>About it.</p>\n"
        assert [right for _, right in story["choices"]] == [None, None]  # what is right is not even sent
        assert pictures(page) == ["eigenvalues", "loss"]
        assert drawn(page) == 100
        assert page.lectern.state["reveals"]
        assert page.table.state["groups"] == []
        loss, eigenvalues = (next(view for view in page.views if view.key == key) for key in ("loss", "eigenvalues"))
        assert loss.flows == ("discrete",)
        assert "raw" in loss.hidden
        assert eigenvalues.choices["scale"] == "log"
        assert page.canvas.steps.start < 40 < 250 < page.canvas.steps.end < 265  # room for what will be revealed

    visit(library, fake_engine, scene)


def test_what_is_revealed_grows(library, fake_engine, clock):
    async def scene(page: LessonsPage):
        page._on_story({"pick": 0})
        page.tick()
        seen = [drawn(page)]
        for _ in range(200):
            clock[0] += 0.05
            page.tick()
            seen.append(drawn(page))
        assert seen == sorted(seen)
        assert 100 <= seen[0] < 110
        assert seen[-1] == 250
        assert len(set(seen)) > 30
        assert seen.index(250) == pytest.approx(lessons_module.REVEAL_SECONDS / 0.05, abs=4)
        story = page.story.state
        assert (story["picked"], [right for _, right in story["choices"]]) == (0, [False, True])
        assert story["answer"] == "<p>That.</p>\n"
        assert pictures(page) == ["eigenvalues", "loss", "results"]
        assert not page.lectern.state["reveals"]
        rows = page.table.state["groups"][0]["rows"]
        assert [row["label"] for row in rows] == ["Loss, optimizer", "Loss, central flow"]
        assert rows[0]["cells"] == [f"{page.session.history.series('discrete', 'loss')[250]:.4g}"]

    visit(library, fake_engine, scene)


def test_a_step_stays_revealed_while_the_lesson_is_open(library, fake_engine):
    async def scene(page: LessonsPage):
        page.reveal()
        page.go(1)
        await settled(page)
        assert drawn(page) == 50
        page.go(0)
        await settled(page)
        assert drawn(page) == 250  # at once
        assert page.story.state["answer"]
        page.open("mine")
        await asked_again(page)

    visit(library, fake_engine, scene)


def test_a_handout_sees_steps_whole_and_leaves_them_closed(library, fake_engine):
    async def scene(page: LessonsPage):
        page._on_lectern({"go": 0, "whole": True})
        await settled(page)
        assert page.lectern.state["drawn"]
        assert drawn(page) == 250
        assert page.story.state["answer"]
        page._on_lectern({"go": 0})
        await asked_again(page)

    visit(library, fake_engine, scene)


def test_a_configuration_is_computed_as_far_as_the_step_shows_it(library, fake_engine):
    async def scene(page: LessonsPage):
        (runner,) = fake_engine.runners
        assert runner.config == RunConfig(n_train=60, lr=0.2, warm_start=0, steps=300)
        assert runner.running
        assert page.lectern.state["run"] == "running"
        runner.play(40)
        await settled(page)
        assert not runner.running
        assert drawn(page) == 30
        assert page.lectern.state["drawn"]
        page.reveal()
        await settled(page)
        assert runner.running
        assert drawn(page) == 39
        runner.play(30)
        page.tick()
        assert drawn(page) == 69

    visit(library, fake_engine, scene, step=3)


def test_a_run_that_nobody_sees_any_more_stands_still(library, fake_engine):
    async def scene(page: LessonsPage):
        (runner,) = fake_engine.runners
        assert runner.running
        page.go(6)
        await settled(page)
        assert not runner.running
        assert page.lectern.state["drawn"]

    visit(library, fake_engine, scene, step=3)


def test_a_stored_run_is_computed_when_the_reader_asks(library, fake_engine):
    async def scene(page: LessonsPage):
        assert page.lectern.state["run"] == "stored"
        page._on_lectern({"compute": True})
        await settled(page)
        (runner,) = fake_engine.runners
        assert runner.config == RunConfig(steps=300, lr=0.1)
        assert runner.running
        assert drawn(page) == -1
        runner.play(150)
        await settled(page)
        assert drawn(page) == 100
        assert not runner.running
        page.go(1)
        await settled(page)
        assert page.lectern.state["run"] == "stored"
        assert runner.closed

    visit(library, fake_engine, scene)


def test_drawings_grow_when_they_are_revealed(library, fake_engine, clock):
    async def scene(page: LessonsPage):
        reality = next(drawing for drawing in page.drawings if isinstance(drawing, RealityView))
        lengths = [len(reality.paths["iterates"].data["x"])]
        page.reveal()
        for _ in range(100):
            clock[0] += 0.05
            page.tick()
            lengths.append(len(reality.paths["iterates"].data["x"]))
        assert lengths[0] == 1
        assert lengths == sorted(lengths)
        assert len(set(lengths)) > 30

    visit(library, fake_engine, scene, step=4)


def test_the_table_of_step_sizes(library, fake_engine):
    async def scene(page: LessonsPage):
        sweep = next(drawing for drawing in page.drawings if isinstance(drawing, SweepView))
        assert pictures(page) == ["sweep", "results"]
        np.testing.assert_allclose(sweep.points.data["x"], [20, 5])
        sharpness = [synthetic_history(n, RunConfig(lr=lr)).series("discrete", "hessian_eigs")[:, 0] for n, lr in ((300, 0.1), (200, 0.4))]
        np.testing.assert_allclose(sweep.points.data["y"], [values[-1] for values in sharpness])
        table = page.table.state
        assert [head["label"] for head in table["heads"]] == ["η = 0.1", "η = 0.4"]
        cells = {row["label"]: row["cells"] for row in table["groups"][0]["rows"]}
        assert cells["2/η"] == ["20", "5"]
        assert cells["Ratio"] == [f"{values[-10:].mean() / edge:.3f}" for values, edge in zip(sharpness, (20, 5), strict=True)]

    visit(library, fake_engine, scene, step=5)


def test_a_second_run_lies_beneath_the_first(library, fake_engine):
    async def scene(page: LessonsPage):
        assert (drawn(page), drawn(page, 1)) == (299, 199)
        (row,) = page.table.state["groups"][0]["rows"]
        assert row["cells"] == ["299", "199"]
        loss = next(view for view in page.views if view.key == "loss")
        seen = page.beside.history.series("discrete", "loss")
        assert loss.figure.y_range.start <= seen.min() < seen.max() <= loss.figure.y_range.end
        page.go(0)
        await settled(page)
        assert drawn(page, 1) == -1

    visit(library, fake_engine, scene, step=6)


def test_words_alone(library, fake_engine):
    async def scene(page: LessonsPage):
        assert pictures(page) == []
        assert page.lectern.state["run"] == ""

    visit(library, fake_engine, scene, step=7)


@pytest.mark.parametrize(("step", "at"), [(0, 0), (1, 0), (3, 2), (99_999, 6)])
def test_a_step_that_there_is_not(library, fake_engine, step, at):
    async def scene(page: LessonsPage):
        assert page.at == at

    visit(library, fake_engine, scene, step=step)


def test_a_lesson_that_cannot_be_read_is_told_and_the_open_one_stays(library, fake_engine):
    async def scene(page: LessonsPage):
        (library.folders[0] / "bad.md").write_text("# Bad\n\n## One\n\n```show\npanels: los\n```\n")
        page._on_story({"lesson": "bad"})
        await settled(page)
        assert page.status.state["problem"] == "bad, line 6: `panels` cannot have 'los': choose `loss`."
        assert page.story.state["lesson"] == "Mine"
        page._on_status({"dismiss": True})
        await settled(page)
        assert page.status.state["problem"] == ""

    visit(library, fake_engine, scene)


def test_an_address_with_a_lesson_that_there_is_not(library, fake_engine):
    async def scene(page: LessonsPage):
        assert page.status.state["problem"].startswith("There is no lesson `nothing`: choose one of ")
        assert page.contents.state["lessons"]  # from which to choose

    visit(library, fake_engine, scene, lesson="nothing")


@pytest.mark.parametrize("message", [{"pick": 7}, {"pick": -1}, {"go": 1e9}, {"go": -5}, {"reveal": True}, {"compute": True}])
def test_messages_of_all_kinds(library, fake_engine, message):
    async def scene(page: LessonsPage):
        page._on_story(dict(message))
        page._on_lectern(dict(message))
        await settled(page)
        assert page.status.state["problem"] == ""

    visit(library, fake_engine, scene, step=7)
