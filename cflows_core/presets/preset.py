"""What a named experiment is."""

from __future__ import annotations

from dataclasses import dataclass

from cflows_core.config import RunConfig


@dataclass(frozen=True)
class Preset:
    """An experiment by name. title and group: as listed. look_at: one line on what to look at."""

    name: str
    title: str
    group: str
    look_at: str
    config: RunConfig

    def available(self) -> str:
        """ "" if it can run here, else one sentence on what is missing."""
        if self.config.dataset != "cifar10":
            return ""
        from cflows_core.problems.datasets import find_cifar10

        found = find_cifar10() is not None
        return "" if found else "This preset needs CIFAR-10, which was not found: set CFLOWS_DATA_DIR to the folder of its binary files."
