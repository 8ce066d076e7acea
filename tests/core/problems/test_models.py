"""Networks: their sizes, their first weights, what they can see, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cflows_core.config import RunConfig
from cflows_core.errors import ModelError
from cflows_core.problems import models
from cflows_core.problems.models import layers
from cflows_core.problems.models.attention import SelfAttention
from cflows_core.problems.models.resnet import Block
from cflows_core.problems.signature import Signature
from tests.core.problems.networks import IMAGES, SEQUENCES, TOKENS, USUAL, examples, flat, one_sentence, small

DIGITS = {"signature": Signature((1, 8, 8), 10), "width": 16, "depth": 2, "activation": "gelu"}
ARCHITECTURES = pytest.mark.parametrize("architecture", models.ARCHITECTURES)

# Sizes


def attention_blocks(w: int, d: int) -> int:
    return d * (4 * w + (3 * w + 3) * w + (w + 1) * w + (w + 1) * 4 * w + (4 * w + 1) * w) + 2 * w


def scan_blocks(w: int, d: int) -> int:
    e, rank = 2 * w, math.ceil(w / 16)
    convolution, scan = 4 * e + e, (rank + 8) * e + (rank + 1) * e + 4 * e + e
    return d * (w + 2 * w * e + convolution + scan + e * w) + w


# Between inputs and head, on digits (or tokens of vocabulary 4 for what reads both), and the head's inputs.
COUNTS = {
    "mlp": lambda w, d: (65 * w + (d - 1) * (w + 1) * w, w),
    "cnn": lambda w, d: ((9 + 1) * w + (d - 1) * (9 * w + 1) * w, w * (8 // 2**d) ** 2),
    "resnet": lambda w, d: ((9 + 1) * w + 2 * w + d * 2 * ((9 * w + 1) * w + 2 * w), w),
    "vit": lambda w, d: ((4 + 1) * w + attention_blocks(w, d), w),
    "lstm": lambda w, d: (4 * w + d * (8 * w * w + 4 * w), w),
    "transformer": lambda w, d: (4 * w + attention_blocks(w, d), w),
    "mamba": lambda w, d: (4 * w + scan_blocks(w, d), w),
}


@ARCHITECTURES
@pytest.mark.parametrize(("width", "depth"), [(8, 2), (16, 3), (20, 1)])
def test_parameter_counts(architecture: str, width: int, depth: int) -> None:
    signature = TOKENS if architecture in SEQUENCES else DIGITS["signature"]
    body, features = COUNTS[architecture](width, depth)
    module = models.build(architecture, signature, width=width, depth=depth, activation="gelu")
    assert models.count_parameters(module) == body + (features + 1) * signature.n_outputs
    if architecture in SEQUENCES:  # a row of eight pixels and a bias instead of a table of four tokens
        images = models.build(architecture, DIGITS["signature"], width=width, depth=depth, activation="gelu")
        assert models.count_parameters(images) == body + (8 + 1 - 4) * width + (features + 1) * 10


def test_the_size_that_the_mlp_states() -> None:
    assert models.count_parameters(models.build("mlp", **DIGITS)) == 1482


def test_usual_sizes_have_several_blocks_and_heads() -> None:
    usual = {**DIGITS, "width": RunConfig().width, "depth": RunConfig().depth}
    assert sum(isinstance(part, Block) for part in models.build("resnet", **usual).modules()) >= 2
    heads = [part.heads for part in models.build("vit", **usual).modules() if isinstance(part, SelfAttention)]
    assert len(heads) >= 2
    assert min(heads) >= 2


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (2, 1, 6), (1, 9, 1), (1, 1, 1)])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_outputs_have_one_row_an_example(shape: tuple[int, ...], depth: int) -> None:
    for architecture in models.ARCHITECTURES:
        module = models.build(architecture, Signature(shape, 3), width=4, depth=depth, activation="tanh", seed=1)
        assert module(torch.ones(2, *shape, dtype=torch.float64)).shape == (2, 3)


@ARCHITECTURES
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_multiple_of_four_is_a_width(architecture: str, shape: tuple[int, ...]) -> None:
    x = torch.ones(1, *shape)
    for width in (8, 12, 16, 20, 28, 36):
        module = models.build(architecture, Signature(shape, 10), width=width, depth=2, activation="gelu", dtype=torch.float32)
        assert module(x).shape == (1, 10)
        assert module(x).dtype == torch.float32


@ARCHITECTURES
def test_stacked_weights_give_each_ones_outputs(architecture: str) -> None:
    module = small(architecture)
    x, _ = examples(USUAL[architecture][0])
    stacked = {name: torch.stack([value, 2 * value]) for name, value in module.named_parameters()}
    together = vmap(lambda weights: functional_call(module, weights, (x,)))(stacked)
    apart = [functional_call(module, {name: value[i] for name, value in stacked.items()}, (x,)) for i in range(2)]
    torch.testing.assert_close(together, torch.stack(apart))


@ARCHITECTURES
def test_no_device_is_hard_coded(architecture: str) -> None:
    """On PyTorch's device without memory, which does not mix with any other."""
    for signature in {USUAL[architecture][0], IMAGES}:
        x, _ = examples(signature)
        assert small(architecture, signature).to("meta")(x.to("meta")).device.type == "meta"


