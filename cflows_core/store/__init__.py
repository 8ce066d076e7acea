"""A run on disk: a Zarr 3 hierarchy that only grows and survives a kill at any moment. `Recorder` writes it, `Run` reads it."""

from __future__ import annotations

from cflows_core.store.document import SCHEMA_VERSION
from cflows_core.store.recorder import Recorder
from cflows_core.store.run import Run

__all__ = ["SCHEMA_VERSION", "Recorder", "Run"]
