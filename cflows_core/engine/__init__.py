"""Where simulations run (in this process, in local worker processes, on a Dask cluster), driven without blocking."""

from __future__ import annotations

from cflows_core.engine.engine import Engine
from cflows_core.engine.runner import Runner

__all__ = ["Engine", "Runner"]
