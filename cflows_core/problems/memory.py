"""Memory: how much a forward pass keeps for its backward pass (measured, so that any module's data can be chunked), and reusing it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def saved_bytes_per_example(loss: Callable[..., Tensor], weights: Tensor, data: tuple[Tensor, ...]) -> float:
    """Bytes that one forward pass saves for each further example.

    Measured on two small batches, whose difference leaves out what does not grow with the batch (the weights themselves). 0 with one
    example.
    """
    n = len(data[0])
    small, large = min(n, 2), min(n, 4)
    if large == small:
        return float(_saved_bytes(loss, weights, data, small)) / max(1, small)
    difference = _saved_bytes(loss, weights, data, large) - _saved_bytes(loss, weights, data, small)
    return max(0.0, difference / (large - small))


def _saved_bytes(loss: Callable[..., Tensor], weights: Tensor, data: tuple[Tensor, ...], size: int) -> int:
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)  # a storage must stay alive, or its address is used again
        return tensor

    kept: list[Tensor] = []
    batch = tuple(tensor[:size].clone() for tensor in data)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(weights.detach().requires_grad_(), *batch)
    return sum(storages.values())


@cache
def reuse_freed_memory() -> None:
    """Let the C library keep the memory that large temporaries leave, for the next ones, instead of returning it to the system.

    Fresh memory costs a page fault every 4 KiB: up to half the time of a step on a million weights. For glibc; elsewhere nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
