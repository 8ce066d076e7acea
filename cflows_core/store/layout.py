"""Which arrays a run has: their types, dimensions and documentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from cflows_core import frames
from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.frames import SERIES, STATUSES
from cflows_core.store.arrays import ArraySpec

CHUNK_ROWS = 1024  # 8 KiB a file for a scalar series: small runs stay small, long ones need few files
COORDINATES = ("step", "wall_time", "gradients")  # of the root
REPEATED = ("step", "wall_time")  # in every group as well
_LENGTHS = {"axis": 2, "pair": 3, "coordinate": frames.COORDINATES}
_PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "step": ("int64", {"units": "steps", "doc": "Optimizer step, those of the warm start included."}),
    "wall_time": ("float64", {"units": "seconds of computing", "doc": "Time spent computing since the run began."}),
    "distance": (
        "float64",
        {"units": "weights", "doc": "Euclidean distance of the flow to the discrete optimizer's centre (math.md 9)."},
    ),
    "status": (
        "int8",
        {
            "units": "",
            "doc": "What the flow does: settling flows give no covariance and no predictions.",
            "flag_values": list(range(len(STATUSES))),
            "flag_meanings": " ".join(name.replace(" ", "_") for name in STATUSES),
        },
    ),
}


def source(path: str) -> str:
    """The array that an array repeats, or itself: groups repeat the root's coordinates."""
    name = path.rpartition("/")[2]
    return name if name in REPEATED else path


def specification(path: str, value: Any, config: RunConfig) -> ArraySpec:
    """The array for `path` ("flow/series", or a root coordinate), whose first value is `value`.

    Raises StoreError for a series that `SERIES` does not document.
    """
    group, _, name = path.rpartition("/")
    if name in _PLAIN:
        dtype, attributes = _PLAIN[name]
        return ArraySpec(path, dtype, (), (), attributes, CHUNK_ROWS)
    if not group:
        attributes = {"units": "gradients", "doc": "Gradient-equivalents spent by all flows so far."}
        return ArraySpec(path, "float64", (), (), attributes, CHUNK_ROWS)
    series = SERIES.get(name)
    if series is None:
        raise StoreError(f"A run stores the series registered in cflows_core.frames.SERIES, got `{name}` of {group}: register it there.")
    lengths: dict[str, Any] = {**_LENGTHS, "mode": config.n_eigs}
    tail = tuple(lengths.get(dim, size) for dim, size in zip(series.dims, np.shape(value), strict=True))
    return ArraySpec(path, "float64", series.dims, tail, {"units": series.unit, "doc": series.doc}, CHUNK_ROWS)
