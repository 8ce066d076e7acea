"""Where lessons lie: the project's own, and a folder of a lecturer's, whose files are read again whenever they change."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from cflows_app.lessons.lesson import Lesson, LessonError
from cflows_app.lessons.reading import read
from cflows_app.stored import Stored
from cflows_core.store import Run
from cflows_core.store.files import ROOT

BUNDLED = Path(__file__).parent.parent / "assets" / "lessons"
RUNS = "runs"  # the folder of a lesson's stored runs, beside its file
LONGEST = 1_000_000  # bytes of a lesson's file
# The order in which the project's own are listed; others come after them, by name.
ORDER = ("gradient-descent", "adaptive-optimizers", "rods", "where-it-breaks")


@dataclass(frozen=True)
class Opened:
    """A lesson that was read. runs: where a stored run lies -> the run."""

    lesson: Lesson
    runs: dict[str, Stored]


class Library:
    """All lessons, for all visitors. own: a folder of one's own, whose lessons take the place of the project's of the same name.

    Its methods read files: call them in a thread.
    """

    def __init__(self, own: Path | None = None):
        self.folders = [BUNDLED] if own is None else [own, BUNDLED]
        self._known: dict[Path, tuple[int, Lesson]] = {}
        self._runs: dict[str, tuple[int, Stored]] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The lessons' names, in the order in which they are listed."""
        found = {file.stem for folder in self.folders for file in folder.glob("*.md")}
        return [name for name in ORDER if name in found] + sorted(found - {*ORDER})

    def titles(self) -> dict[str, str]:
        """Name -> title; of a file that cannot be read, its name."""
        titles = {}
        for name in self.names():
            try:
                titles[name] = self.lesson(name).title
            except LessonError:
                titles[name] = name
        return titles

    def lesson(self, name: str) -> Lesson:
        """The lesson of that name. Raises LessonError."""
        if name not in (names := self.names()):
            raise LessonError(f"There is no lesson `{name[:80]}`: choose one of {', '.join(names)}.")
        path = next(path for folder in self.folders if (path := folder / f"{name}.md").exists())
        changed = path.stat().st_mtime_ns
        if self._known.get(path, (0, None))[0] != changed:
            self._known[path] = changed, self._read(path)  # a mistake is not remembered: a run that it asks for may come
        return self._known[path][1]

    def open(self, name: str) -> Opened:
        """The lesson of that name with all its runs. Raises LessonError."""
        with self._lock:
            lesson = self.lesson(name)
            return Opened(lesson, {path: self._run(path) for path in lesson.runs})

    def _run(self, path: str) -> Stored:
        changed = (Path(path) / ROOT).stat().st_mtime_ns
        if path not in self._runs or self._runs[path][0] != changed:
            self._runs[path] = changed, Stored.of(Run.open(path))
        return self._runs[path][1]

    def _read(self, path: Path) -> Lesson:
        try:
            if path.stat().st_size > LONGEST:
                raise LessonError(f"{path.stem}: a lesson has at most {LONGEST:,} bytes, got {path.stat().st_size:,}: leave something out.")
            return read(path.read_text(encoding="utf-8"), path.stem, [folder / RUNS for folder in self.folders])
        except (OSError, UnicodeDecodeError) as problem:
            raise LessonError(f"{path.stem} cannot be read ({problem}): save it as text in UTF-8.") from None
