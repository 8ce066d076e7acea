"""What reproduces a run without the dashboard: a Python script and a command line."""

from __future__ import annotations

import functools
import json
import shlex
from typing import Any

from cflows_app.share import nearest
from cflows_core.cli.arguments import flag
from cflows_core.config import RunConfig
from cflows_core.presets import PRESETS
from cflows_core.written import to_text


@functools.lru_cache(maxsize=64)
def name_of(config: RunConfig) -> str:
    """A name for files of a run: the preset that it is nearest to, and some digits by which runs differ."""
    return f"{nearest(config, _preset)[0]}-{config.hash[:6]}"


def script(config: RunConfig) -> str:
    """A Python script that runs the configuration, its changes included, and leaves the run in `run`."""
    default = RunConfig().to_dict()
    lines = [f"    {field}={_literal(field, value)}," for field, value in config.to_dict().items() if value != default[field]]
    fields = "\n" + "\n".join(lines) + "\n" if lines else ""
    return f"import cflows_core as cf\n\nconfig = cf.RunConfig({fields})\nrun = cf.run(config)\nprint(run)\n"


def command(config: RunConfig) -> str:
    """A command line that runs the configuration, its changes included, and stores it."""
    preset, fields = nearest(config, _preset)
    words = ["cflows", "run", "--preset", preset]
    for field, value in fields.items():
        text = to_text(field, value)
        words += [flag(field), shlex.quote(text)] if text else [f"{flag(field)}="]
    return " ".join([*words, "--out", f"runs/{name_of(config)}.zarr"])


def _preset(name: str) -> RunConfig:
    """What `--preset` begins from."""
    return PRESETS[name].config


def _literal(field: str, value: Any) -> str:
    if field == "changes":
        return "[" + ", ".join(f'({step}, "{name}", {new!r})' for step, name, new in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)
