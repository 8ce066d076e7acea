"""Sound files, made once, for others to damage; and the folder of the damaged ones."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from cflows_core.config import RunConfig
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder
from cflows_core.store.files import ROOT
from cflows_core.store.packed import pack

_KEPT: list[Any] = []


@functools.cache
def folder() -> Path:
    """Removed when the process ends."""
    made = tempfile.TemporaryDirectory(prefix="cflows-fuzz-")
    _KEPT.append(made)
    return Path(made.name)


@functools.cache
def stored() -> Path:
    """A stored run of three steps, with a checkpoint."""
    path = folder() / "sound.zarr"
    simulation = Simulation(RunConfig(dataset="chebyshev", width=4, depth=1, n_train=8, steps=3, observe=[], flows=["discrete", "central"]))
    with Recorder(path, simulation.config) as recorder:
        for _ in range(3):
            recorder.append(next(simulation))
        recorder.checkpoint(simulation)
    return path


@functools.cache
def document() -> dict[str, Any]:
    """Its root document."""
    return json.loads((stored() / ROOT).read_text())


@functools.cache
def files() -> list[str]:
    """Names of the files in it."""
    return sorted(str(file.relative_to(stored())) for file in stored().rglob("*") if file.is_file())


@functools.cache
def packed() -> bytes:
    """It as one file."""
    return pack(stored(), folder() / "sound.zarr.zip").read_bytes()


@functools.cache
def checkpoint() -> bytes:
    """What it goes on from."""
    return (stored() / "checkpoint.pt").read_bytes()
