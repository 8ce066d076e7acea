"""Named experiments: each a configuration, where it comes from, and one line on what to look at."""

from __future__ import annotations

import difflib

from cflows_core.errors import ConfigError
from cflows_core.presets.architectures import ARCHITECTURES
from cflows_core.presets.descent import BREAKS, EDGE
from cflows_core.presets.figures import FIGURES
from cflows_core.presets.narrow import CNN, LONG
from cflows_core.presets.optimizers import OPTIMIZERS
from cflows_core.presets.preset import Preset

__all__ = ["DEFAULT", "PRESETS", "Preset", "get"]

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (*EDGE, *ARCHITECTURES, *OPTIMIZERS, *LONG, *CNN, *FIGURES, *BREAKS)}
DEFAULT = next(iter(PRESETS))


def get(name: str) -> Preset:
    """The preset of a name. Raises `ConfigError`, which names close ones."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(PRESETS)}."
        raise ConfigError(f"There is no preset {name!r}: {hint}")
    return PRESETS[name]
