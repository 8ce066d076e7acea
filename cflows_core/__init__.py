"""Live edge-of-stability dynamics for any PyTorch model: discrete optimizers beside their stable, central and rod flows."""

from cflows_core._version import __version__
from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, ConfigError, DataError, EngineError, ModelError, StoreError
from cflows_core.frames import SERIES, Event, Frame
from cflows_core.linalg.eigen import top_eigenpairs
from cflows_core.linalg.sdcp import solve_sdcp
from cflows_core.optimizers import Optimizer
from cflows_core.problems.modules import smoothed
from cflows_core.problems.objective import Objective
from cflows_core.running import resume, run
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder, Run

__all__ = [
    "SERIES",
    "CflowsError",
    "ConfigError",
    "DataError",
    "EngineError",
    "Event",
    "Frame",
    "ModelError",
    "Objective",
    "Optimizer",
    "Recorder",
    "Run",
    "RunConfig",
    "Simulation",
    "StoreError",
    "__version__",
    "resume",
    "run",
    "smoothed",
    "solve_sdcp",
    "top_eigenpairs",
]
