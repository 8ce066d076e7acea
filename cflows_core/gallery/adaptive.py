"""[CF] 14 to 22, 35 to 37, 40 to 47, and the blog on RMSProp [B3]: adaptive step sizes."""

from __future__ import annotations

from cflows_core.gallery.figure import Figure

ADAPTIVE: tuple[Figure, ...] = ()
