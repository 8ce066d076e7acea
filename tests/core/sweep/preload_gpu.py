"""`dask worker --preload` of this file makes a worker that takes its processor for a GPU: what is asked of `cuda` is computed there."""

from __future__ import annotations

from cflows_core.problems import build

_device = build._device


def pretended(config, n_params):
    found = _device(config, n_params)
    return "cpu" if found == "cuda" else found


if _device.__name__ != pretended.__name__:  # Dask runs this file twice
    build._device = pretended
