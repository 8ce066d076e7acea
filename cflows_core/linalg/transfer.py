"""Small matrices between a tensor's device and the host, where LAPACK on a 6 × 6 costs less than a kernel launch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def host(tensor: Tensor) -> Array:
    """A small tensor as float64 on the host (without a copy where it is there already)."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def to_device(array: Array, like: Tensor) -> Tensor:
    """A host array as a tensor of `like`'s dtype and device."""
    return torch.from_numpy(np.array(array)).to(dtype=like.dtype, device=like.device)
