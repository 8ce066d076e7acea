"""Which modules `Objective.from_module` refuses, with which sentence, and which nasty but right ones it does not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cflows_core import ModelError, Objective

FLOWS_NEED = "Flows need three right derivatives of every layer, got"


def images(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, 6, 6, generator=generator), torch.randn(n, 3, generator=generator)


def rows(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 5, generator=generator), torch.randn(n, 3, generator=generator)


def sequences(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 4, 6, generator=generator), torch.randn(n, 4, 6, generator=generator)


def made(module: nn.Module, data: tuple[Tensor, Tensor], **options) -> Objective:
    return Objective.from_module(module, *data, **{"dtype": torch.float64, **options})


def around(layer: nn.Module) -> nn.Module:
    """Five inputs, the layer on four features, three outputs; the layer is called `1`."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), layer, nn.Tanh(), nn.Linear(4, 3))


class Straight(torch.autograd.Function):
    """Rounding whose backward pretends that there is none."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * 3 * ctx.saved_tensors[0] ** 2


class Lambda(nn.Module):
    def __init__(self, function, *layers: nn.Module):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Replaced(Counting):
    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x


LAYERS = "cflows_core.problems.models.layers"
WRITTEN_OUT = f"use {LAYERS}.LayerNorm in its place, or give cflows_core.smoothed(module)."
DIFFERENTIABLE = "write it as differentiable operations, without detach(), .data or rounding."
REFUSED = {
    "layer norm": (
        around(nn.LayerNorm(4)),
        rows(),
        f"{FLOWS_NEED} a wrong third derivative from `1 (LayerNorm)`: {WRITTEN_OUT}",
    ),
    "layer norm by function": (
        around(Lambda(lambda x: F.layer_norm(x, (4,)))),
        rows(),
        f"{FLOWS_NEED} a wrong third derivative from `1 (Lambda)`: {WRITTEN_OUT}",
    ),
    "transformer": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True), 2, enable_nested_tensor=False),
        sequences(),
        f"{FLOWS_NEED} a wrong third derivative from `layers.0.norm1 (LayerNorm)`: {WRITTEN_OUT}",
    ),
    "instance norm": (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)),
        images(),
        f"{FLOWS_NEED} a wrong third derivative from `1 (InstanceNorm2d)`: "
        "use GroupNorm, with as many groups as channels for an InstanceNorm.",
    ),
    "weight norm": (
        around(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))),
        rows(),
        f"{FLOWS_NEED} a wrong second derivative from `1.parametrizations.weight.0 (_WeightNorm)`: "
        "train the plain weight, or write g·v/‖v‖ out.",
    ),
    "distances": (
        around(Lambda(lambda x: torch.cdist(x[:, None], x[:, None] ** 2).expand(-1, 4, 1)[..., 0])),
        rows(),
        f"{FLOWS_NEED} no second derivative from `1 (Lambda)` (the derivative for '_cdist_backward' is not implemented): "
        "write the distances out, (x[:, None] − y[None]).square().sum(-1).",
    ),
    "hard sigmoid": (
        around(nn.Hardsigmoid()),
        rows(),
        f"{FLOWS_NEED} no second derivative from `1 (Hardsigmoid)` (derivative for aten::hardsigmoid_backward is not implemented): "
        "use sigmoid or SiLU.",
    ),
    "bag of embeddings": (
        nn.Sequential(nn.EmbeddingBag(7, 4), nn.Tanh(), nn.Linear(4, 3)),
        (torch.arange(18).reshape(6, 3) % 7, rows()[1]),
        f"{FLOWS_NEED} no second derivative from `0 (EmbeddingBag)` (the derivative for '_embedding_bag_backward' is not implemented): "
        "use Embedding, and the mean or sum of what it gives.",
    ),
    "detached": (
        around(Lambda(lambda x: x * x.detach())),
        rows(),
        f"{FLOWS_NEED} a wrong first derivative from `1 (Lambda)`: {DIFFERENTIABLE}",
    ),
    "straight-through": (
        around(Lambda(Straight.apply)),
        rows(),
        f"{FLOWS_NEED} a wrong first derivative from `1 (Lambda)`: write the custom autograd.Function as differentiable operations.",
    ),
    "once differentiable": (
        around(Lambda(Once.apply)),
        rows(),
        f"{FLOWS_NEED} a wrong second derivative from `1 (Lambda)`: write the custom autograd.Function as differentiable operations.",
    ),
    "no gradient": (
        around(Lambda(torch.no_grad()(lambda x: x.sin()))),
        rows(),
        f"{FLOWS_NEED} a wrong first derivative from `1 (Lambda)`: {DIFFERENTIABLE}",
    ),
    "dropout": (
        around(Lambda(lambda x: F.dropout(x, 0.5))),
        rows(),
        "A loss must be a function of the weights alone, got `1 (Lambda)`, which gives other numbers at each call: "
        "call dropout with training=self.training, draw no noise.",
    ),
    "batch norm": (
        around(nn.BatchNorm1d(4, track_running_stats=False)),
        rows(),
        "Examples must not influence each other, got `1 (BatchNorm1d)`, whose outputs depend on the whole batch: "
        "use running statistics (track_running_stats=True) or GroupNorm.",
    ),
    "counter": (
        around(Counting()),
        rows(),
        "A loss must be a function of the weights alone, got `1 (Counting)`, which changes its weights or buffers when called: "
        "switch that off (max_norm, running averages).",
    ),
    "replaced buffer": (around(Replaced()), rows(), "got `1 (Replaced)`, which changes its weights or buffers"),
    "largest norm": (
        nn.Sequential(nn.Embedding(7, 4, max_norm=0.5), nn.Flatten(), nn.Linear(12, 3)),
        (torch.arange(18).reshape(6, 3) % 7, rows()[1]),
        "got `0 (Embedding)`, which changes its weights or buffers",
    ),
    "pooled batch": (around(Lambda(lambda x: x - x.mean(0))), rows(), "Examples must not influence each other, got `1 (Lambda)`"),
    "one number": (nn.Sequential(nn.Linear(5, 3), Lambda(lambda x: x.mean(0))), rows(), "one row an example, got shape [3] for 4 examples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    module, data, sentence = REFUSED[name]
    criterion = (lambda outputs, targets: outputs.square().sum()) if name == "one number" else "mse"
    if name == "batch norm":
        module.eval()
    state = torch.random.get_rng_state()
    with pytest.raises(ModelError) as refusal:
        made(module, data, criterion=criterion)
    assert sentence in str(refusal.value)
    assert str(refusal.value) == sentence or not sentence.endswith(".")
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_criterion_can_be_to_blame() -> None:
    with pytest.raises(ModelError, match="a wrong first derivative from the criterion: write it"):
        made(around(nn.Tanh()), rows(), criterion=lambda outputs, targets: (outputs * outputs.detach() - targets).square().sum(1))


def test_no_check_when_asked() -> None:
    objective = made(around(nn.LayerNorm(4)), rows(), check=False)
    assert objective.loss(objective.weights) > 0


class Residual(nn.Module):
    """As in public residual networks: convolution, batch norm, ReLU in place, shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x), inplace=True)


