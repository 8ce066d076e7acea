"""The values of a configuration's fields as text: one grammar for the command line and for addresses."""

from __future__ import annotations

import re
from typing import Any

import param

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError

_CHANGE = re.compile(r"\s*(\d{1,12})\s*:\s*(\w+)\s*=\s*(\S+)\s*")


def to_text(field: str, value: Any) -> str:
    """A field's value as text from which `from_text` gives the same value, to the bit.

    >>> to_text("changes", [(400, "lr", 0.1)]), to_text("flows", ["discrete", "rod"]), to_text("lr", 2.0)
    ('400:lr=0.1', 'discrete,rod', '2')
    """
    if field == "changes":
        return ",".join(f"{step}:{name}={to_text(name, new)}" for step, name, new in value)
    if isinstance(value, (list, tuple)):
        return ",".join(value)
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def from_text(field: str, text: str) -> Any:
    """What a text says of a field, for `RunConfig` to judge: a number where the field takes one and the text is one.

    Raises ConfigError for changes that are not written as they should be.
    """
    if field == "changes":
        return changes(text)
    return number(text) if isinstance(RunConfig.param[field], param.Number) else text


def number(text: str) -> Any:
    """A number where the text is one; otherwise the text itself, which RunConfig then refuses with its own sentence."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def changes(text: str) -> list[tuple[int, str, Any]]:
    """`400:lr=0.1,600:lr=0.2` -> [(400, "lr", 0.1), (600, "lr", 0.2)]. Raises ConfigError."""
    found = []
    for part in filter(None, text.split(",")):
        match = _CHANGE.fullmatch(part)
        if match is None:
            raise ConfigError(f"A change is written STEP:FIELD=VALUE, such as 400:lr=0.1, got {part!r}.")
        found.append((int(match[1]), match[2], number(match[3])))
    return found
