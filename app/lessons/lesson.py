"""What a lesson is: steps of words and of a scene, and what is shown once a question is answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError

DRAWINGS = ("expectation", "reality", "sweep", "feedback")  # figures that are not panels over the steps


class LessonError(CflowsError):
    """A lesson that cannot be read: one sentence with the file, the line, the rule and the value given."""


@dataclass(frozen=True)
class Scene:
    """What is shown beside the words.

    config: the run that is shown, None: no run. stored: where it lies, "" where it is computed when the reader asks for it.
    beside: a stored run drawn faintly beneath it, or "". runs: those of the drawing `sweep`. panels: keys of panels over the steps and of
    drawings, in their order. curves: flows whose curves are drawn. hidden: panel -> entries of its legend that are switched off.
    choices: "panel.option" -> value. start, until: the first and the last step shown, None: all there are. results: rows of the table of
    what came out.
    """

    config: RunConfig | None = None
    stored: str = ""
    beside: str = ""
    runs: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    hidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    start: int | None = None
    until: int | None = None
    results: tuple[str, ...] = ()

    @property
    def same_run(self) -> tuple[RunConfig | None, str]:
        """Two scenes of which this is equal show one run."""
        return self.config, self.stored


@dataclass(frozen=True)
class Step:
    """A step. words: HTML. choices: answers to choose among, HTML and whether it is right. answer: HTML that is shown when it is revealed.

    revealed: the scene then, None where the step has nothing to reveal.
    """

    title: str
    words: str
    scene: Scene
    choices: tuple[tuple[str, bool], ...] = ()
    answer: str = ""
    revealed: Scene | None = None


@dataclass(frozen=True)
class Lesson:
    """A lesson. name: its file's, without ending. about: HTML, what stands before the first step."""

    name: str
    title: str
    about: str
    steps: tuple[Step, ...]

    @property
    def runs(self) -> set[str]:
        """Where all stored runs lie that its scenes show."""
        scenes = [scene for step in self.steps for scene in (step.scene, step.revealed) if scene is not None]
        return {path for scene in scenes for path in (scene.stored, scene.beside, *scene.runs) if path}
