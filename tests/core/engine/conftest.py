"""What the engine's tests share."""

from __future__ import annotations

import pytest

import cflows_core.simulation
from cflows_core.engine.warm import warm_up
from tests.core.engine.stand_in import StandIn


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()  # imports hold the interpreter, and so every event loop in it


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Fresh(StandIn):
        threads_seen: dict[int, int] = {}  # noqa: RUF012

    monkeypatch.setattr(cflows_core.simulation, "Simulation", Fresh)
    return Fresh
