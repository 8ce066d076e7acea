"""Layers against PyTorch's own and against their formulas written out with loops."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn
from torch.func import grad, vmap

from cflows_core.problems.models import attention, layers, lstm, mamba, resnet
from cflows_core.problems.models.vit import ViT
from cflows_core.problems.signature import Signature


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Module = TypeVar("Module", bound=nn.Module)


def drawn(module: Module) -> Module:
    """With all parameters, biases and scales too, away from the values they are made with."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.5 * normal(*parameter.shape, seed=i + 1))
    return module.requires_grad_(False)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# Convolution and activations


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 4), (4, 4), (1, 7), (5, 6)])
def test_both_convolutions_are_pytorchs(grid: tuple[int, int]) -> None:
    layer = drawn(layers.Conv3x3(3, 5, grid))
    assert layer.dense == (math.prod(grid) <= 16)
    x = normal(2, 3, *grid)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
    same(layer(x), expected)
    torch.testing.assert_close(layer.float()(x.float()), expected.float(), rtol=1e-5, atol=1e-5)


def test_a_wide_convolution_makes_no_large_matrix() -> None:
    assert layers.Conv3x3(64, 64, (4, 4)).dense
    assert not layers.Conv3x3(256, 256, (4, 4)).dense


def test_gelu_is_the_exact_one_and_mixes_with_relu() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    gelu = x * torch.as_tensor(norm.cdf(x.numpy()))
    same(layers.ACTIVATIONS["gelu"](0.0)(x), gelu)
    for mix in (0.0, 0.3, 1.0):
        mixed = layers.ACTIVATIONS["gelu_relu"](mix)
        same(mixed(x), (1 - mix) * gelu + mix * x.clamp_min(0))
        ends = torch.tensor([-1e-7, 1e-7], dtype=torch.float64)
        below, above = vmap(grad(lambda z, mixed=mixed: mixed(z)))(ends)
        assert float(above - below) == pytest.approx(mix, abs=1e-6)


# Norms


def test_norms_are_pytorchs() -> None:
    x = 2 + 3 * normal(4, 12, 3, 5)
    group = drawn(layers.GroupNorm(12))
    same(group(x), F.group_norm(x, 3, group.scale, group.shift, eps=1e-5))
    sequence = x.flatten(2)  # [4, 12, 15]
    layer, root = drawn(layers.LayerNorm(15)), drawn(layers.RMSNorm(15))
    same(layer(sequence), F.layer_norm(sequence, (15,), layer.scale, layer.shift, eps=1e-5))
    same(root(sequence), F.rms_norm(sequence, (15,), root.scale, eps=1e-5))


@pytest.mark.parametrize("layer", [layers.LayerNorm(4), layers.RMSNorm(4)])
def test_norms_of_zeros_have_derivatives(layer: nn.Module) -> None:
    """Where the variance is zero, ε keeps all three derivatives finite."""

    def value(x: Tensor) -> Tensor:
        return layer(x).square().sum()

    x = torch.zeros(4, dtype=torch.float64)
    derivative = grad(lambda x: grad(lambda x: grad(value)(x)[0])(x)[0])(x)
    assert torch.isfinite(derivative).all()


# Attention


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_pytorchs(causal: bool) -> None:
    query, key, value = normal(3, 2, 2, 7, 5)
    same(attention.attention(query, key, value, causal), F.scaled_dot_product_attention(query, key, value, is_causal=causal))


@pytest.mark.parametrize("width", [8, 20, 32])
@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_block_is_pytorchs(width: int, causal: bool) -> None:
    block = drawn(attention.Block(width, nn.GELU, causal))
    heads = attention.heads(width)
    assert heads == (4 if width == 32 else 2)
    theirs = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True, dtype=torch.float64
    )
    names = {
        "self_attn.in_proj_weight": block.attention.inwards.weight,
        "self_attn.in_proj_bias": block.attention.inwards.bias,
        "self_attn.out_proj.weight": block.attention.outwards.weight,
        "self_attn.out_proj.bias": block.attention.outwards.bias,
        "linear1.weight": block.hidden.weight,
        "linear1.bias": block.hidden.bias,
        "linear2.weight": block.out.weight,
        "linear2.bias": block.out.bias,
        "norm1.weight": block.attention_norm.scale,
        "norm1.bias": block.attention_norm.shift,
        "norm2.weight": block.norm.scale,
        "norm2.bias": block.norm.shift,
    }
    theirs.load_state_dict(names)
    x = normal(2, 6, width)
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1) if causal else None
    same(block(x), theirs(x, src_mask=mask))


