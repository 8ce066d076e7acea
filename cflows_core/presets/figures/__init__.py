"""The papers' figures at this machine's scale: the gallery draws them and measures what they show."""

from __future__ import annotations

from cflows_core.presets.figures.adaptive import ADAPTIVE
from cflows_core.presets.figures.descent import DESCENT
from cflows_core.presets.figures.rods import RODS
from cflows_core.presets.preset import Preset

FIGURES: tuple[Preset, ...] = (*DESCENT, *ADAPTIVE, *RODS)
