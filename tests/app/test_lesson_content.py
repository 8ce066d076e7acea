"""The lessons that the project brings: each can be read, asks fair questions, and names runs, panels and steps that are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from cflows_app.lessons.lesson import DRAWINGS, Scene, Step
from cflows_app.lessons.library import BUNDLED, RUNS, Library
from cflows_app.streaming import Table
from cflows_app.views import VIEWS
from cflows_app.views.canvas import Canvas
from cflows_core import presets
from cflows_core.cli.arguments import config_of, parse
from cflows_core.config import RunConfig
from cflows_core.palette import LIGHT
from cflows_core.store import Run

LIBRARY = Library()
NAMES = sorted(path.stem for path in BUNDLED.glob("*.md"))
STORED = sorted((BUNDLED / RUNS).glob("*.zarr"))
LARGEST = 20_000_000  # bytes of all stored runs
FREE = ("steps", "flows", "n_eigs", "observe")  # in which a scene may differ from the preset that it shows
ROW = re.compile(r"\| `?([\w.-]+)`? \| `(?:python -m )?(cflows(?:_core)? run [^`]+)` \|")


def scenes(name: str) -> Iterator[tuple[Step, Scene]]:
    for step in LIBRARY.lesson(name).steps:
        yield step, step.scene
        if step.revealed is not None:
            yield step, step.revealed


def words(html: str) -> int:
    return len(re.sub(r"<math.*?</math>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def commands() -> dict[str, RunConfig]:
    """Run -> the configuration of the command that README.md has for it."""
    found = {}
    for name, command in ROW.findall((BUNDLED / RUNS / "README.md").read_text(encoding="utf-8")):
        arguments = parse(shlex.split(command)[1:])
        assert arguments.out == f"{name}.zarr"
        found[name] = config_of(arguments)
    return found


@pytest.fixture(scope="module")
def views():
    """Panel -> the view itself, which knows its legend and its choices."""
    return {view.key: view(Canvas(Table(0.0), LIGHT)) for view in VIEWS}


def test_there_are_lessons() -> None:
    assert {"gradient-descent", "where-it-breaks"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_can_be_read_from_the_back_of_a_hall(name: str) -> None:
    lesson = LIBRARY.lesson(name)
    assert lesson.title
    assert words(lesson.about)
    titles = [step.title for step in lesson.steps]
    assert len(set(titles)) == len(titles)
    for step in lesson.steps:
        assert 5 <= words(step.words) <= 90, step.title
        assert words(step.answer) <= 90, step.title
        for scene in (step.scene, step.revealed):
            assert scene is None or len(scene.panels) <= 2, step.title


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_fair(name: str) -> None:
    steps = LIBRARY.lesson(name).steps
    asked = [step for step in steps if step.choices]
    assert len(asked) >= len(steps) / 2
    right = []
    for step in asked:
        assert len(step.choices) >= 3, step.title
        assert len({text for text, _ in step.choices}) == len(step.choices), step.title
        assert words(step.answer) >= 5, step.title
        right.append([flag for _, flag in step.choices].index(True))
    assert len(set(right)) > 1, "the right answer stands at the same place in every question"


@pytest.mark.parametrize("name", NAMES)
def test_scenes_show_what_is_there(name: str, views) -> None:
    for step, scene in scenes(name):
        at = f"{name}, {step.title}"
        drawn = [panel for panel in scene.panels if panel not in DRAWINGS]
        assert bool(drawn) <= (scene.config is not None), at
        assert ("feedback" in scene.panels) <= (scene.config is not None), at
        for panel, entries in scene.hidden.items():
            assert set(entries) <= set(views[panel].entries), at
        for choice, value in scene.choices.items():
            panel, _, option = choice.partition(".")
            assert value in views[panel].options[option], at
        if scene.config is None:
            assert not scene.results, at
            continue
        assert set(scene.curves) <= set(scene.config.flows), at
        if "valley" in scene.panels:
            assert "valley" in scene.config.observe, at
        if "covariance" in scene.panels:
            assert "central" in scene.config.flows, at
        for row in scene.results:
            flow = row.rpartition("-")[2]
            assert flow not in ("stable", "central", "rod") or flow in scene.config.flows, at
        assert ("sigma" in scene.results) <= ("central" in scene.config.flows), at


@pytest.mark.parametrize("name", NAMES)
def test_scenes_end_within_their_runs(name: str) -> None:
    for step, scene in scenes(name):
        at = f"{name}, {step.title}"
        if "sweep" in scene.panels:
            assert len(scene.runs) >= 3, at
        if scene.config is None:
            continue
        first, last = 0, scene.config.warm_start + scene.config.steps
        if scene.stored:
            run = Run.open(scene.stored)
            first, last = int(run.steps[0]), int(run.steps[-1])
        start, until = scene.start or first, last if scene.until is None else scene.until
        assert first <= start < until <= last, at


@pytest.mark.parametrize("name", NAMES)
def test_a_reveal_shows_or_tells_something(name: str) -> None:
    for step in LIBRARY.lesson(name).steps:
        if step.revealed is not None:
            assert step.answer or step.revealed != step.scene, step.title


def test_every_stored_run_is_shown() -> None:
    used = set()
    for name in NAMES:
        for _, scene in scenes(name):
            used |= {scene.stored, scene.beside, *scene.runs}
    assert {str(path) for path in STORED} <= used


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_runs_can_be_made_again(path) -> None:
    """README.md has the command of each run, and that command's configuration is the run's."""
    run = Run.open(path)
    assert not run.damaged
    assert commands()[path.stem] == run.config
    assert not (path / "checkpoint.pt").exists()
    assert not (path / "writer.lock").exists()


def test_readme_lists_the_runs_that_are_there_by_name() -> None:
    assert list(commands()) == sorted(path.stem for path in STORED)
    assert sum(file.stat().st_size for path in STORED for file in path.rglob("*") if file.is_file()) < LARGEST


def test_where_it_breaks_shows_presets() -> None:
    """What is shown there can be opened on *Explore* by name."""

    def bound(config: RunConfig) -> RunConfig:
        return config.replace(**{field: getattr(RunConfig(), field) for field in FREE})

    known = {bound(preset.config) for preset in presets.PRESETS.values()}
    shown = [(step, scene) for step, scene in scenes("where-it-breaks") if scene.config is not None]
    assert shown
    for step, scene in shown:
        assert bound(scene.config) in known, step.title
