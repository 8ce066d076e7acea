"""Mamba: a selective state space model (Gu and Dao, 2024), written out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core.problems.models.layers import Activation, Linear, RMSNorm
from cflows_core.problems.models.sequence import SequenceModel
from cflows_core.problems.signature import Signature

EXPANSION = 2  # channels of a block, in widths
STATE = 4  # numbers of state a channel
TAPS = 4  # of the causal convolution
SHORTEST, LONGEST = 1e-3, 1e-1  # time steps Δ at the start, over the channels
# PyTorch's softplus is x itself above a threshold, by default 20: a jump of 2e-9 in value and slope there, which differences of gradients
# divide by the square of their step. At 40 it is below rounding.
SOFTPLUS_THRESHOLD = 40


class Scan(nn.Module):
    """The selective scan of [n, T, channels]: a linear recurrence whose coefficients depend on the input.

    Δ_t = softplus(W_Δ V_Δ x_t + b),   B_t = V_B x_t,   C_t = V_C x_t,   A = −exp(a)
    h_t = exp(Δ_t A) ⊙ h_{t−1} + Δ_t x_t B_tᵀ,      y_t = h_t C_t + d ⊙ x_t          h_t, A [channels, STATE]
    """

    def __init__(self, channels: int, rank: int):
        super().__init__()
        self.rank = rank
        self.project = Linear(channels, rank + 2 * STATE, bias=False)
        self.time = Linear(rank, channels)
        self.log_rates = nn.Parameter(torch.arange(1, STATE + 1, dtype=torch.float64).log().repeat(channels, 1))
        self.skip = nn.Parameter(torch.ones(channels, dtype=torch.float64))
        # Time scales spread evenly in the logarithm, where the original draws them; the bias is softplus⁻¹ of them.
        steps = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), channels, dtype=torch.float64)
        self.time.bias = nn.Parameter(steps.expm1().log())

    def forward(self, x: Tensor) -> Tensor:
        low, B, C = self.project(x).split([self.rank, STATE, STATE], -1)
        step = F.softplus(self.time(low), threshold=SOFTPLUS_THRESHOLD)  # [n, T, channels]
        decay = (step[..., None] * -self.log_rates.exp()).exp()  # [n, T, channels, STATE]
        drive = (step * x)[..., None] * B[:, :, None]
        state, states = drive[:, 0], [drive[:, 0]]
        for t in range(1, x.shape[1]):
            state = decay[:, t] * state + drive[:, t]
            states.append(state)
        return (torch.stack(states, 1) * C[:, :, None]).sum(-1) + self.skip * x


class CausalConvolution(nn.Module):
    """Each channel of [n, T, channels] with its own last four inputs: y_t = Σ_s weight_s x_{t−s} + bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, TAPS, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, TAPS - 1, 0))
        length = x.shape[1]
        return sum((padded[:, TAPS - 1 - s : TAPS - 1 - s + length] * self.weight[:, s] for s in range(TAPS)), self.bias)


class Block(nn.Module):
    """x + W_out (scan(act(conv(u))) ⊙ act(z)), where (u, z) = W_in norm(x), on [n, T, width]."""

    def __init__(self, width: int, activation: Activation):
        super().__init__()
        channels = EXPANSION * width
        self.norm = RMSNorm(width)
        self.inwards, self.outwards = Linear(width, 2 * channels, bias=False), Linear(channels, width, bias=False)
        self.convolution, self.scan = CausalConvolution(channels), Scan(channels, rank=-(-width // 16))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        u, z = self.inwards(self.norm(x)).chunk(2, -1)
        u = self.scan(self.activation(self.convolution(u)))
        return x + self.outwards(u * self.activation(z))


class Mamba(SequenceModel):
    """`depth` blocks and a last norm. The activation takes the place of SiLU, the usual one."""

    def __init__(self, signature: Signature, width: int, depth: int, activation: Activation):
        super().__init__(signature, width, "mamba")
        self.blocks = nn.ModuleList(Block(width, activation) for _ in range(depth))
        self.norm = RMSNorm(width)

    def body(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