# First weights


@ARCHITECTURES
def test_weights_have_variance_one_over_fan_in(architecture: str) -> None:
    signature = TOKENS if architecture in SEQUENCES else DIGITS["signature"]
    module = models.build(architecture, **{**DIGITS, "signature": signature, "width": 96})
    for name, parameter in module.named_parameters():
        kind = name.rpartition(".")[2]
        if kind == "weight":
            expected = getattr(module, "HEAD_SCALE", 1.0) if name == "head.weight" else 1.0
            scale = parameter.detach().std() * math.sqrt(parameter[0].numel()) / expected
            # The sample deviation of N normal numbers has a relative error of 1/sqrt(2N); four of those.
            assert abs(float(scale) - 1) < 4 / math.sqrt(2 * parameter.numel()), name
        elif name.endswith("time.bias"):  # Mamba's time steps
            steps = F.softplus(parameter.detach())
            torch.testing.assert_close(steps[[0, -1]], torch.tensor([1e-3, 1e-1], dtype=torch.float64))
            torch.testing.assert_close(steps.log().diff(), steps.log().diff()[:1].expand(len(steps) - 1))
        elif kind == "log_rates":
            torch.testing.assert_close(parameter.detach().exp(), torch.tensor([1.0, 2, 3, 4], dtype=torch.float64).expand(192, 4))
        else:
            assert kind in ("bias", "shift", "scale", "skip"), name
            assert (parameter == (1.0 if kind in ("scale", "skip") else 0.0)).all(), name


@ARCHITECTURES
def test_a_seed_fixes_the_weights_whatever_the_global_generator_does(architecture: str) -> None:
    before = torch.get_rng_state()
    first = flat(models.build(architecture, **DIGITS, seed=7))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12345)
    assert torch.equal(first, flat(models.build(architecture, **DIGITS, seed=7)))
    assert not torch.equal(first, flat(models.build(architecture, **DIGITS, seed=8)))


@ARCHITECTURES
def test_float32_starts_from_the_same_weights(architecture: str) -> None:
    double = models.build(architecture, **DIGITS, seed=2)
    single = models.build(architecture, **DIGITS, seed=2, dtype=torch.float32)
    assert flat(single).dtype == torch.float32
    assert torch.equal(flat(single), flat(double).float())
    x = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    torch.testing.assert_close(single(x).double(), double(x.double()), rtol=1e-4, atol=1e-5)


@ARCHITECTURES
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

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1))

    monkeypatch.setitem(models.ARCHITECTURES, "linear", OneLayer)
    assert models.count_parameters(models.build("linear", **DIGITS)) == 650


# What is seen


@pytest.mark.parametrize("architecture", SEQUENCES)
def test_an_answer_depends_on_the_tokens_before_it_alone(architecture: str) -> None:
    """Answer a stands at position 7 + a: it is the same whatever comes later, and another for every earlier token."""
    module = small(architecture).requires_grad_(False)
    x, _ = examples(TOKENS)
    answers = module(x)
    assert answers.shape == (4, 8, 4)
    for position in range(15):
        changed = x.clone()
        changed[:, position] = (x[:, position] + 1) % 4
        difference = (module(changed) - answers).abs().amax((0, 2))  # [8], by answer
        later = max(0, position - 7)
        assert not difference[:later].any()
        assert (difference[later:] > 1e-8).all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 7)])
@pytest.mark.parametrize("architecture", ["resnet", "vit", *SEQUENCES])
def test_every_pixel_counts(architecture: str, shape: tuple[int, ...]) -> None:
    """Also in a last patch that is not full, and in the odd last row that a pool drops after a convolution has seen it."""
    module = small(architecture, Signature(shape, 3))
    x = torch.randn(1, *shape, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(module(x).square().sum(), x)
    assert (slope.abs() > 1e-12).all()


def test_a_transformer_is_causal_only_where_it_goes_on() -> None:
    """On images its first position, too, sees the last row."""
    for signature, sees in ((IMAGES, True), (TOKENS, False)):
        module = small("transformer", signature)
        x = torch.randn(1, 6, 8, dtype=torch.float64) if sees else torch.randn(1, 15, 8, dtype=torch.float64)
        x.requires_grad_()
        (slope,) = torch.autograd.grad(module.body(x)[0, 0].square().sum(), x)
        assert bool(slope[0, -1].any()) == sees


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
        *(({"architecture": name, "width": 10}, "multiple of 4.*got 10: take 12") for name in ("resnet", "vit", "transformer")),
        *(({"architecture": name, "signature": Signature((64,), 10)}, r"\(64,\)") for name in models.ARCHITECTURES if name != "mlp"),
        *(({"architecture": name, "signature": TOKENS}, "got tokens") for name in ("mlp", "cnn", "resnet", "vit")),
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
    one_sentence(caught.value)
