"""[RF]: rods beside their optimizers."""

from __future__ import annotations

from cflows_core.gallery.figure import Figure

RODS: tuple[Figure, ...] = ()
