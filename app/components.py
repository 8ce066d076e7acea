"""The page's own components: native controls in their shadow roots, each a small script in `assets/`, with state in and messages out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import param

ASSETS = Path(__file__).parent / "assets"
_STYLE = (ASSETS / "controls.css").read_text(encoding="utf-8")


def _script(*names: str) -> str:
    """A component's scripts behind the helpers that all share."""
    return "\n".join((ASSETS / part).read_text(encoding="utf-8") for part in ("dom.js", *names))


TEXT, NUMBER, NOTHING = (str,), (int, float), (type(None),)


class Component(pn.custom.JSComponent):
    """`state` is what the script draws, replaced as a whole; `answer` is called with every message that it sends, a dictionary.

    takes: key of a message -> the types of its value. Anyone can send a page anything: what is not of these types never reaches `answer`.
    A script numbers its messages, and draws no state of before the last one: it would turn a control back that was just moved (dom.js).
    """

    takes: ClassVar[dict[str, tuple[type, ...]]] = {}

    state = param.Dict(default={}, doc="What is drawn.")

    __abstract = True
    _bundle_path = None  # type: ignore[assignment]  # no component is bundled: Panel would look for files, some dozens of times a page
    _stylesheets = [_STYLE]

    def __init__(self, answer: Callable[[dict[str, Any]], None], **params: Any):
        self._answer = answer
        self.heard = 0  # number of the script's last message
        super().__init__(sizing_mode="stretch_width", margin=0, **params)

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        number = data.pop("sent", None)
        if isinstance(number, int):
            self.heard = number
        if data and all(self._fits(key, value) for key, value in data.items()):
            self._answer(data)

    def _update_model(self, events: Any, msg: dict[str, Any], root: Any, model: Any, doc: Any, comm: Any) -> None:
        if msg.keys() == {"state"}:  # of plain values: Panel would look through them for models, which takes longer than all else
            self._set_on_model(msg, root, model.data)
        else:
            super()._update_model(events, msg, root, model, doc, comm)

    def _fits(self, key: str, value: Any) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return isinstance(value, self.takes.get(key, ())) and (not isinstance(value, list) or all(isinstance(part, str) for part in value))

    def show(self, **state: Any) -> None:
        """Draw `state` if it differs from what is drawn."""
        state["heard"] = self.heard
        if state != self.state:
            self.state = state


class Form(Component):
    """The sidebar: preset, problem, optimizer, step size, flows, run, and more.

    Sends {"edit": field, "value": v}, {"preset": name} and {"flows": [...]}.
    """

    spec = param.Dict(default={}, doc="The controls (form.py).")

    takes = {"edit": TEXT, "value": (str, list), "preset": TEXT, "flows": (list,)}
    _esm = _script("form.js")


class Takeaway(Component):
    """Share, Keep, Export, Code and Lecture, each a button with a popover; the browser copies and fetches by itself.

    Sends {"keep": name} and {"lecture": whether one is to be given}.
    """

    takes = {"keep": TEXT, "lecture": (bool,)}
    _esm = _script("takeaway.js")


class Transport(Component):
    """Run, Pause, Step, Reset, speed, and the step counter.

    Sends {"action": name}, {"speed": steps a second or null} and {"drawn": number}.
    """

    takes = {"action": TEXT, "speed": NUMBER + NOTHING, "drawn": NUMBER}
    _esm = _script("transport.js")


class Status(Component):
    """The sentence on the present phase, notes, and what went wrong; read aloud by screen readers. Sends {"dismiss": true}."""

    takes = {"dismiss": (bool,)}
    _esm = _script("status.js")


class Legend(Component):
    """A panel's legend, choices, fact and note. Sends {"toggle": entry} and {"choose": option, "value": value}."""

    takes = {"toggle": TEXT, "choose": TEXT, "value": TEXT}
    _esm = _script("legend.js")


