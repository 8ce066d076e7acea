"""What stands at the foot of the page: where and how the run is computed, what it cost, and what limits its speed."""

from __future__ import annotations

from typing import Any

from cflows_app.session import Session
from cflows_app.texts import STATUS_LABELS, held_up
from cflows_core.history import History

PAGE_SHARE = 0.3  # of the time, that drawing must take before the page is said to hold a run up


def footing(session: Session, drawing: float) -> list[dict[str, Any]]:
    """The parts from left to right: a name, a text, and its card. drawing: share of the time that this page's drawing takes."""
    facts, history = session.facts, session.history
    parts = [
        ("Device", facts.where, "page.device"),
        ("Rate", _rate(session), "page.rate"),
        ("Cost", _spent(history), "page.cost"),
        ("Derivatives", facts.how, "field.derivatives"),
        ("Limit", limit(session, drawing), "page.limit"),
    ]
    return [{"name": name, "text": text, "term": term} for name, text, term in parts if text]


def limit(session: Session, drawing: float) -> str:
    """What limits the speed of the run, or why it stands still."""
    status, runner = session.status, session.runner
    if status == "starting":
        return "waiting for a worker"
    if status != "running" or runner is None:
        return f"at rest: {STATUS_LABELS[status]}"
    if waits := held_up(session):
        return waits
    held = runner.limited_by
    if held == "speed":
        return "limited by the speed you set"
    if held == "waiting":
        return "limited by the page's drawing" if drawing > PAGE_SHARE else "waiting for a worker"
    return "limited by computing" if held else "running"


def _rate(session: Session) -> str:
    if session.runner is not None and session.status == "running" and session.runner.steps_per_second and not held_up(session):
        return f"{_short(session.runner.steps_per_second)} steps/s"
    history = session.history
    seconds = float(history.wall_time[-1]) if len(history) else 0.0
    return f"{_short(float(history.steps[-1]) / seconds)} steps/s on average" if seconds else ""


def _spent(history: History) -> str:
    return f"{float(history.gradients[-1]):,.0f} gradients" if len(history) else ""


def _short(rate: float) -> str:
    return f"{rate:.1f}" if rate < 10 else f"{rate:.0f}"
