"""Frames with every registered series, as functions of the step: what comes back can be recomputed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cflows_core.config import RunConfig
from cflows_core.frames import SERIES, Event, Frame, Value

WARM_START = 5
N_EIGS = 4
_SIZES = {"mode": 3, "axis": 2, "pair": 3, "output": 10, "coordinate": 10}  # one eigenvalue fewer than the dimension has room for
_FLOWS = ("discrete", "stable", "central", "rod")


def frame(step: int) -> Frame:
    random = np.random.default_rng(step)
    flows: dict[str, dict[str, Value]] = {}
    for flow in _FLOWS if step >= WARM_START else _FLOWS[:1]:
        flows[flow] = {
            series.name: random.normal(size=_SIZES[series.dims[0]]) if series.dims else float(random.normal())
            for series in SERIES.values()
            if flow in series.flows
        }
    status = dict.fromkeys(flows, "running")
    if WARM_START <= step < WARM_START + 4:
        status["central"] = "settling"
        for name in ("covariance_eigs", "predicted_loss"):
            del flows["central"][name]
    events = (Event(step, "central", "rank", f"The rank is {step // 10}."),) if step % 10 == 0 else ()
    distance = {flow: float(random.random()) for flow in flows if flow != "discrete"}
    return Frame(step, 0.03 * step, 40.0 * step, flows, distance, status, events)


@pytest.fixture
def make_frame() -> Callable[[int], Frame]:
    return frame


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(n_eigs=N_EIGS, warm_start=WARM_START)


@pytest.fixture
def same_frames() -> Callable[[Frame, Frame], bool]:
    """Equality of a frame with the one that was recorded: values to the last bit, short arrays filled up with NaN."""

    def same(recorded: Frame, original: Frame) -> bool:
        names = ("step", "wall_time", "gradients", "distance", "status", "events")
        if any(getattr(recorded, name) != getattr(original, name) for name in names):
            return False
        if {f: set(v) for f, v in recorded.flows.items()} != {f: set(v) for f, v in original.flows.items()}:
            return False
        for flow, series in original.flows.items():
            for name, value in series.items():
                found = recorded.flows[flow][name]
                expected = np.append(value, np.full(np.size(found) - np.size(value), np.nan))
                if not np.array_equal(np.ravel(found), expected, equal_nan=True):
                    return False
        return True

    return same