class Scrubber(Component):
    """The step that the valley shows and the sentence tells of: any of the run, or the newest. Sends {"moment": step or null}."""

    takes = {"moment": NUMBER + NOTHING}
    _esm = _script("scrubber.js")


class ViewBar(Component):
    """What holds for all panels: smoothing, steps shown, what the axis counts, follow, save.

    Sends {"smoothing": steps}, {"span": name}, {"unit": name} and {"follow": true}.
    """

    takes = {"smoothing": TEXT, "span": TEXT, "unit": TEXT, "follow": (bool,)}
    _esm = _script("viewbar.js")


class RunList(Component):
    """The runs of the shelf, those that are laid over one another with their colours, and whose curves are drawn.

    Sends {"pick": name}, {"drop": name}, {"delete": name} and {"flows": [...]}.
    """

    takes = {"pick": TEXT, "drop": TEXT, "delete": TEXT, "flows": (list,)}
    _esm = _script("runs.js")


class Differences(Component):
    """A table of the runs that are compared: a column a run. Sends nothing."""

    _esm = _script("differences.js")


class Story(Component):
    """A lesson's step: its words, the answers to choose among, and what is revealed. Arranges the panels. Sends {"pick": number}."""

    takes = {"pick": NUMBER}
    _esm = _script("story.js")


class Contents(Component):
    """The lessons, and the steps of the one that is open. Sends {"lesson": name} and {"go": step}."""

    takes = {"lesson": TEXT, "go": NUMBER}
    _esm = _script("contents.js")


class Lectern(Component):
    """What a lecturer handles: steps, reveal, compute, size of type, full screen, handout; keys, too, and the page's address.

    Sends {"go": step}, {"go": step, "whole": true} for one with all that it holds back, {"reveal": true} and {"compute": true}.
    """

    takes = {"go": NUMBER, "whole": (bool,), "reveal": (bool,), "compute": (bool,)}
    _esm = _script("handout.js", "lectern.js")


class Foot(Component):
    """The line at the foot of the page: device, rate, cost, derivatives, what limits the speed. Sends nothing."""

    _esm = _script("foot.js")


class Feedback(Component):
    """The feedback diagram of an adaptive optimizer at one moment (lessons/feedback.py). Sends nothing."""

    _esm = _script("feedback.js")
    _stylesheets = [_STYLE, (ASSETS / "feedback.css").read_text(encoding="utf-8")]


class Catalogue(Component):
    """The gallery's figures, each with its verdict. Sends {"figure": name}, "" for the overview."""

    takes = {"figure": TEXT}
    _esm = _script("verdict.js", "catalogue.js")


class Exhibit(Component):
    """A figure's words, or all figures in small; arranges the panels, and keeps the page's address. Sends {"figure": name}."""

    takes = {"figure": TEXT}
    _esm = _script("verdict.js", "exhibit.js")


class Findings(Component):
    """What a figure shows in its paper, what was measured here, and the settings of both. Sends nothing."""

    _esm = _script("verdict.js", "findings.js")


class ToyForm(Component):
    """The toy lab's sidebar: loss, optimizer, walk; it keeps the page's address. Sends {"edit": field, "value": text} and {"go": place}."""

    spec = param.Dict(default={}, doc="The controls (toylab/form.py).")

    takes = {"edit": TEXT, "value": TEXT, "go": TEXT}
    _esm = _script("toyform.js")
    _stylesheets = [_STYLE, (ASSETS / "toylab.css").read_text(encoding="utf-8")]


class Player(Component):
    """The steps of a walk: play, pause, one on or back, any of them. Sends {"moment": step}."""

    takes = {"moment": NUMBER}
    _esm = _script("player.js")
    _stylesheets = [_STYLE, (ASSETS / "toylab.css").read_text(encoding="utf-8")]


class Expectations(Component):
    """A table of closed forms beside what was measured. Sends nothing."""

    _esm = _script("expectations.js")
    _stylesheets = [_STYLE, (ASSETS / "toylab.css").read_text(encoding="utf-8")]
