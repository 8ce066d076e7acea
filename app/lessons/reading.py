"""From a lesson's Markdown to a `Lesson`. The format is docs/lessons.md's.

`# Title`, `## Step`, `---` before what is revealed, lists of `- [ ]` and `- [x]` for answers to choose among, and blocks ```` ```show ````
with a scene. Everything else is Markdown, with formulas between dollar signs.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from cflows_app.comparison import RESULTS
from cflows_app.lessons.lesson import DRAWINGS, Lesson, LessonError, Scene, Step
from cflows_app.mathml import mathml
from cflows_app.streaming import Table
from cflows_app.views import VIEWS
from cflows_app.views.canvas import Canvas
from cflows_core import presets
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.errors import CflowsError, ConfigError
from cflows_core.palette import LIGHT
from cflows_core.rules import ABLATIONS
from cflows_core.store import Run
from cflows_core.written import from_text

ENDING = ".zarr"
NONE = "none"  # of a legend's entries switched off, after `---`
_PANELS = {view.key: view for view in VIEWS}
_FLOWS = (*FLOW_NAMES, *ABLATIONS)
_BOX = {"[ ] ": False, "[x] ": True, "[X] ": True}
_LISTS = {"panels": (*_PANELS, *DRAWINGS), "curves": _FLOWS, "results": tuple(result.key for result in RESULTS)}
_STEPS = {"from": "start", "until": "until"}
_NAMED = re.compile(r"\w[\w+=. -]*")  # what a stored run may be called: nothing that leads out of its folder
_KEYS = ("run", "beside", "runs", "preset", "panels", "curves", "from", "until", "results")


def read(text: str, name: str, folders: Sequence[Path]) -> Lesson:
    """The lesson of a file's text. folders: where stored runs are looked for. Raises LessonError."""
    return _Reader(name, folders).lesson(_MARKDOWN.parse(text))


@functools.cache
def _legends() -> dict[str, tuple[str, ...]]:
    """Panel -> the entries of its legend."""
    canvas = Canvas(Table(0.0), LIGHT)
    return {key: tuple(view(canvas).entries) for key, view in _PANELS.items()}


def _formula(content: str, options: dict[str, Any]) -> str:
    return mathml(content.strip(), bool(options.get("display_mode")))


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").use(dollarmath_plugin, renderer=_formula, allow_space=False)


@dataclass
class _Part:
    """A step as far as it is read: HTML before and after `---`, and what stands beside it."""

    title: str
    line: int
    words: str = ""
    answer: str = ""
    choices: list[tuple[str, bool]] = field(default_factory=list)
    scene: Scene = field(default_factory=Scene)
    revealed: Scene | None = None


