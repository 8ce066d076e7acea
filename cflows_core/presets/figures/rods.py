"""Figures of [RF]: rods, an optimizer each."""

from __future__ import annotations

from cflows_core.presets.preset import Preset

RODS: tuple[Preset, ...] = ()
