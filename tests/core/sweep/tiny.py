"""Small configurations for sweeps, and comparing runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cflows_core.store import Run

# Twenty steps take a tenth of a second.
TINY: dict[str, Any] = {"width": 4, "depth": 1, "n_train": 30, "n_eigs": 2, "steps": 12, "observe": [], "flows": ["central"], "threads": 1}
# Long enough to be killed in the middle.
LONG: dict[str, Any] = {**TINY, "lr": 0.12, "warm_start": 2, "steps": 1500, "flows": ["central", "rod"], "checkpoint_every": 10}


def same(one: Run, other: Run) -> bool:
    """Whether every series is the same to the bit, but the time it took."""
    a, b = one.columns(), other.columns()
    assert a.keys() == b.keys()
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a if not name.endswith("wall_time"))
