"""Networks: their sizes, their first weights, and three derivatives against differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from cflows_core.errors import ModelError
from cflows_core.problems import criteria, models
from cflows_core.problems.models import layers
from cflows_core.problems.signature import Signature

DIGITS = {"signature": Signature((1, 8, 8), 10), "width": 16, "depth": 2, "activation": "gelu"}
# Forward mode makes PyTorch compile its own decompositions with a deprecated call, once a process.
FORWARD = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def loss_of(module: nn.Module, criterion: str, n: int = 6, shape: tuple[int, ...] = (1, 8, 8), classes: int = 3):
    """The mean loss on random data as a function of flat weights."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    y = criteria.encode(torch.randint(classes, (n,), generator=generator), classes, criterion)
    names = [name for name, _ in module.named_parameters()]
    shapes = [parameter.shape for parameter in module.parameters()]
    sizes = [parameter.numel() for parameter in module.parameters()]

    def loss(w: torch.Tensor) -> torch.Tensor:
        pieces = {name: part.view(s) for name, part, s in zip(names, w.split(sizes), shapes, strict=True)}
        return criteria.get(criterion)(functional_call(module, pieces, (x,)), y).mean()

    return loss


def small(architecture: str, activation: str, mix: float = 0.0) -> nn.Module:
    return models.build(
        architecture,
        Signature((1, 8, 8), 3),
        width=4,
        depth=2,
        activation=activation,
        activation_mix=mix,
        seed=3,
    )


# Sizes and first weights


def test_parameter_counts() -> None:
    assert models.count_parameters(models.build("mlp", **DIGITS)) == 1482
    assert models.count_parameters(models.build("cnn", **DIGITS)) == (9 + 1) * 16 + (9 * 16 + 1) * 16 + (64 + 1) * 10
    rgb = {**DIGITS, "signature": Signature((3, 32, 32), 10), "depth": 3}
    cnn = models.build("cnn", **rgb)
    assert models.count_parameters(cnn) == (27 + 1) * 16 + 2 * (144 + 1) * 16 + (16 * 16 + 1) * 10


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (2, 1, 6), (1, 1, 1)])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_outputs_have_one_row_an_example(shape: tuple[int, ...], depth: int) -> None:
    for architecture in models.ARCHITECTURES:
        module = models.build(architecture, Signature(shape, 3), width=4, depth=depth, activation="tanh", seed=1)
        assert module(torch.ones(2, *shape, dtype=torch.float64)).shape == (2, 3)


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_weights_have_variance_one_over_fan_in(architecture: str) -> None:
    module = models.build(architecture, **{**DIGITS, "width": 96})
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            assert not parameter.any()
        else:
            scale = parameter.detach().std() * math.sqrt(parameter[0].numel())
            # The sample deviation of N normal numbers has a relative error of 1/sqrt(2N); four of those.
            assert abs(float(scale) - 1) < 4 / math.sqrt(2 * parameter.numel()), name


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_a_seed_fixes_the_weights_whatever_the_global_generator_does(architecture: str) -> None:
    before = torch.get_rng_state()
    first = flat(models.build(architecture, **DIGITS, seed=7))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12345)
    assert torch.equal(first, flat(models.build(architecture, **DIGITS, seed=7)))
    assert not torch.equal(first, flat(models.build(architecture, **DIGITS, seed=8)))


def test_float32_starts_from_the_same_weights() -> None:
    double = models.build("cnn", **DIGITS, seed=2)
    single = models.build("cnn", **DIGITS, seed=2, dtype=torch.float32)
    assert flat(single).dtype == torch.float32
    assert torch.equal(flat(single), flat(double).float())
    x = torch.ones(2, 1, 8, 8)
    torch.testing.assert_close(single(x).double(), double(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_head_scale_multiplies_the_output_layers_weights_alone(architecture: str) -> None:
    usual = dict(models.build(architecture, **DIGITS).named_parameters())
    small = dict(models.build(architecture, **DIGITS, head_scale=0.05).named_parameters())
    for name in usual:
        torch.testing.assert_close(small[name], usual[name] * (0.05 if name == "head.weight" else 1.0))


def test_a_new_architecture_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneLayer(nn.Module):
        def __init__(self, signature, width, depth, activation):
            super().__init__()
            self.head = layers.Linear(math.prod(signature.input_shape), signature.n_outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1))

    monkeypatch.setitem(models.ARCHITECTURES, "linear", OneLayer)
    assert models.count_parameters(models.build("linear", **DIGITS)) == 650


# Layers


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 4), (4, 4), (1, 7), (5, 6)])
def test_both_convolutions_are_pytorchs(grid: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = layers.Conv3x3(3, 5, grid)
    layers.initialise(layer, 1)
    layer.bias.data.normal_(generator=generator)
    assert layer.dense == (math.prod(grid) <= 16)
    x = torch.randn(2, 3, *grid, generator=generator, dtype=torch.float64)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.float()(x.float()), expected.float(), rtol=1e-5, atol=1e-5)


