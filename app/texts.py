"""What the page says in words: the phase of the run, where it stands, what was changed, which step size means what."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from cflows_app.once import once
from cflows_app.session import Session
from cflows_app.streaming import Reading
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.frames import STATUSES
from cflows_core.optimizers import Optimizer
from cflows_core.palette import FLOW_NAMES
from cflows_core.phases import Phase, phase
from cflows_core.problems.build import count_parameters
from cflows_core.rules import is_file
from cflows_core.simulation import LOOSE

SYMBOLS = {"lr": "η", "beta1": "β₁", "beta2": "β₂", "eps": "ε"}
LABEL = 0.1  # of a plot's width, that a label takes
STATUS_LABELS = {
    "new": "not started",
    "stored": "stored run",
    "starting": "starting …",
    "running": "running",
    "paused": "paused",
    "finished": "finished",
    "failed": "stopped by an error",
}


def sentence(session: Session, moment: int | None = None) -> tuple[str, list[tuple[str, str]]]:
    """What to look at now, or at the step that a visitor looks back at, and notes on what a viewer must know beside it.

    A note is its kind, `warning` or `remark`, and a sentence.
    """
    said, told = _of_run(session, moment)
    return said, lecture(session) + told


def _of_run(session: Session, moment: int | None) -> tuple[str, list[tuple[str, str]]]:
    if session.opening:
        return f"The run {session.opening} is being read.", []
    if len(session.history) and moment is not None:
        return f"Step {moment:,}: {_phase(session, moment).sentence}", []
    if len(session.history):
        now = _phase(session)
        told = waits(session) + [("warning", note) for status, note in notes(session) if status != now.name]
        if session.former is not None and len(session.former.history):
            forked = f"Faint curves: the version that was forked, now at step {session.former.history.steps[-1]:,}."
            told.append(("remark", forked))
        return now.sentence, told
    if session.status == "starting":
        return "The worker prepares the network and the data.", []
    if waiting := waits(session):
        return waiting[0][1], []
    if session.follows is not None:
        return "The lecturer has not started a run yet.", []
    return "Press Run: the optimizer starts from its initial weights, and its flows beside it.", []


def _phase(session: Session, moment: int | None = None) -> Phase:
    history, config = session.history, session.run_config
    return once(history, ("phase", moment, config), lambda: phase(history, moment, config))


def lecture(session: Session) -> list[tuple[str, str]]:
    """That a lecture is given, or followed."""
    if session.follows is not None:
        others = session.follows.followers - 1
        if session.follows.away:
            return [("remark", "The lecturer's page is closed: the lecture goes on when it comes back. Fork here makes the run yours.")]
        company = f", with {_people(others, 'other')}" if others > 0 else ""
        return [("remark", f"You follow a lecture{company}: what the lecturer does is shown here. Fork here makes the run yours.")]
    if session.broadcast is not None:
        number = session.broadcast.followers
        who = _people(number, "person sees", "people see") if number else "nobody sees"
        return [("remark", f"A lecture is on: {who} on its link what this page shows.")]
    return []


def _people(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def waits(session: Session) -> list[tuple[str, str]]:
    """Why no new step comes although the run goes: the queue, or steps that are computed again."""
    runner = session.runner
    if runner is None or not runner.running:
        return []
    if runner.recovering:
        return [("remark", "The worker that computed this run was lost: it goes on from its last checkpoint as soon as there is another.")]
    if place := runner.turn.position:
        queue = runner.turn.queue
        turns = "one run at a time" if queue.places == 1 else f"{queue.places} runs at a time"
        when = f"number {place} of {queue.waiting} in the queue, and begins in {_about(runner.turn.estimate)}"
        return [("remark", f"The server computes {turns}, in turns: this one is {when}.")]
    if runner.catching_up:
        return [
            ("remark", f"The last checkpoint is older than step {runner.step_number:,}: the steps in between are computed again, unseen.")
        ]
    return []


def status_label(session: Session) -> str:
    """What the run does, in a word or two."""
    return held_up(session) or STATUS_LABELS[session.status]


def held_up(session: Session) -> str:
    """What a run that goes waits for, if nobody computes it now."""
    runner = session.runner
    if runner is None or not runner.running:
        return ""
    return "waiting for a worker" if runner.recovering else "waiting for its turn" if runner.turn.position else ""


def _about(seconds: float) -> str:
    """A length of time as one says it, in steps of five seconds: one that counts down would be read aloud again and again."""
    return f"about {max(5 * math.ceil(seconds / 5), 5)} s" if seconds < 90 else f"about {seconds / 60:.0f} minutes"


def notes(session: Session) -> list[tuple[str, str]]:
    """What a viewer must know of flows that do not simply run: settling, stopped or absent, and a sentence."""
    history, sentences = session.history, []
    for flow in session.run_config.flows:
        status = STATUSES[history.status(flow)[-1]] if len(history) else STATUSES[0]
        if status in ("settling", "stopped"):
            kinds = ("settling",) if status == "settling" else ("stopped", "diverged")
            told = [event.message for event in history.events if event.flow == flow and event.kind in kinds]
            sentences.append((status, told[-1] if told else f"The {FLOW_NAMES[flow]} is {status}."))
    sentences += [("note", event.message) for event in history.events if event.kind == "note" and not event.flow]  # of the problem
    rank, residual = history.series("central", "rank"), history.series("central", "sdcp_residual")
    if len(history) and (rank[-1] >= session.run_config.n_eigs or residual[-1] > LOOSE):
        sentences += [("note", event.message) for event in history.events if event.kind == "note" and event.flow][-1:]
    absent = [flow for flow in session.shown if flow not in session.run_config.flows]
    if absent and len(history):
        names = " and the ".join(FLOW_NAMES[flow] for flow in absent)
        sentences.append(("absent", f"This run was started without the {names}: Reset begins again with what is ticked."))
    return sentences


@lru_cache(maxsize=256)
def problem_hint(config: RunConfig) -> str:
    """How large the network in the controls is; of a problem file that is not there, what to do."""
    try:
        weights = f"{count_parameters(config):,} weights to train."
    except ConfigError as problem:
        return str(problem)
    return f"{weights} The file decides model, data, loss and precision." if is_file(config.dataset) else weights


def step_size_hint(config: RunConfig) -> str:
    """Where the edge of stability lies for the step size in the control."""
    optimizer = Optimizer.of(config)
    if optimizer.adaptive:
        return f"Edge of stability where the preconditioned Hessian's top eigenvalue reaches {optimizer.threshold:.3g}."
    return f"Edge of stability at sharpness {optimizer.threshold / config.lr:.3g}."


def changes_to_mark(reading: Reading, start: float, end: float) -> dict[str, list[Any]]:
    """The changes for the marks' source, `start` to `end` of the horizontal axis being in view.

    Of those closer than a label is wide only the last keeps its label; near the right edge a label hangs on the left of its line.
    """
    places: list[float] = reading.place([step for step, _, _ in reading.config.changes]).tolist()
    labels = [f"{SYMBOLS.get(name, RunConfig.param[name].label)} = {value:g}" for _, name, value in reading.config.changes]
    wide = LABEL * (end - start)
    kept = [label if i + 1 == len(places) or places[i + 1] - places[i] > wide else "" for i, label in enumerate(labels)]
    left = [place > end - 1.5 * wide for place in places]
    return {
        "x": places,
        "label": kept,
        "align": ["right" if flag else "left" for flag in left],
        "offset": [-4 if flag else 4 for flag in left],
    }


def changes_recorded(config: RunConfig) -> list[str]:
    """The changes as the run's configuration records them, newest last."""
    return [f"{RunConfig.param[name].label}: {value:g} from step {step:,}" for step, name, value in config.changes]


def values_shown(session: Session) -> dict[str, Any]:
    """Field -> value for the controls."""
    config = session.controls
    values = {name: getattr(config, name) for name in RunConfig.fields() if name != "changes"}
    return values | {name: f"{getattr(config, name):g}" for name in RunConfig.LIVE}
