"""A lesson's Markdown becomes steps and scenes, and every mistake a sentence with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cflows_app.export import Snapshot
from cflows_app.lessons.lesson import LessonError, Scene
from cflows_app.lessons.library import Library
from cflows_app.lessons.reading import read
from cflows_app.mathml import mathml
from cflows_core import presets
from cflows_core.config import RunConfig

HEAD = "# A lesson\n\n## A step\n\n"


def shown(*lines: str) -> str:
    return "```show\n" + "\n".join(lines) + "\n```\n"


@pytest.fixture
def folder(tmp_path: Path, make_history) -> Path:
    """A folder with two stored runs, `first` and `other`."""
    runs = tmp_path / "runs"
    for name, steps in (("first", 30), ("other", 20)):
        Snapshot(name, RunConfig(steps=steps), make_history(steps), {}).to_zarr(runs / f"{name}.zarr")
    return tmp_path


def scenes(text: str, folder: Path | None = None) -> tuple[Scene, Scene | None]:
    lesson = read(HEAD + text, "mine", [folder / "runs"] if folder else [])
    return lesson.steps[0].scene, lesson.steps[0].revealed


def test_the_example_of_the_docs_is_a_lesson(repository: Path):
    example = (repository / "docs" / "lessons.md").read_text().split("````\n")[1]
    lesson = read(example, "mine", [])
    assert (lesson.title, [step.title for step in lesson.steps]) == ("My lesson", ["The edge"])
    step = lesson.steps[0]
    assert "<math" in step.words
    assert "on what it is about" in lesson.about
    assert [right for _, right in step.choices] == [False, True, False]
    assert "goes on falling" in step.answer
    assert step.scene.panels == ("eigenvalues", "loss")
    assert step.scene.until == 95
    assert step.revealed is not None
    assert step.revealed.until is None
    assert step.scene.config == presets.get("digits-mlp").config.replace(warm_start=60, steps=240)
    assert step.revealed.same_run == step.scene.same_run


def test_all_keys_of_the_docs_are_known(repository: Path):
    """Those that stand at the beginning of a row of the table."""
    table = (repository / "docs" / "lessons.md").read_text().split("## What a step shows")[1]
    keys = [key for row in re.findall(r"^\| (`[^|]*)\|", table, re.M) for key in re.findall(r"`(\w+)`", row)]
    assert {"preset", "run", "panels", "until"} <= {*keys}
    for key in keys:
        with pytest.raises(LessonError) as problem:
            scenes(shown(f"{key}: §"))
        assert "has no key" not in str(problem.value)


def test_a_scene_after_the_line_continues_the_one_before(folder: Path):
    before, after = scenes(
        shown(
            "run: first",
            "beside: other",
            "panels: loss, valley",
            "curves: discrete",
            "loss.hide: raw",
            "loss.scale: log",
            "from: 2",
            "until: 9",
        )
        + "\n---\n\n"
        + shown("curves: discrete, central", "until: end", "results: sigma, edge", "eigenvalues.unit: raw"),
        folder,
    )
    assert after is not None
    assert before.config == RunConfig(steps=30)
    assert (before.stored, before.beside) == (str(folder / "runs" / "first.zarr"), str(folder / "runs" / "other.zarr"))
    assert (before.curves, before.until, before.start, before.results) == (("discrete",), 9, 2, ())
    assert (after.curves, after.until, after.start, after.results) == (("discrete", "central"), None, 2, ("sigma", "edge"))
    assert after.hidden == {"loss": ("raw",)}
    assert after.choices == {"loss.scale": "log", "eigenvalues.unit": "raw"}
    assert after.same_run == before.same_run


def test_a_configuration_is_a_preset_and_fields():
    scene, _ = scenes(shown("preset: digits-mlp", "lr: 0.1", "flows: discrete,central", "panels: loss"))
    assert scene.config == presets.get("digits-mlp").config.replace(lr=0.1, flows=["discrete", "central"])
    assert scene.stored == ""


def test_a_step_without_a_scene_is_words_alone():
    assert scenes("Words.\n") == (Scene(), None)


def test_html_is_text():
    lesson = read(HEAD + "<script>alert(1)</script>\n\nand <img src=x onerror=alert(1)>\n", "mine", [])
    assert "<script" not in lesson.steps[0].words
    assert "<img" not in lesson.steps[0].words
    lesson = read(HEAD + "[there](javascript:alert(1))\n", "mine", [])
    assert "href" not in lesson.steps[0].words


def test_a_paragraph_in_emphasis_is_a_source():
    words = read(HEAD + "A *word* of it.\n\n*[CF] eq. 13*\n", "mine", []).steps[0].words
    assert words.count('class="source"') == 1
    assert '<p class="source"><em>[CF] eq. 13</em></p>' in words


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("words", "mine, line 1: a lesson begins with its title, `# …`."),
        ("# One\n", "mine, line 1: a lesson has steps, each beginning with a heading `## …`, and this one has none."),
        ("# One\n\n# Two\n", "mine, line 3: a lesson has one title `# …`, before its steps; a step begins with `## …`."),
        ("# One\n\n```show\nrun: a\n```\n", "mine, line 3: a `show` block belongs to a step: write a heading `## …` before it."),
        (HEAD + "---\n\n---\n", "mine, line 7: a step has one line `---`, before what is revealed."),
        (HEAD + "- [ ] a\n- [ ] b\n\n---\n\nc\n", "mine, line 5: one answer is right, `- [x]`, and 0 are so marked."),
        (HEAD + "- [x] a\n- [x] b\n\n---\n\nc\n", "mine, line 5: one answer is right, `- [x]`, and 2 are so marked."),
        (HEAD + "- [x] a\n- [ ] b\n", "mine, line 3: the step “A step” asks a question: write `---` and the answer after it."),
        (HEAD + "---\n\n- [x] a\n- [ ] b\n", "mine, line 7: answers to choose among stand before the line `---`."),
        (HEAD + shown("panels loss"), "mine, line 6: a line of a `show` block is `key: value`, got 'panels loss'."),
        (HEAD + shown("panels:"), "mine, line 6: a line of a `show` block is `key: value`, got 'panels:'."),
        (HEAD + shown("", "panel: loss"), "mine, line 7: `show` has no key `panel`: choose `panels`, `changes`."),
        (HEAD + shown("panels: los"), "mine, line 6: `panels` cannot have 'los': choose `loss`."),
        (HEAD + shown("curves: rods"), "mine, line 6: `curves` cannot have 'rods': choose `rod`."),
        (HEAD + shown("los.hide: raw"), "mine, line 6: there is no panel `los`: choose `loss`."),
        (HEAD + shown("loss.scales: log"), "mine, line 6: the panel `loss` has no choice `scales`: choose `scale`."),
        (HEAD + shown("loss.scale: lin"), "mine, line 6: `loss.scale` cannot have 'lin': choose `linear`."),
        (HEAD + shown("loss.hide: raws"), "mine, line 6: `loss.hide` cannot have 'raws': choose `raw`."),
        (HEAD + shown("until: soon"), "mine, line 6: `until` is a step's number, or `end`, got 'soon'."),
        (HEAD + shown("run: none"), "mine, line 6: there is no stored run `none` in nowhere."),
        (HEAD + shown("run: a", "lr: 0.1"), "mine, line 6: a scene shows a stored run, `run`, or computes `preset` with fields: not both."),
        (HEAD + "$$ \\bad{x} $$\n", "mine, line 5: \\bad is not known, in '\\\\bad{x}'."),
        (HEAD + "- [x] $\\bad$\n- [ ] b\n\n---\n\nc\n", "mine, line 5: \\bad is not known, in '\\\\bad'."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, told: str):
    with pytest.raises(LessonError) as problem:
        read(text, "mine", [Path("nowhere")])
    assert str(problem.value) == told


@pytest.mark.parametrize("field", ["lr: -1", "preset: nothing", "preset: digits", "optimizer: sgd", "flows: rods"])
def test_a_configuration_that_there_is_not_is_told_with_its_own_line(field: str):
    with pytest.raises(LessonError, match=r"^mine, line 6: .*[^?.][?.]$"):
        read(HEAD + shown(field, "panels: loss", "steps: 10"), "mine", [])


def test_the_runs_that_there_are_are_named(folder: Path):
    with pytest.raises(LessonError, match=r"line 6: there is no stored run `furst` in .*: choose `first`\.$"):
        scenes(shown("run: furst", "panels: loss"), folder)


def test_a_stored_run_lies_in_the_lessons_folder_and_nowhere_else(folder: Path):
    for name in ("../runs/first", str(folder / "runs" / "first"), "."):
        with pytest.raises(LessonError, match="there is no stored run"):
            scenes(shown(f"run: {name}"), folder)


def test_a_damaged_run_is_told(folder: Path):
    (folder / "runs" / "first.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(LessonError, match="line 6: "):
        scenes(shown("run: first"), folder)


class TestLibrary:
    def test_own_lessons_are_listed_after_the_projects_and_take_their_place(self, folder: Path):
        (folder / "zeta.md").write_text("# Mine\n\n## One\n")
        (folder / "rods.md").write_text("# My rods\n\n## One\n")
        library = Library(folder)
        assert library.names()[-1] == "zeta"
        assert library.titles()["rods"] == "My rods"
        assert set(Library().names()) <= set(library.names())

    def test_a_file_that_changed_is_read_again(self, folder: Path):
        file = folder / "zeta.md"
        file.write_text("# Mine\n\n## One\n")
        library = Library(folder)
        first = library.lesson("zeta")
        assert library.lesson("zeta") is first
        file.write_text("# Mine\n\n## One\n\n## Two\n")
        assert len(library.lesson("zeta").steps) == 2

    def test_a_run_that_comes_later_is_found(self, folder: Path, make_history):
        (folder / "zeta.md").write_text(HEAD + shown("run: later"))
        library = Library(folder)
        with pytest.raises(LessonError):
            library.open("zeta")
        Snapshot("later", RunConfig(steps=10), make_history(10), {}).to_zarr(folder / "runs" / "later.zarr")
        assert len(library.open("zeta").runs) == 1

    def test_what_cannot_be_read_is_listed_and_told(self, folder: Path):
        (folder / "bad.md").write_bytes(b"# \xff\n")
        (folder / "worse.md").write_text("no title")
        library = Library(folder)
        assert library.titles()["bad"] == "bad"
        with pytest.raises(LessonError, match=r"^bad cannot be read \(.*\): save it as text in UTF-8\.$"):
            library.lesson("bad")
        with pytest.raises(LessonError, match="begins with its title"):
            library.lesson("worse")

    @pytest.mark.parametrize("name", ["nothing", "../rods", "", "rods.md"])
    def test_a_lesson_that_there_is_not(self, folder: Path, name: str):
        with pytest.raises(LessonError, match=r"^There is no lesson `.*`: choose one of .*gradient-descent"):
            Library(folder).lesson(name)


@pytest.mark.parametrize(
    "formula",
    [
        r"\text{</mtext><script>alert(1)</script>}",
        r"\text{<img src=x onerror=alert(1)>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(//elsewhere.test)}{x}",
        r"\text{<!--}",
    ],
)
def test_a_formula_is_mathematics_and_nothing_else(formula):
    with pytest.raises(ValueError, match="no mathematics"):
        mathml(formula)
