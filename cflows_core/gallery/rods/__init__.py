"""[RF]: rods beside their optimizers."""

from __future__ import annotations

from cflows_core.gallery.figure import Figure
from cflows_core.gallery.rods.adam import ADAM
from cflows_core.gallery.rods.optimizers import EACH

RODS: tuple[Figure, ...] = (*ADAM, *EACH)
