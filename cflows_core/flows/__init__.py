"""The flows, by name."""

from __future__ import annotations

from cflows_core.flows.ablations import CentralNoCurvature, Modified
from cflows_core.flows.base import Flow
from cflows_core.flows.central import Central
from cflows_core.flows.discrete import Discrete
from cflows_core.flows.rod import Rod
from cflows_core.flows.stable import Stable
from cflows_core.flows.stationary import Stationary, StationaryLimit

_EVERY = (Discrete, Stable, Central, Rod, CentralNoCurvature, Modified, Stationary, StationaryLimit)
FLOWS: dict[str, type[Flow]] = {flow.name: flow for flow in _EVERY}