class _Reader:
    def __init__(self, name: str, folders: Sequence[Path]):
        self.name, self.folders = name, folders
        self.line = 1

    def lesson(self, tokens: Sequence[Token]) -> Lesson:
        title, about, parts = "", "", []
        for block in _blocks(tokens):
            first = block[0]
            self.line = first.map[0] + 1 if first.map else self.line
            if first.type == "heading_open" and first.tag == "h1":
                if title or parts:
                    raise self._error("a lesson has one title `# …`, before its steps; a step begins with `## …`")
                title = block[1].content
            elif first.type == "heading_open" and first.tag == "h2":
                parts.append(_Part(block[1].content, self.line))
            elif parts:
                self._add(parts[-1], block)
            elif first.type == "fence" and first.info.strip() == "show":
                raise self._error("a `show` block belongs to a step: write a heading `## …` before it")
            else:
                about += self._html(block)
        if not title:
            self.line = 1
            raise self._error("a lesson begins with its title, `# …`")
        if not parts:
            raise self._error("a lesson has steps, each beginning with a heading `## …`, and this one has none")
        return Lesson(self.name, title, about, tuple(map(self._step, parts)))

    def _add(self, part: _Part, block: list[Token]) -> None:
        first = block[0]
        if first.type == "hr":
            if part.revealed is not None:
                raise self._error("a step has one line `---`, before what is revealed")
            part.revealed = part.scene
        elif first.type == "fence" and first.info.strip() == "show":
            if part.revealed is None:
                part.scene = self._scene(part.scene, first)
            else:
                part.revealed = self._scene(part.revealed, first)
        elif first.type == "bullet_list_open" and (choices := self._choices(block)):
            if part.revealed is not None:
                raise self._error("answers to choose among stand before the line `---`")
            part.choices = choices
        else:
            if _is_source(block):
                first.attrJoin("class", "source")
            if part.revealed is None:
                part.words += self._html(block)
            else:
                part.answer += self._html(block)

    def _choices(self, block: list[Token]) -> list[tuple[str, bool]]:
        """The answers of a list whose items all begin with a box; none for any other list."""
        inlines = [token for token in block if token.type == "inline" and token.level == 3]
        if not inlines or not all(token.content[:4] in _BOX for token in inlines):
            return []
        right = [_BOX[token.content[:4]] for token in inlines]
        if sum(right) != 1:
            raise self._error(f"one answer is right, `- [x]`, and {sum(right)} are so marked")
        return [(self._inline(token.content[4:]), flag) for token, flag in zip(inlines, right, strict=True)]

    def _step(self, part: _Part) -> Step:
        self.line = part.line
        if part.choices and part.revealed is None:
            raise self._error(f"the step “{part.title}” asks a question: write `---` and the answer after it")
        return Step(part.title, part.words, part.scene, tuple(part.choices), part.answer, part.revealed)

    def _html(self, tokens: list[Token]) -> str:
        return self._written(lambda: _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))

    def _inline(self, text: str) -> str:
        return self._written(lambda: _MARKDOWN.renderInline(text))

    def _written(self, write: Callable[[], str]) -> str:
        try:
            return write()
        except ValueError as problem:  # of a formula
            raise self._error(str(problem).removesuffix(".")) from None

    # -- scenes -------------------------------------------------------------------------------------------------------------------
    def _scene(self, scene: Scene, fence: Token) -> Scene:
        """`scene` with what a block says."""
        entries: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        for offset, written in enumerate(fence.content.splitlines(), start=2):
            key, colon, value = (part.strip() for part in written.partition(":"))
            if not written.strip():
                continue
            self.line = (fence.map[0] if fence.map else 0) + offset
            if not colon or not value:
                raise self._error(f"a line of a `show` block is `key: value`, got {written.strip()!r}")
            self._know(key)
            entries[key], self.lines[key] = value, self.line
            scene = self._with(scene, key, value)
        return self._run(scene, entries)

    def _with(self, scene: Scene, key: str, value: str) -> Scene:
        """`scene` with what a line says, but for its run."""
        if key == "beside":
            return replace(scene, beside=self._stored(value))
        if key == "runs":
            return replace(scene, runs=tuple(map(self._stored, _listed(value))))
        if key in _LISTS:
            return replace(scene, **{key: self._each(key, value, _LISTS[key])})
        if key in _STEPS:
            return replace(scene, **{_STEPS[key]: self._number(key, value)})
        panel, _, option = key.partition(".")
        if option == "hide":
            entries = () if value == NONE else self._each(key, value, _legends()[panel])
            return replace(scene, hidden=scene.hidden | {panel: entries})
        if option:
            self._each(key, value, _PANELS[panel].options[option])
            return replace(scene, choices=scene.choices | {key: value})
        return scene

    def _know(self, key: str) -> None:
        panel, dot, option = key.partition(".")
        known = (*_KEYS, *RunConfig.fields())
        if not dot and key not in known:
            raise self._error(f"`show` has no key `{key}`{_close(key, known)}")
        if dot and panel not in _PANELS:
            raise self._error(f"there is no panel `{panel}`{_close(panel, _PANELS)}")
        if dot and option != "hide" and option not in _PANELS[panel].options:
            raise self._error(f"the panel `{panel}` has no choice `{option}`{_close(option, ('hide', *_PANELS[panel].options))}")

    def _run(self, scene: Scene, entries: dict[str, str]) -> Scene:
        """The scene with its run: a stored one, or a preset's configuration with other fields."""
        fields = {key: value for key, value in entries.items() if key in RunConfig.fields()}
        if "run" in entries:
            self.line = self.lines["run"]
            if "preset" in entries or fields:
                raise self._error("a scene shows a stored run, `run`, or computes `preset` with fields: not both")
            path = self._stored(entries["run"])
            return replace(scene, config=Run.open(path).config, stored=path)
        if "preset" not in entries and not fields:
            return scene
        try:
            self.line = self.lines.get("preset", self.line)
            base = presets.get(entries["preset"]).config if "preset" in entries else scene.config or RunConfig()
            values = {}
            for self.line, key in sorted((self.lines[key], key) for key in fields):
                values[key] = RunConfig.check(key, from_text(key, fields[key]))
            return replace(scene, config=base.replace(**values), stored="")
        except ConfigError as problem:
            raise self._error(str(problem).removesuffix(".")) from None

    def _stored(self, run: str) -> str:
        """Where a stored run lies. Raises LessonError where it cannot be read."""
        for folder in self.folders:
            path = folder / f"{run}{ENDING}"
            if _NAMED.fullmatch(run) and path.exists():
                try:
                    Run.open(path)
                except CflowsError as problem:
                    raise self._error(str(problem).removesuffix(".")) from None
                return str(path)
        names = sorted({path.stem for folder in self.folders for path in folder.glob(f"*{ENDING}")})
        places = " or ".join(str(folder) for folder in self.folders)
        raise self._error(f"there is no stored run `{run}` in {places}" + (_close(run, names) if names else ""))

    def _each(self, key: str, value: str, known: Iterable[str]) -> tuple[str, ...]:
        names = _listed(value)
        for name in names:
            if name not in known:
                raise self._error(f"`{key}` cannot have {name!r}{_close(name, known)}")
        return names

    def _number(self, key: str, value: str) -> int | None:
        if value == "end":
            return None
        if not value.isdecimal():
            raise self._error(f"`{key}` is a step's number, or `end`, got {value!r}")
        return int(value)

    def _error(self, rule: str) -> LessonError:
        return LessonError(f"{self.name}, line {self.line}: {rule}" + ("" if rule.endswith("?") else "."))


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The blocks at the top level, each with the tokens inside it."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _is_source(block: Sequence[Token]) -> bool:
    """Whether a block is a paragraph all in emphasis: where its claim comes from."""
    parts = [part.type for part in block[1].children or () if part.type != "text" or part.content] if len(block) == 3 else []
    return block[0].type == "paragraph_open" and len(parts) > 2 and parts[0] == "em_open" and parts.index("em_close") == len(parts) - 1


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _close(name: str, known: Iterable[str]) -> str:
    """What may have been meant."""
    names = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5) or list(known)
    return f": choose {', '.join(f'`{each}`' for each in names)}"
