"""Problems of one's own in a Python file, named on the command line: `cflows app --problem FILE.py`.

The file's `make_objective()` returns an `Objective`, or one and its initial weights. A configuration names such a problem as
`dataset="file:NAME@DIGEST"`: the digest is that of the file's content, so that two files never share a run. Only files that were `use`d
in a process are ever executed there: neither a stored run nor a page can name another.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import random
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from cflows_core.errors import CflowsError, ConfigError, ModelError
from cflows_core.fields import FILE

if TYPE_CHECKING:
    from torch import Tensor

    from cflows_core.problems.objective import Objective

_SHAPE = "define make_objective(), which returns an Objective, or an Objective and its initial weights (docs/your-model.md)"
_known: dict[str, ProblemFile] = {}
_one = threading.Lock()  # random numbers are drawn from generators that a whole process shares


@dataclass(frozen=True)
class ProblemFile:
    """A file as it was read once: workers execute these very bytes.

    parameters: the number of weights, 0 until `checked`.
    """

    name: str
    path: str
    source: bytes
    parameters: int = 0

    @classmethod
    def read(cls, path: str) -> ProblemFile:
        """The file at `path`, not executed yet. Raises ModelError where there is none."""
        file = Path(path).expanduser()
        try:
            source = file.read_bytes()
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise ModelError(f"`--problem` must name a Python file, got {path} ({reason}): check the path.") from None
        return cls(re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem), str(file.absolute()), source)

    @property
    def dataset(self) -> str:
        """How a configuration names it."""
        return f"{FILE}{self.name}@{hashlib.sha256(self.source).hexdigest()[:16]}"

    def checked(self) -> ProblemFile:
        """The same with its number of weights; executes the file. Raises ModelError, one sentence on what is wrong with it."""
        objective, _ = self.make(0)
        return replace(self, parameters=objective.n_params)

    def make(self, seed: int) -> tuple[Objective, Tensor]:
        """Objective and initial weights [p]: the file is executed anew, with the random numbers of `seed`. Raises ModelError."""
        with _one, _seeded(seed):
            module = self._execute()
            make = getattr(module, "make_objective", None)
            if not callable(make):
                raise ModelError(f"The problem file {self.path} must {_SHAPE}, got no such function: add it.")
            try:
                made = make()
            except CflowsError as problem:
                raise ModelError(f"make_objective() in {self.path}: {problem}") from None
            except (Exception, SystemExit) as problem:
                raise ModelError(f"make_objective() in {self.path} must return an Objective, but {self._failure(problem)}.") from None
        return self._accepted(made)

    def _execute(self) -> ModuleType:
        name = f"cflows_problem_{self.dataset[-16:]}"
        spec = importlib.util.spec_from_loader(name, _Bytes(self.source, self.path), origin=self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        module.__file__ = self.path
        folder = str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.append(folder)  # what lies beside the file can be imported, as when Python runs it
        sys.modules[name] = module  # data classes look their module up
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as problem:
            raise ModelError(f"The problem file {self.path} must run from top to bottom, but {self._failure(problem)}.") from None
        return module

    def _accepted(self, made: Any) -> tuple[Objective, Tensor]:
        import torch

        from cflows_core.problems.objective import Objective

        objective, weights = made if isinstance(made, tuple) and len(made) == 2 else (made, getattr(made, "weights", None))
        if not isinstance(objective, Objective):
            raise ModelError(f"The problem file {self.path} must {_SHAPE}, got {type(made).__name__}: return one of these.")
        if not isinstance(weights, torch.Tensor) or weights.shape != (objective.n_params,):
            got = f"a tensor of shape {list(weights.shape)}" if isinstance(weights, torch.Tensor) else type(weights).__name__
            raise ModelError(
                f"Initial weights must be a flat tensor of {objective.n_params:,} numbers, got {got} from make_objective() in {self.path}: "
                "return (objective, weights)."
            )
        return objective, weights.detach().to(objective.device, objective.dtype)

    def _failure(self, problem: BaseException) -> str:
        """What was raised, and at which line of the file, in the middle of a sentence."""
        lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == self.path]
        line = getattr(problem, "lineno", None) if isinstance(problem, SyntaxError) else lines[-1] if lines else None
        message = " ".join(str(problem).split())[:200]
        return f"line {line or '?'} raised {type(problem).__name__}{f' ({message})' if message else ''}: mend it, and start again"


class _Bytes(importlib.abc.InspectLoader):
    """Python's own way to run a module, from bytes that were read before."""

    def __init__(self, source: bytes, path: str):
        self._source, self._path = source, path

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._source, self._path)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The generators that a user's file draws from, seeded, and left as they were."""
    import torch

    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the one that a file which knows nothing of us draws from
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)  # noqa: NPY002


def use(files: Iterable[ProblemFile]) -> None:
    """Let configurations name these files in this process."""
    _known.update({file.dataset: file for file in files})


def used() -> tuple[ProblemFile, ...]:
    """The files that configurations may name here."""
    return tuple(_known.values())


def find(dataset: str) -> ProblemFile:
    """The file that a configuration names. Raises ConfigError, and executes nothing, where it was not given to this process."""
    if dataset in _known:
        return _known[dataset]
    name, digest = dataset.removeprefix(FILE).split("@")
    changed = any(file.name == name for file in _known.values())
    raise ConfigError(
        f"`dataset` must be a problem that cflows was started with, got {name}.py with the content {digest}"
        + (", and the file given now has another: start with that content" if changed else f": start with --problem {name}.py")
        + ", or take another data set."
    )
