"""[CF] 14 to 22, 35 to 37, 40 to 47, annealing, and the blog on RMSProp [B3]: adaptive step sizes."""

from __future__ import annotations

from cflows_core.gallery.adaptive.acceleration import CF16, CF40
from cflows_core.gallery.adaptive.annealing import ANNEALING
from cflows_core.gallery.adaptive.blog import B31, B32
from cflows_core.gallery.adaptive.lower_curvature import CF22, CF41
from cflows_core.gallery.adaptive.rmsprop import CF17, CF18, CF19, CF35, CF37
from cflows_core.gallery.adaptive.scalar import CF14, CF15, CF36
from cflows_core.gallery.adaptive.speeds import CF21, CF45
from cflows_core.gallery.adaptive.stationarity import CF20, CF42, CF43, CF44
from cflows_core.gallery.adaptive.stationary_flow import CF46, CF47
from cflows_core.gallery.figure import Figure

ADAPTIVE: tuple[Figure, ...] = (
    *(CF14, CF15, CF16, CF17, CF18, CF19, CF20, CF21, CF22),
    *(CF35, CF36, CF37, CF40, CF41, CF42, CF43, CF44, CF45, CF46, CF47),
    *(ANNEALING, B31, B32),
)
