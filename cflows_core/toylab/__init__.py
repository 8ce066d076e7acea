"""The toy lab: losses of one or two weights on which everything that the optimizers do can be computed, and held against closed forms."""

from cflows_core.toylab.batch import Batch
from cflows_core.toylab.orbits import Orbits, orbits, plane

__all__ = ["Batch", "Orbits", "orbits", "plane"]