def test_a_wide_convolution_makes_no_large_matrix() -> None:
    assert layers.Conv3x3(64, 64, (4, 4)).dense
    assert not layers.Conv3x3(256, 256, (4, 4)).dense


def test_gelu_is_the_exact_one_and_mixes_with_relu() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    gelu = x * torch.as_tensor(norm.cdf(x.numpy()))
    torch.testing.assert_close(layers.ACTIVATIONS["gelu"](0.0)(x), gelu, rtol=1e-12, atol=1e-12)
    for mix in (0.0, 0.3, 1.0):
        mixed = layers.ACTIVATIONS["gelu_relu"](mix)
        torch.testing.assert_close(mixed(x), (1 - mix) * gelu + mix * x.clamp_min(0), rtol=1e-12, atol=1e-12)
        ends = torch.tensor([-1e-7, 1e-7], dtype=torch.float64)
        below, above = vmap(grad(lambda z, mixed=mixed: mixed(z)))(ends)
        assert float(above - below) == pytest.approx(mix, abs=1e-6)


# Derivatives

ACTIVATIONS = [("gelu", 0.0), ("tanh", 0.0), ("silu", 0.0), ("relu", 0.0), ("gelu_relu", 0.4)]


def slope(function, h: float) -> torch.Tensor:
    """f'(0) by five points: an error of h⁴ f⁽⁵⁾/30."""
    return (function(-2 * h) - 8 * function(-h) + 8 * function(h) - function(2 * h)) / (12 * h)


def signs(module: nn.Module, loss, w: torch.Tensor) -> torch.Tensor:
    """The side of its kink on which every unit is, at weights w."""
    seen: list[torch.Tensor] = []
    activation = module.get_submodule("activation")
    handle = activation.register_forward_hook(lambda _, inputs, __: seen.append((inputs[0] > 0).reshape(-1)))
    loss(w)
    handle.remove()
    return torch.cat(seen)


