"""`dask worker --preload` of this file makes a worker that takes its processor for a GPU: what is asked of `cuda` is computed there."""

from __future__ import annotations

from cflows_core.problems import build

_device = getattr(build._device, "inner", build._device)  # Dask runs this file twice


def _pretended(config, n_params):
    found = _device(config, n_params)
    return "cpu" if found == "cuda" else found


_pretended.inner = _device
build._device = _pretended
