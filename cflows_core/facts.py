"""`Facts`: what is known of a run beside its numbers: how large, where and how it computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cflows_core.problems.objective import Objective

# How second and third derivatives are taken, in words.
DERIVATIVES = {"exact": "exact derivatives", "differences": "derivatives by differences of gradients"}


@dataclass(frozen=True)
class Facts:
    """Recorded with a stored run, and sent from the worker to whoever watches a live one; "" or 0 where it is not known.

    parameters: number of weights. device: as PyTorch names it. device_name: the GPU's own name, "" for a CPU. dtype: float64 or float32.
    threads: PyTorch's CPU threads. derivatives: a key of `DERIVATIVES`: what `derivatives="auto"` came to.

    >>> Facts.from_plain({"device": "cpu", "threads": 2}).where
    'CPU, 2 threads'
    """

    parameters: int = 0
    device: str = ""
    device_name: str = ""
    dtype: str = ""
    threads: int = 0
    derivatives: str = ""

    @classmethod
    def of(cls, objective: Objective) -> Facts:
        """Those of an objective in the calling thread, whose PyTorch setting counts."""
        import torch

        device = torch.device(objective.device)
        return cls(
            parameters=objective.n_params,
            device=str(device),
            device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
            dtype=str(objective.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            derivatives=objective.derivatives,
        )

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Facts:
        """From a mapping that may hold more, such as a stored run's document, or less."""
        return cls(**{field.name: plain[field.name] for field in fields(cls) if field.name in plain})

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def where(self) -> str:
        """The device in words, with the threads where they matter; "" if unknown."""
        if not self.device.startswith("cpu"):
            return self.device_name or self.device
        return "CPU" + (f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else "")

    @property
    def how(self) -> str:
        """How derivatives are taken, in words; "" if unknown."""
        return DERIVATIVES.get(self.derivatives, "")
