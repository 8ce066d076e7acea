"""A configuration as a web address's query, and back: a preset's name, and what differs from it.

Whatever an address says, reading it gives a configuration that runs, and a sentence for each part that could not be taken.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cflows_app.stored import first_config
from cflows_core import presets
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.written import from_text, to_text

LONGEST = 12_000  # characters: what browsers, mail and chat programs carry whole
OWN = "bokeh-"  # arguments of the server's own begin so
LOOKS = ("hide", "type")  # how a page looks, for its script alone
LECTURE = ("follow", "lecture")  # a lecture to be followed, or to be gone on with
SAID = 240  # characters of a sentence: an address can hold anything


@dataclass(frozen=True)
class Asked:
    """What an address asks for. preset: the one it begins from. problems: a sentence for each part that was not taken."""

    preset: str
    config: RunConfig
    problems: tuple[str, ...] = ()


def query(config: RunConfig) -> str:
    """The configuration as a query: `read` gives exactly it again. Empty where there are too many changes for an address.

    >>> query(first_config("narrow-gd").replace(lr=0.2, changes=[(400, "lr", 0.1)]))   # doctest: +SKIP
    'preset=narrow-gd&lr=0.2&changes=400:lr=0.1'
    """
    name, fields = nearest(config, first_config)
    text = urlencode([("preset", name), *((field, to_text(field, value)) for field, value in fields.items())], safe=":,=()")
    return text if len(text) <= LONGEST else ""


def nearest(config: RunConfig, base: Any) -> tuple[str, dict[str, Any]]:
    """The preset with the fewest fields that differ, and those. base: preset's name -> the configuration to begin from."""
    wanted = config.to_dict()
    name = min(presets.PRESETS, key=lambda name: sum(wanted[field] != value for field, value in _plain(base, name).items()))
    return name, {field: wanted[field] for field, value in _plain(base, name).items() if wanted[field] != value}


@functools.cache
def _plain(base: Any, preset: str) -> dict[str, Any]:
    return base(preset).to_dict()


def runs_asked(arguments: Mapping[str, Sequence[bytes]]) -> list[str]:
    """The names of the stored runs that a request's arguments ask for (`?run=NAME&run=OTHER`)."""
    return [name.decode(errors="replace") for name in arguments.get("run", [])]


def lecture_asked(arguments: Mapping[str, Sequence[bytes]]) -> tuple[str, str]:
    """The key of the lecture that is to be followed, and the secret of one that is to be gone on with; "" for none."""
    follow, lecture = ((arguments.get(name) or [b""])[-1].decode(errors="replace")[:SAID] for name in LECTURE)
    return follow, lecture


def step_asked(arguments: Mapping[str, Sequence[bytes]]) -> tuple[str, int]:
    """The lesson and the step, from 1, that a request's arguments ask for (`?lesson=NAME&step=3`); "" for any lesson."""
    name, step = ((arguments.get(key) or [b""])[-1].decode(errors="replace") for key in ("lesson", "step"))
    return name, int(step) if step.isdecimal() and len(step) < 6 else 1


def figure_asked(arguments: Mapping[str, Sequence[bytes]]) -> str:
    """The name of the gallery's figure that a request's arguments ask for (`?figure=NAME`); "" for none."""
    return _short((arguments.get("figure") or [b""])[-1].decode(errors="replace"))


def read(arguments: Mapping[str, Sequence[bytes]]) -> Asked | None:
    """What a request's arguments ask for, None if nothing. Raises nothing."""
    given = {name: values for name, values in arguments.items() if values and name not in (*LOOKS, *LECTURE) and not name.startswith(OWN)}
    if not given:
        return None
    length = sum(len(name) + len(value) + 2 for name, values in given.items() for value in values)
    if length > LONGEST:
        told = f"An address has at most {LONGEST:,} characters after the question mark, got {length:,}: open the page without them."
        return Asked(presets.DEFAULT, first_config(presets.DEFAULT), (told,))
    texts = {name: values[-1].decode(errors="replace") for name, values in given.items()}
    problems = [
        f"An address gives a field once, got `{name}` {len(values)} times: the last is taken."
        for name, values in given.items()
        if values[1:]
    ]
    try:
        preset = presets.get(texts.pop("preset", presets.DEFAULT)).name
    except ConfigError as problem:
        preset = presets.DEFAULT
        problems.append(str(problem))
    fields: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            fields[name] = _value(name, text)
        except ConfigError as problem:
            problems.append(str(problem))
    config, refused = _together(first_config(preset), fields)
    problems += refused
    if problems:
        rest = ", with what else the address says" if len(fields) > len(refused) else ""
        problems.append(f"Shown is the preset {preset}{rest}.")
    return Asked(preset, config, tuple(_short(problem) for problem in problems))


def _value(name: str, text: str) -> Any:
    """What a field takes for a text. Raises ConfigError."""
    if name not in RunConfig.fields():
        RunConfig(**{name: text})  # raises, and names the fields that are close
    return RunConfig.check(name, from_text(name, text))


def _together(config: RunConfig, fields: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    """`config` with as many of the fields as go together, and a sentence for each that does not."""
    try:
        return config.replace(**fields), []
    except ConfigError:
        pass
    left = dict(fields)
    while True:  # one after the other, as often as one of them fits what was taken meanwhile
        refused: dict[str, str] = {}
        for name, value in left.items():
            try:
                config = config.replace(**{name: value})
            except ConfigError as problem:
                refused[name] = str(problem)
        if len(refused) == len(left):
            return config, list(dict.fromkeys(refused.values()))
        left = {name: left[name] for name in refused}


def _short(sentence: str) -> str:
    """A sentence with its middle left out if it is long: its end says what to do."""
    return sentence if len(sentence) <= SAID else f"{sentence[: SAID // 2]} … {sentence[-SAID // 2 :]}"