def test_positions_are_sines_and_cosines() -> None:
    """Entry t, i: sin or cos of t/10000^{2i/width} (Vaswani et al., 2017); on a grid, the row's beside the column's."""

    def one(t: int, width: int) -> list[float]:
        angles = [t / 10_000 ** (2 * i / width) for i in range(width // 2)]
        return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]

    same(attention.positions(9, 12), torch.tensor([one(t, 12) for t in range(9)], dtype=torch.float64))
    grid = [one(row, 10) + one(column, 10) for row in range(3) for column in range(5)]
    same(attention.grid_positions(3, 5, 20), torch.tensor(grid, dtype=torch.float64))


@pytest.mark.parametrize(("shape", "patch"), [((1, 8, 8), 2), ((3, 32, 32), 4), ((2, 5, 7), 2), ((2, 1, 6), 1)])
def test_patches_are_those_of_a_strided_convolution(shape: tuple[int, int, int], patch: int) -> None:
    module = ViT(Signature(shape, 3), 8, 1, nn.GELU)
    drawn(module)
    assert module.patch == patch
    seen: list[Tensor] = []
    module.embed.register_forward_hook(lambda _, __, output: seen.append(output))
    x = normal(2, *shape)
    module(x)
    padded = F.pad(x, (0, -shape[2] % patch, 0, -shape[1] % patch))
    kernel = module.embed.weight.view(8, shape[0], patch, patch)
    same(seen[0], F.conv2d(padded, kernel, module.embed.bias, stride=patch).flatten(2).mT)


# Recurrent layers


def test_lstm_layers_with_tanh_are_pytorchs() -> None:
    ours = [drawn(lstm.Layer(5, 6, nn.Tanh)), drawn(lstm.Layer(6, 6, nn.Tanh))]
    theirs = nn.LSTM(5, 6, num_layers=2, batch_first=True, dtype=torch.float64).requires_grad_(False)
    for i, layer in enumerate(ours):
        getattr(theirs, f"weight_ih_l{i}").copy_(layer.inputs.weight)
        getattr(theirs, f"weight_hh_l{i}").copy_(layer.recurrent.weight)
        getattr(theirs, f"bias_ih_l{i}").copy_(layer.inputs.bias)
        getattr(theirs, f"bias_hh_l{i}").zero_()
    x = normal(3, 7, 5)
    same(ours[1](ours[0](x)), theirs(x)[0])


def test_the_activation_takes_the_place_of_tanh() -> None:
    """One step from rest: h = σ(o) act(σ(i) act(g))."""
    layer = drawn(lstm.Layer(3, 4, nn.SiLU))
    x = normal(2, 1, 3)
    i, _, g, o = (x[:, 0] @ layer.inputs.weight.T + layer.inputs.bias).chunk(4, 1)
    same(layer(x)[:, 0], o.sigmoid() * F.silu(i.sigmoid() * F.silu(g)))


# Residual block and Mamba


def test_a_residual_block_is_he_et_als() -> None:
    block = drawn(resnet.Block(8, (3, 5), nn.SiLU))
    x = normal(2, 8, 3, 5)

    def convolved(x: Tensor, layer: layers.Conv3x3, norm: layers.GroupNorm) -> Tensor:
        return F.group_norm(F.conv2d(x, layer.weight, layer.bias, padding=1), 2, norm.scale, norm.shift)

    inner = F.silu(convolved(x, block.first, block.first_norm))
    same(block(x), F.silu(x + convolved(inner, block.second, block.second_norm)))


@pytest.mark.parametrize("length", [1, 3, 9])
def test_the_causal_convolution_is_pytorchs(length: int) -> None:
    """Of one group a channel, on four past inputs; conv1d's last tap is the newest input, ours the first."""
    layer = drawn(mamba.CausalConvolution(6))
    x = normal(2, length, 6)
    expected = F.conv1d(F.pad(x.mT, (3, 0)), layer.weight.flip(1)[:, None], layer.bias, groups=6).mT
    same(layer(x), expected)


def test_the_scan_is_its_formula() -> None:
    """Loops over examples, times, channels and numbers of state, in NumPy."""
    n, length, channels, rank, size = 2, 5, 6, 2, mamba.STATE
    scan = drawn(mamba.Scan(channels, rank))
    x = normal(n, length, channels)
    p = {name: parameter.numpy() for name, parameter in scan.named_parameters()}
    low, into, out = np.split(p["project.weight"], [rank, rank + size])
    expected = np.zeros((n, length, channels))
    for e in range(n):
        h = np.zeros((channels, size))
        for t in range(length):
            u = x[e, t].numpy()
            for c in range(channels):
                step = np.log1p(np.exp(p["time.weight"][c] @ (low @ u) + p["time.bias"][c]))
                for s in range(size):
                    h[c, s] = np.exp(-step * np.exp(p["log_rates"][c, s])) * h[c, s] + step * u[c] * (into[s] @ u)
                expected[e, t, c] = h[c] @ (out @ u) + p["skip"][c] * u[c]
    same(scan(x), torch.as_tensor(expected))


def test_a_mamba_block_gates_the_scan() -> None:
    block = drawn(mamba.Block(8, nn.SiLU))
    x = normal(2, 5, 8)
    u, z = (block.norm(x) @ block.inwards.weight.T).split(16, 2)
    inner = block.scan(F.silu(block.convolution(u)))
    same(block(x), x + (inner * F.silu(z)) @ block.outwards.weight.T)
