"""The flows, by name."""

from __future__ import annotations

from cflows_core.flows.base import Flow
from cflows_core.flows.central import Central
from cflows_core.flows.discrete import Discrete
from cflows_core.flows.rod import Rod
from cflows_core.flows.stable import Stable

FLOWS: dict[str, type[Flow]] = {flow.name: flow for flow in (Discrete, Stable, Central, Rod)}
