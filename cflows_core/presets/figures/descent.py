"""Figures 1 to 13, 23, 38 and 39 of [CF]: gradient descent."""

from __future__ import annotations

from cflows_core.presets.preset import Preset

DESCENT: tuple[Preset, ...] = ()
