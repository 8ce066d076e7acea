"""The toy lab: losses of one or two weights on which everything that the optimizers do can be computed, and held against closed forms."""

from cflows_core.toylab.batch import Batch
from cflows_core.toylab.cycles import Cycle, Swings, cycle, settled, step_eigenvalues, swinging, swings, transition_matrix
from cflows_core.toylab.expectations import Expectation, expectations
from cflows_core.toylab.measuring import bottom
from cflows_core.toylab.orbits import Orbits, orbits, plane
from cflows_core.toylab.walk import Walk, effective_eigenvalues, hessians, walk

__all__ = [
    "Batch",
    "Cycle",
    "Expectation",
    "Orbits",
    "Swings",
    "Walk",
    "bottom",
    "cycle",
    "effective_eigenvalues",
    "expectations",
    "hessians",
    "orbits",
    "plane",
    "settled",
    "step_eigenvalues",
    "swinging",
    "swings",
    "transition_matrix",
    "walk",
]