def residual() -> nn.Module:
    torch.manual_seed(0)
    stem = (nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    return nn.Sequential(*stem, Residual(8), Residual(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class StiffNorm(nn.Module):
    """A layer norm from plain operations on nearly equal features, with a tiny ε."""

    def forward(self, x: Tensor) -> Tensor:
        x = 1 + 1e-4 * x
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()


def zero_head() -> nn.Module:
    module = around(nn.GELU())
    nn.init.zeros_(module[-1].weight)
    nn.init.zeros_(module[-1].bias)
    return module


class Tagger(nn.Module):
    def __init__(self, recurrent: type[nn.Module]):
        super().__init__()
        self.recurrent, self.head = recurrent(6, 5, batch_first=True, bidirectional=True), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0])


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(6, 2, batch_first=True), options

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, **self.options)[0]


class TimeLast(nn.Module):
    """Rows ordered by time, then by example, [4 n, 6], back to [n, 4, 6]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (4, -1)).transpose(0, 1)


RIGHT = {
    "relu and max pool": (residual(), images()),
    "stiff norm": (around(StiffNorm()), rows()),
    "zero head": (zero_head(), rows()),
    "saturated softmax": (around(Lambda(lambda x: (300 * x).softmax(-1))), rows()),
    "LSTM": (Tagger(nn.LSTM), sequences()),
    "GRU": (Tagger(nn.GRU), sequences()),
    "time first": (nn.Sequential(Lambda(lambda x: x.transpose(0, 1).flatten(0, 1)), nn.Linear(6, 6), TimeLast()), sequences(8)),
    "attention": (SelfAttention(need_weights=False), sequences()),
    "attention with weights": (SelfAttention(), sequences()),
    "causal attention": (Lambda(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), nn.Linear(1, 1)), sequences()),
    "RMS norm": (around(nn.RMSNorm(4)), rows()),
    "group norm": (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(4, 4), nn.GELU(), nn.Flatten(), nn.Linear(64, 3)), images()),
    "max shifted": (around(Lambda(lambda x: (x - x.max(-1, keepdim=True).values.detach()).softmax(-1))), rows()),
    "constant loss": (nn.Sequential(nn.Linear(5, 3), Lambda(lambda x: F.normalize(x, dim=-1))), (rows()[0], torch.zeros(6, 3))),
    "piecewise constant": (around(Lambda(lambda x: x * (x.detach() > 0))), rows()),
}
RIGHT["causal attention"] = (nn.Sequential(nn.Linear(6, 6), RIGHT["causal attention"][0]), sequences())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", RIGHT)
def test_no_false_alarm(name: str, dtype: torch.dtype) -> None:
    """Float32 models are checked in float64; also models that stay in float32 inside."""
    module, data = RIGHT[name]
    objective = made(module, data, dtype=dtype)
    assert objective.loss(objective.weights) > 0
    points = objective.weights + 0.01 * torch.randn(3, objective.n_params, generator=torch.Generator().manual_seed(3)).to(dtype)
    losses, gradients = objective.losses_and_grads(points)
    value, gradient = objective.loss_and_grad(points[2])
    assert float(losses[2]) == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradients[2], gradient, rtol=1e-3, atol=1e-6)


def test_computing_in_float32_inside_a_float64_model() -> None:
    """As mixed-precision norms do: round-off is then float32's."""
    norm = Lambda(lambda x: (x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt()).to(x.dtype))
    assert made(around(norm), rows()).n_params > 0
    with pytest.raises(ModelError, match=r"a wrong first derivative from `1 \(Lambda\)`"):
        made(around(Lambda(lambda x: (x.float().detach() * x.float()).to(x.dtype))), rows())
    cast, back = (Lambda(lambda x, dtype=dtype: x.to(dtype)) for dtype in (torch.float32, torch.float64))
    with pytest.raises(ModelError, match=r"a wrong third derivative from `1\.1 \(LayerNorm\)`"):
        made(around(nn.Sequential(cast, nn.LayerNorm(4, elementwise_affine=False), back)), rows())
    strict = Lambda(lambda x: x @ torch.eye(4, dtype=torch.float32))  # cannot be computed in float64
    for layer in (strict, nn.Sequential(strict, nn.ReLU())):
        assert made(around(layer), rows(), dtype=torch.float32).n_params > 0


