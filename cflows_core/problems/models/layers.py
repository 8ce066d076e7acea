"""Building blocks whose first three derivatives are right, and one initialisation for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.errors import ModelError
from cflows_core.problems.signature import Signature

# Conv3x3 uses its dense matrix on grids of at most so many positions, and while it has at most so many entries (8 MB).
LARGEST_DENSE_GRID = 16
LARGEST_DENSE_MATRIX = 2**20


class GeluRelu(nn.Module):
    """(1 − s) GeLU(x) + s ReLU(x), from smooth (s = 0) to non-smooth (s = 1).

    After [CF] section 6.1 and Fig. 38, whose text says only that the activation is interpolated; this straight line is
    ours. For every s > 0 the slope jumps by s at 0, so that second derivatives hold piecewise.
    """

    def __init__(self, mix: float):
        super().__init__()
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.mix) * F.gelu(x) + self.mix * F.relu(x)

    def extra_repr(self) -> str:
        return f"mix={self.mix}"


Activation = Callable[[], nn.Module]
# By name, from `activation_mix`. GeLU is the exact x Φ(x), not its tanh approximation.
ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    "gelu": lambda mix: nn.GELU(),
    "tanh": lambda mix: nn.Tanh(),
    "silu": lambda mix: nn.SiLU(),
    "relu": lambda mix: nn.ReLU(),
    "gelu_relu": GeluRelu,
}


class Linear(nn.Module):
    """x Wᵀ + b, with weight [out, in] and bias [out]; `nn.Linear` without its draw from the global generator."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_out, n_in, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(n_out, dtype=torch.float64)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class Conv3x3(nn.Module):
    """3 × 3 convolution with padding 1 on a fixed grid (height, width): weight [out, in, 3, 3], bias [out].

    Two ways to the same numbers: on small grids the kernel is spread into a dense matrix [in·h·w, out·h·w], so that all
    derivatives are matrix products; elsewhere it is PyTorch's convolution, which vmap over weights turns into a
    grouped one.
    """

    # Measured on digits (cnn of width 16 and depth 2, 300 examples, float64, one thread), in units of PyTorch's
    # convolution in both layers; gradients are of 1, 4, 8 and 16 stacked weights:
    #   dense matrix on the 4 × 4 grid    gradient 0.80, 0.66, 0.68, 0.78    hvp 0.7    third 0.7
    #   dense matrix on 8 × 8 too         gradient 0.86, 0.53, 0.69, 0.87    hvp 0.7    third 0.7
    #   unfold and matrix product         gradient 1.25, 1.12, 1.58, 1.40    hvp 1.3    third 1.0
    # So: dense up to 16 positions (1.8 times the arithmetic, at the speed of a matrix product), never unfold. In
    # float32 the first two and the convolution are equal within 15 %.
    taps: Tensor

    def __init__(self, n_in: int, n_out: int, grid: tuple[int, int]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_out, n_in, 3, 3, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(n_out, dtype=torch.float64))
        self.grid = grid
        positions = math.prod(grid)
        self.dense = positions <= LARGEST_DENSE_GRID and n_in * n_out * positions**2 <= LARGEST_DENSE_MATRIX
        if self.dense:
            self.register_buffer("taps", _taps(*grid), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.dense:
            return F.conv2d(x, self.weight, self.bias, padding=1)
        n_out, n_in = self.weight.shape[:2]
        taps = self.taps.to(self.weight.dtype)  # float32 weights in a module kept in float64; otherwise nothing
        matrix = torch.einsum("oct,tkl->ckol", self.weight.flatten(2), taps)  # [in, h·w, out, h·w]
        product = x.flatten(1) @ matrix.reshape(n_in * len(taps[0]), -1)  # [n, out·h·w]
        return product.reshape(-1, n_out, *self.grid) + self.bias[:, None, None]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, grid={self.grid}"


def _taps(height: int, width: int) -> Tensor:
    """[9, h·w, h·w]: 1 where tap t of the kernel carries position k to position l, read off the convolution itself."""
    positions = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    kernels = torch.eye(9, dtype=torch.float64).reshape(9, 1, 3, 3)
    return F.conv2d(positions, kernels, padding=1).flatten(2).transpose(0, 1).contiguous()


class LayerNorm(nn.Module):
    """(x − mean)/√(var + ε) · scale + shift over the last dimension, written out.

    PyTorch's own is one fused operation whose higher derivatives are not all to be relied on (math.md 1).
    """

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return standardised(x, (-1,), self.eps) * self.scale + self.shift


class GroupNorm(nn.Module):
    """LayerNorm's formula over groups of `GROUP` neighbouring channels and all positions of images [n, channels, height, width]."""

    GROUP = 4

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        if channels % self.GROUP:
            raise ModelError(
                f"`width` must be a multiple of {self.GROUP}, the channels that are normalised together, got {channels}: "
                f"take {-(-channels // self.GROUP) * self.GROUP}."
            )
        self.scale = nn.Parameter(torch.ones(channels, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(channels, dtype=torch.float64))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (-1, self.GROUP))
        return standardised(groups, (2, 3, 4), self.eps).flatten(1, 2) * self.scale[:, None, None] + self.shift[:, None, None]


class RMSNorm(nn.Module):
    """x/√(mean x² + ε) · scale over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, dtype=torch.float64))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.scale


def standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x − mean)/√(var + ε), mean and variance over `dims`."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def image_shape(signature: Signature, architecture: str) -> tuple[int, int, int]:
    """(channels, height, width) of the inputs. Raises `ModelError` where they are no images."""
    if not signature.is_image:
        kind = "tokens" if signature.vocabulary else f"inputs of shape {signature.input_shape}"
        instead = "lstm, transformer or mamba" if signature.vocabulary else "the mlp"
        raise ModelError(f"The {architecture} reads images, (channels, height, width), got {kind}: use {instead} for these.")
    channels, height, width = signature.input_shape
    return channels, height, width


def initialise(module: nn.Module, seed: int) -> None:
    """Every `weight` ~ N(0, 1/fan_in), where fan_in counts the inputs of one output; all else keeps the value it was made with.

    Draws in float64 from a generator of its own, in the order of the parameters: the same on every machine, and the
    global generator is neither used nor disturbed.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.rpartition(".")[2] == "weight":
                draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
                weight.copy_(draw / math.sqrt(weight[0].numel()))
