"""What one visitor sees: the configuration in the controls, and the run that is drawn. Read by the page; `Session` changes it."""

from __future__ import annotations

from typing import Any

import param

from cflows_app.editing import changed, present
from cflows_app.stored import Stored
from cflows_core.config import FLOW_NAMES, RunConfig
from cflows_core.engine import Runner
from cflows_core.facts import Facts
from cflows_core.history import History


class Scene(param.Parameterized):
    """State of one visitor's page.

    runner: the run that is computed, or None. former: the version that it was forked from, which goes on beside it. stored: the stored
    run that is drawn while there is no runner.
    """

    preset = param.String(doc="Name of the preset that the configuration began as, or `custom`.")
    config = param.ClassSelector(class_=RunConfig, doc="The configuration in the controls: what Run, or a new run, computes.")
    errors = param.Dict(default={}, doc="Field -> sentence on why the value in its control was not taken.")
    error = param.String(doc="Sentence on what went wrong with the run or an action, or nothing.")
    busy = param.Boolean(doc="An action is being carried out.")
    opening = param.String(doc="Name of the run of the shelf that is being read, or nothing.")
    shown = param.List(default=list(FLOW_NAMES), doc="The flows whose curves are drawn.")
    kept = param.Tuple(default=(0, "", ""), length=3, doc="How often a run was to be kept; the last one's name, or why it could not be.")
    speed = param.Number(default=None, allow_None=True, doc="Most steps a second, None: as fast as possible.")

    def __init__(self, **values: Any):
        super().__init__(**values)
        self.runner: Runner | None = None
        self.former: Runner | None = None
        self.stored: Stored | None = None
        self._nothing = History()  # another one whenever the visitor turns to something else
        self._edited: dict[str, Any] = {}  # live fields whose new values the run does not have yet

    @property
    def history(self) -> History:
        """What is to be drawn."""
        if self.runner is not None:
            return self.runner.history
        return self._nothing if self.stored is None else self.stored.history

    @property
    def versions(self) -> list[Runner]:
        """The run and, after a fork, the former version: they run, pause and step together."""
        return [version for version in (self.runner, self.former) if version is not None]

    def picture(self) -> Scene:
        """What is shown at this moment, as it stays whatever the visitor turns to."""
        picture = Scene(preset=self.preset, config=self.config, shown=list(self.shown))
        picture.runner, picture.former, picture.stored = self.runner, self.former, self.stored
        return picture

    @property
    def run_config(self) -> RunConfig:
        """The configuration of what is drawn, with its changes."""
        if self.runner is not None:
            return self.runner.config
        return self.config if self.stored is None else self.stored.config

    @property
    def facts(self) -> Facts:
        """What is known of where and how that is computed."""
        if self.runner is not None:
            return self.runner.facts
        return Facts() if self.stored is None else self.stored.facts

    @property
    def controls(self) -> RunConfig:
        """The configuration in the controls, live fields as the next step takes them, without changes."""
        live = {name: present(self.run_config, name, self._next) for name in RunConfig.LIVE} | self._edited
        if not self.config.changes and all(getattr(self.config, name) == value for name, value in live.items()):
            return self.config
        return changed(self.config, tuple(live.items()))

    @property
    def shared(self) -> RunConfig:
        """The configuration that gives again what is drawn, with what the controls would change in it from the next step on."""
        config, edited = self.run_config, self._pending(self.run_config)
        return config.replace(changes=[*config.changes, *((self._next, *change) for change in edited.items())]) if edited else config

    @property
    def threads(self) -> int:
        """PyTorch's threads in the run, on which its last bits depend; 0 where it is not known yet."""
        return self.run_config.threads if self.runner is None else self.runner.facts.threads

    @property
    def status(self) -> str:
        """new, stored, starting, running, paused, finished or failed."""
        if self.runner is None:
            return "starting" if self.busy else "new" if self.stored is None else "stored"
        if self.runner.error:
            return "failed"
        if self.runner.running or self.runner.pausing:
            return "running"
        return "finished" if self.runner.finished else "paused"

    @property
    def sentence(self) -> str:
        """What went wrong with the run or the last action, or nothing."""
        return self.error or (self.runner.error if self.runner is not None else "")

    @property
    def _next(self) -> int:
        """The step from which on a change would act."""
        return int(self.history.steps[-1]) + 1 if len(self.history) else 1

    def _pending(self, config: RunConfig) -> dict[str, Any]:
        """What was edited and a run of `config` does not have yet."""
        return {name: value for name, value in self._edited.items() if present(config, name, self._next) != value}