def smooth_line(module: nn.Module, loss, h: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights and two unit directions such that no unit crosses its kink within the stencils along them."""
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        w = flat(module) + 0.1 * torch.randn(flat(module).shape, generator=generator, dtype=torch.float64)
        u, v = F.normalize(torch.randn(2, len(w), generator=generator, dtype=torch.float64), dim=1)
        here = signs(module, loss, w)
        if all(torch.equal(here, signs(module, loss, w + s * h * d)) for s in (-2, -1, 1, 2) for d in (u, v)):
            return w, u, v
    raise AssertionError("no smooth line found")


@pytest.mark.parametrize(("activation", "mix"), ACTIVATIONS)
@pytest.mark.parametrize("criterion", ["mse", "cross_entropy"])
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_three_derivatives_against_differences(architecture: str, criterion: str, activation: str, mix: float) -> None:
    """Each derivative, by nested autograd, against a difference of the one before; the first against one of the loss.

    Kinked activations are piecewise smooth, and are compared between kinks, with a step that crosses none. Five points
    leave h⁴ (1e-12 at the smooth ones' h = 1e-3; the kinked ones have h = 1e-5) and round-off 1e-16/h: 1e-9 relative to
    the sizes of order one here.
    """
    h = 1e-3 if activation in ("gelu", "tanh", "silu") else 1e-5
    module = small(architecture, activation, mix)
    loss = loss_of(module, criterion)
    w, u, v = smooth_line(module, loss, h)

    def gradient(w: torch.Tensor) -> torch.Tensor:
        return grad(loss)(w)

    def curvature(w: torch.Tensor) -> torch.Tensor:
        return grad(lambda w: gradient(w) @ u)(w) @ u

    def third(w: torch.Tensor) -> torch.Tensor:
        return grad(curvature)(w)

    tolerance = 1e-9
    assert float(gradient(w) @ u) == pytest.approx(float(slope(lambda t: loss(w + t * u), h)), rel=1e-8, abs=tolerance)
    assert float(curvature(w)) == pytest.approx(float(slope(lambda t: gradient(w + t * u) @ u, h)), rel=1e-8, abs=tolerance)
    assert float(third(w) @ v) == pytest.approx(float(slope(lambda t: curvature(w + t * v), h)), rel=1e-8, abs=tolerance)
    assert abs(float(curvature(w))) > 1e-5  # the comparison means something
    assert abs(float(third(w) @ v)) > 1e-5


@FORWARD
@pytest.mark.parametrize(("activation", "mix"), ACTIVATIONS)
@pytest.mark.parametrize("criterion", ["mse", "cross_entropy"])
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_every_way_of_differentiating_agrees(architecture: str, criterion: str, activation: str, mix: float) -> None:
    """Stacked weights under vmap, forward over reverse, and plain nested reverse mode: all equal."""
    module = small(architecture, activation, mix)
    loss = loss_of(module, criterion)
    generator = torch.Generator().manual_seed(9)
    base = flat(module)
    stacked = base + 0.1 * torch.randn(3, len(base), generator=generator, dtype=torch.float64)
    v = F.normalize(torch.randn(len(base), generator=generator, dtype=torch.float64), dim=0)

    def hvp(w: torch.Tensor) -> torch.Tensor:
        return grad(lambda w: grad(loss)(w) @ v)(w)

    def third(w: torch.Tensor) -> torch.Tensor:
        return grad(lambda w: hvp(w) @ v)(w)

    def forward_third(w: torch.Tensor) -> torch.Tensor:
        return jvp(lambda w: jvp(grad(loss), (w,), (v,))[1], (w,), (v,))[1]

    def nested(w: torch.Tensor) -> torch.Tensor:
        leaf = w.clone().requires_grad_()
        value = loss(leaf)
        for _ in range(2):
            value = torch.autograd.grad(value, leaf, create_graph=True)[0] @ v
        return torch.autograd.grad(value, leaf)[0]

    for function in (grad(loss), hvp, third):
        torch.testing.assert_close(vmap(function)(stacked), torch.stack([function(w) for w in stacked]))
    reference = vmap(third)(stacked)
    torch.testing.assert_close(vmap(forward_third)(stacked), reference)
    torch.testing.assert_close(torch.stack([nested(w) for w in stacked]), reference)
    # The stacked path of Objective: only the forward pass is vectorised.
    leaf = stacked.clone().requires_grad_()
    behind = torch.autograd.grad(vmap(loss)(leaf).sum(), leaf)[0]
    torch.testing.assert_close(behind, vmap(grad(loss))(stacked))


# What is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "resnet9"}, "'resnet9'"),
        ({"activation": "sine"}, "'sine'"),
        ({"width": 0}, "`width`"),
        ({"depth": 1.5}, "`depth`"),
        ({"signature": Signature((1, 8, 8), -1)}, "`n_outputs`"),
        ({"signature": Signature((1, 0, 8), 10)}, "`input_shape`"),
        ({"architecture": "cnn", "signature": Signature((64,), 10)}, r"\(64,\)"),
        ({"activation_mix": 1.2}, "got 1.2"),
        ({"head_scale": 0.0}, "got 0.0"),
        ({"head_scale": math.nan}, "got nan"),
        ({"seed": -1}, "got -1"),
        ({"dtype": torch.float16}, "float16"),
    ],
)
def test_refusals_are_one_sentence(change: dict, says: str) -> None:
    arguments = {"architecture": "mlp", **DIGITS, **change}
    with pytest.raises(ModelError, match=says) as caught:
        models.build(arguments.pop("architecture"), **arguments)
    message = str(caught.value)
    assert message.endswith(".")
    assert ". " not in message