def test_kinks_are_found_and_noted() -> None:
    objective = made(residual(), images())
    assert objective.derivatives == "exact"
    assert objective.notes == (
        "The model has kinks (max pooling, ReLU): curvature is that between them and knows nothing of the jumps; "
        "smooth instead: average pooling, GELU.",
    )
    asked = made(residual(), images(), derivatives="differences")
    assert asked.derivatives == "differences"
    assert asked.notes == (
        "The model has kinks (max pooling, ReLU), which derivatives='differences' turn into eigenvalues of any size: "
        "use derivatives='exact', or average pooling, GELU.",
    )


SMOOTH = {
    "softmax": lambda x: x.softmax(-1).logsumexp(-1, keepdim=True) * x,
    "normalised": lambda x: F.normalize(x, dim=-1) + x,
    "clamped variance": lambda x: x / x.var(-1, keepdim=True).clamp_min(1e-9).sqrt(),
    "masked": lambda x: x.masked_fill(torch.tensor([True, False, False, False]), -1.0),
    "constant clamp": lambda x: x * torch.arange(4.0, dtype=x.dtype).clamp(min=1),
    "complex size": lambda x: torch.fft.fft(x).abs(),
    "turned off": lambda x: x + 0 * F.relu(x),
    "shifted": lambda x: (x - x.amax(-1, keepdim=True).detach()).exp(),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_operations_are_no_kinks(name: str) -> None:
    objective = made(around(Lambda(SMOOTH[name])), rows(), criterion="cross_entropy", check=name != "shifted")
    assert (objective.notes, objective.derivatives) == ((), "differences")


@pytest.mark.parametrize("function", [torch.abs, F.leaky_relu, F.elu, F.hardtanh, F.hardswish, lambda x: x.clamp(-0.1, 0.1), F.softshrink])
def test_kinked_functions(function) -> None:
    objective = made(around(Lambda(function)), rows(), check=False)
    assert objective.derivatives == "exact"
    assert len(objective.notes) == 1
