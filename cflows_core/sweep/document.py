"""A YAML or JSON file as plain Python values: nothing in it runs, and a hostile one ends in a sentence.

YAML is read as version 1.2 has it: `1e-3` is a number, `on` and `no` are words.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from cflows_core.errors import ConfigError

LARGEST = 2**17  # bytes
DEEPEST = 12  # levels of lists and mappings
_KINDS = (".yaml", ".yml", ".json")
# YAML 1.2's core schema, but numbers are finite.
_PLAIN = (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
)


def load(path: Path) -> Any:
    """The values in the file at `path`. Raises ConfigError: no such file, too large, not YAML or JSON, nested too deeply, a key twice."""
    if path.suffix.lower() not in _KINDS:
        raise ConfigError(f"A sweep is a file that ends in {', '.join(_KINDS[:-1])} or {_KINDS[-1]}, got {path}: rename it.")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}): check the path.") from None
    if len(content) > LARGEST:
        raise ConfigError(
            f"{path} is larger than {LARGEST >> 10} KiB, the most that a sweep's file may have: write ranges in place of lists."
        )
    try:
        text = content.decode("utf-8-sig")
        return _json(text) if path.suffix.lower() == ".json" else _yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: {_too_deep()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text in UTF-8: save it again as UTF-8.") from None
    except ValueError as error:  # JSON's own errors, and numbers of thousands of digits
        raise ConfigError(
            f"{path} cannot be read as {path.suffix[1:].upper()} ({' '.join(str(error).split())[:200]}): correct it."
        ) from None


def _too_deep() -> str:
    return f"lists and mappings lie in one another more than {DEEPEST} levels deep: a sweep needs four."


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in values:
                raise ConfigError(_twice(name))
            values[name] = value
        return values

    values = json.loads(text, object_pairs_hook=once)
    if _depth(values) > DEEPEST:
        raise ConfigError(_too_deep())
    return values


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, (dict, list)) else 0


def _twice(name: object) -> str:
    return f"the key {str(name)[:60]!r} stands there twice: keep one."


def _yaml(text: str) -> Any:
    yaml, loader = _loader()
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):  # before anything is built of it
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"`*{event.anchor}` repeats another part of the file, which a sweep may not: write it out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ConfigError(_too_deep())
        reader = loader(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise ConfigError(f"it is not YAML{where} ({' '.join(str(what).split())[:200]}): correct it.") from None


@functools.cache
def _loader() -> tuple[Any, Any]:
    """PyYAML, and its safe loader with YAML 1.2's plain words."""
    try:
        import yaml
    except ImportError:
        raise ConfigError("a sweep in YAML needs the package PyYAML: pip install 'cflows[app]', or write it as JSON.") from None

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key.value, str):
                    raise ConfigError("a list or a mapping stands where a key should: write a name.")
                if key.value in seen:
                    raise ConfigError(_twice(key.value))
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    for name, pattern, first in _PLAIN:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})$"), first)
    return yaml, Loader
