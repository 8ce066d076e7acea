"""Devices: what is refused and said of them, full precision on a GPU, and a GPU's derivatives against the processor's."""

from __future__ import annotations

import pytest
import torch

from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.problems.build import build_problem
from cflows_core.problems.devices import usable
from cflows_core.simulation import Simulation

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
NETWORKS = [
    {"architecture": "cnn"},
    {"architecture": "resnet"},
    {"architecture": "vit", "activation": "gelu"},
    {"architecture": "lstm", "dataset": "sorting"},
    {"architecture": "transformer", "dataset": "sorting", "criterion": "cross_entropy"},
    {"architecture": "mamba", "dataset": "sorting", "activation": "silu"},
]


@pytest.fixture
def former_precision():
    """Leaves the process's precision as it was."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


def test_a_gpu_multiplies_with_all_digits(monkeypatch: pytest.MonkeyPatch, former_precision) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    assert usable("cuda") == torch.device("cuda")
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        assert backend.fp32_precision != "tf32"


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, former_precision) -> None:
    with pytest.raises(ConfigError, match=r"`device` must be cpu or cuda, got 'gpu': "):
        usable("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:3"):
        with pytest.raises(ConfigError, match=f"`device='{device}'` needs a CUDA GPU .* none was found: use device='cpu'"):
            usable(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="must be one of the 2 GPUs found: count from cuda:0"):
        usable("cuda:2")


def test_devices_that_are_not_tested_are_named() -> None:
    with pytest.warns(UserWarning, match="tested on cpu and cuda only, got device 'meta'"):
        usable("meta")


@GPU
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["architecture"])
def test_a_gpu_gives_the_processors_derivatives(network: dict) -> None:
    """float64 on both: equal but for the order of sums; float32 on the GPU: to single precision."""
    config = RunConfig(width=8, n_train=40, derivatives="exact", **network)
    here = build_problem(config.replace(device="cpu")).objective
    w = here.weights
    U = torch.randn(len(w), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    U /= U.norm(dim=0)
    for dtype, tolerance in (("float64", 1e-9), ("float32", 2e-3)):
        there = build_problem(config.replace(device="cuda", dtype=dtype)).objective
        assert there.device.type == "cuda"

        def moved(tensor: torch.Tensor, there=there) -> torch.Tensor:
            return tensor.to(there.device, there.dtype)

        for ours, theirs in (
            (here.grad(w), there.grad(moved(w))),
            (here.hvp(w, U), there.hvp(moved(w), moved(U))),
            (here.third(w, U), there.third(moved(w), moved(U))),
        ):
            error = float((theirs.cpu().double() - ours).norm() / ours.norm())
            assert error < tolerance


@GPU
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gpu_run_goes_where_the_processors_goes(dtype: str) -> None:
    """Fifty steps of all flows from the edge on: the same losses to 1e-6 (float64) and 1 % (float32, whose oscillation grows apart)."""
    config = RunConfig(lr=0.25, warm_start=100, steps=50, n_eigs=3)
    here = Simulation(config.replace(device="cpu")).advance(steps=151)[-1]
    there = Simulation(config.replace(device="cuda", dtype=dtype)).advance(steps=151)[-1]
    for flow in ("stable", "central", "rod"):
        assert there.flows[flow]["loss"] == pytest.approx(here.flows[flow]["loss"], rel=1e-6 if dtype == "float64" else 1e-2)
