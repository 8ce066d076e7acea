"""Any module as flat weights: the same loss and gradient as torch's own, in every form of inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cflows_core as cf
from cflows_core import DataError, ModelError, Objective, RunConfig, Simulation, smoothed
from cflows_core.frames import Event


def data(n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.randn(n, 2, generator=generator, dtype=torch.float64)


def half_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs - targets).square().sum(1).mean()


def assert_as_torch(objective: Objective, module: nn.Module, loss: Tensor) -> None:
    """The objective's loss and gradient at its initial weights are those of `loss`, which was computed with `module` itself."""
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    value, gradient = objective.loss_and_grad(objective.weights)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert list(objective.parameters(objective.weights)) == list(trained)
    for name, ours in objective.parameters(objective.weights).items():
        torch.testing.assert_close(ours, trained[name].detach(), rtol=0, atol=0)
    for name, ours in objective.parameters(gradient).items():
        torch.testing.assert_close(ours, gradients[name], rtol=1e-11, atol=1e-14)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 2)
        self.register_buffer("scale", torch.tensor([0.5, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    return module


def normed() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.GELU(), nn.Dropout(0.5), nn.Linear(3, 2))
    for _ in range(3):
        module(torch.randn(8, 4))  # running statistics that are not trivial
    return module


@pytest.mark.parametrize("make", [Tied, frozen, normed])
def test_loss_and_gradient_are_torchs_own(make) -> None:
    torch.manual_seed(0)
    module, (x, y) = make().double(), data()
    objective = Objective.from_module(module, x, y)
    module.eval()
    assert_as_torch(objective, module, half_squares(module(x), y))


def test_weights_go_back_into_the_module() -> None:
    torch.manual_seed(0)
    module, (x, y) = normed().double(), data()
    objective = Objective.from_module(module, x, y)
    w = objective.weights + 0.1
    module.load_state_dict(objective.parameters(w), strict=False)
    torch.testing.assert_close(module.eval()(x).detach(), objective.outputs(w, x), rtol=1e-12, atol=1e-14)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(3, 2)

    def forward(self, left: Tensor, right: Tensor, mask: Tensor | None = None) -> Tensor:
        mixed = torch.tanh(self.left(left)) * self.right(right)
        return mixed if mask is None else mixed * mask[:, None]


@pytest.mark.parametrize("chunks", [False, True])
def test_tuples_and_dicts(chunks: bool) -> None:
    torch.manual_seed(0)
    module, (x, y) = Pair().double(), data(9)
    right, mask = torch.randn(9, 3).double(), torch.arange(9) % 2 == 0
    memory = {"max_memory": 1e-6} if chunks else {}
    by_place = Objective.from_module(module, (x, right), y, **memory)
    by_name = Objective.from_module(module, {"right": right, "mask": mask, "left": x}, y, **memory)
    assert (len(list(by_place._chunks(1))) > 1) == chunks
    assert_as_torch(by_place, module, half_squares(module(x, right), y))
    assert_as_torch(by_name, module, half_squares(module(x, right, mask), y))
    outputs = by_name.outputs(by_name.weights, {"left": x[:2], "right": right[:2]})
    torch.testing.assert_close(outputs, module(x[:2], right[:2]).detach())


class Returns(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.layer, self.form = nn.Linear(4, 2), form

    def forward(self, x: Tensor):
        return self.form(self.layer(x))


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda y: {"logits": y, "hidden": None}, None),
        (lambda y: SimpleNamespace(logits=y), None),
        (lambda y: (None, y, y[:1]), None),
        (lambda y: [y], None),
        (lambda y: {"prediction": y}, lambda result: result["prediction"]),
    ],
)
def test_outputs_of_many_forms(form, output) -> None:
    module, (x, y) = Returns(form).double(), data()
    objective = Objective.from_module(module, x, y, output=output)
    assert_as_torch(objective, module, half_squares(module.layer(x), y))


def test_refusals() -> None:
    x, y = data()
    linear = nn.Linear(4, 2)
    half = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).half())
    cases = [
        (
            lambda: Objective.from_module(Returns(lambda y: {"out": y}).double(), x, y),
            ModelError,
            "with `logits`, or a tuple.*got dict: give output",
        ),
        (lambda: Objective.from_module(linear.double(), x, y, output=str), ModelError, "got str from `output`"),
        (lambda: Objective.from_module(nn.Linear(4, 2).requires_grad_(False), x, y), ModelError, "got 2 that are all frozen"),
        (lambda: Objective.from_module(half, x, y), ModelError, "all float64 or all float32, got float16 and float32: give dtype"),
        (lambda: Objective.from_module(nn.Linear(4, 2).bfloat16(), x, y), ModelError, "got bfloat16"),
        (lambda: Objective.from_module(nn.LazyLinear(2), x, y), ModelError, "lazy layers"),
        (lambda: Objective.from_module(linear, x.numpy(), y), DataError, "a dict of tensors, got ndarray: torch.as_tensor"),
        (lambda: Objective.from_module(linear, (), y), DataError, "got tuple"),
        (lambda: Objective.from_module(Pair(), (x, x[:3]), y), DataError, "equally many and at least one, got 3 and 7"),
        (lambda: Objective.from_function(lambda w: w.sum(), 2).outputs(x, x), ModelError, "has outputs, got one made from a function"),
        (lambda: Objective.from_function(lambda w: w.sum(), 2).parameters(x), ModelError, "has parameters"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    assert Objective.from_module(half, x, y, dtype=torch.float64).dtype == torch.float64


def test_modules_that_cannot_be_copied() -> None:
    module = nn.Linear(4, 2).double()
    module.remembered = module.weight * 2
    with pytest.raises(ModelError, match="must be copyable, got Linear with"):
        Objective.from_module(module, *data())


def test_padding_rows_are_weights_like_any_other() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5, 3, padding_idx=0, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(6, 2)).double()
    tokens = torch.tensor([[0, 1], [2, 2], [3, 0]])
    objective = Objective.from_module(module, tokens, data()[1][:3])
    assert objective.notes == ("The padding row 0 of `0` is trained where it reaches the loss: a mask keeps it out.",)
    assert module[0].padding_idx == 0
    plain = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    plain.load_state_dict(module.state_dict())
    assert_as_torch(objective, plain, half_squares(plain(tokens), data()[1][:3]))


class Branching(nn.Module):
    """Control flow that depends on computed values: no vmap."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return torch.tanh(y) if y.sum() < 1e9 else y


def test_without_vmap_gradients_are_taken_one_by_one() -> None:
    torch.manual_seed(0)
    objective = Objective.from_module(Branching().double(), *data())
    points = objective.weights + torch.randn(3, objective.n_params).double()
    losses, gradients = objective.losses_and_grads(points)
    assert objective._stacks is False
    for point, loss, gradient in zip(points, losses, gradients, strict=True):
        value, single = objective.loss_and_grad(point)
        assert float(loss) == value
        assert torch.equal(single, gradient)
    function = Objective.from_function(lambda w: w.square().sum() if w.sum() > 0 else w.sum(), 2)
    torch.testing.assert_close(function.losses_and_grads(torch.eye(2).double())[1], 2 * torch.eye(2).double())


def test_notes_are_events_of_the_first_frame() -> None:
    torch.manual_seed(0)
    objective = Objective.from_module(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double(), *data())
    simulation = Simulation(RunConfig(steps=2, warm_start=1, lr=0.1, flows=["stable"], observe=[]), objective, objective.weights)
    frames = list(simulation)
    told = [event for event in frames[0].events if event.kind == "note"]
    assert told == [Event(0, "", "note", objective.notes[0])]
    assert not [event for frame in frames[1:] for event in frame.events if event.kind == "note"]


# A language model as in Hugging Face's library, on tokens


@dataclass
class Config:
    vocab_size: int = 11
    hidden_size: int = 8
    num_heads: int = 2
    num_layers: int = 1
    max_positions: int = 6
    pad_token_id: int = 0
    dropout: float = 0.1


@dataclass
class ModelOutput:
    logits: Tensor
    loss: Tensor | None = None


class RMSNorm(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


class Block(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.norm, self.norm_mlp = RMSNorm(config.hidden_size), RMSNorm(config.hidden_size)
        self.qkv, self.out = nn.Linear(config.hidden_size, 3 * config.hidden_size), nn.Linear(config.hidden_size, config.hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, 16), nn.GELU(), nn.Linear(16, config.hidden_size), nn.Dropout(config.dropout)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, length, size = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, length, 3, self.config.num_heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.config.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, size))
        return x + self.mlp(self.norm_mlp(x))


class CausalLM(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.positions = nn.Embedding(config.max_positions, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.weight = self.tokens.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> ModelOutput:
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        mask = causal if attention_mask is None else causal & attention_mask[:, None, None, :].bool()
        x = self.tokens(input_ids) + self.positions(torch.arange(length, device=input_ids.device))
        for block in self.blocks:
            x = block(x, mask)
        return ModelOutput(self.lm_head(self.norm(x)))


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the counted positions of each example, [n]."""
    counted = targets != -100
    chosen = outputs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return ((outputs.logsumexp(-1) - chosen) * counted).sum(1) / counted.sum(1)


@pytest.fixture
def language() -> tuple[CausalLM, dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    module = CausalLM(Config()).double()
    ids = torch.randint(1, 11, (6, 6), generator=torch.Generator().manual_seed(1))
    attended = torch.ones_like(ids)
    attended[:2, 4:] = 0
    ids[:2, 4:] = 0
    labels = torch.cat([ids[:, 1:], torch.full((6, 1), -100)], 1)
    labels[:2, 3:] = -100
    return module, {"input_ids": ids, "attention_mask": attended}, labels


def test_a_language_model(language) -> None:
    module, inputs, labels = language
    objective = Objective.from_module(module, inputs, labels, token_loss, derivatives="exact")
    assert "lm_head.weight" not in objective.parameters(objective.weights)
    module.eval()
    assert_as_torch(objective, module, token_loss(module(**inputs).logits, labels).mean())
    w = objective.weights
    U = torch.randn(len(w), 2, generator=torch.Generator().manual_seed(2)).double()
    step = 1e-5
    slopes = [(objective.grad(w + step * u) - objective.grad(w - step * u)) / (2 * step) for u in U.T]
    torch.testing.assert_close(objective.hvp(w, U), torch.stack(slopes, 1), rtol=0, atol=1e-6 * float(slopes[0].abs().max()))
    U = U / U.norm(dim=0)
    bends = [(objective.hvp(w + 1e-4 * u, U) - objective.hvp(w - 1e-4 * u, U)) / 2e-4 for u in U.T]
    third = torch.stack([bends[0][:, 0], bends[0][:, 1], bends[1][:, 1]])
    torch.testing.assert_close(objective.third(w, U), third, rtol=0, atol=1e-5 * float(third.abs().max()))
    differences = Objective.from_module(module, inputs, labels, token_loss)
    assert differences.derivatives == "differences"
    torch.testing.assert_close(differences.third(w, U), third, rtol=0, atol=1e-3 * float(third.abs().max()))
    assert differences._stacks


def test_attention_is_recorded_and_replayed(language) -> None:
    """Small models' gradients are recorded at their 40th call (replay.py): with the plain kernels, to the same bits."""
    module, inputs, labels = language
    objective = Objective.from_module(module, inputs, labels, token_loss, check=False)
    value, gradient = objective.loss_and_grad(objective.weights)
    for _ in range(40):
        objective.loss_and_grad(objective.weights)
    assert objective._one._recorded is not None
    replayed = objective.loss_and_grad(objective.weights)
    assert value == replayed[0]
    assert torch.equal(gradient, replayed[1])


def test_the_users_settings_of_kernels_are_left_alone(language) -> None:
    module, inputs, labels = language
    before = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled)
    Objective.from_module(module, inputs, labels, token_loss)
    assert before == (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled)


def test_a_language_model_runs(language) -> None:
    module, inputs, labels = language
    objective = Objective.from_module(module, inputs, labels, token_loss)
    config = RunConfig(lr=0.5, steps=20, warm_start=0, flows=["stable", "central"], n_eigs=2, observe=[])
    frames = list(cf.Simulation(config, objective, objective.weights))
    assert set(frames[-1].flows) == {"discrete", "stable", "central"}
    losses = [frame.flows["central"]["loss"] for frame in frames]
    assert losses[-1] < losses[0]
    assert frames[-1].status == dict.fromkeys(("discrete", "stable", "central"), "running")
    assert frames[0].events[0].message.startswith("The padding row 0 of `tokens`")


def test_smoothed_layer_norms_are_the_same_layers() -> None:
    """The same outputs and names, weights that go back into the original, and no refusal."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True).double().eval()
    module = nn.Sequential(
        layer, nn.LayerNorm((4, 6), elementwise_affine=False, dtype=torch.float64), nn.Flatten(), nn.Linear(24, 3).double()
    )
    inputs, targets = torch.randn(5, 4, 6, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"or give cflows_core\.smoothed\(module\)\."):
        Objective.from_module(module, inputs, targets)
    smooth = smoothed(module)
    assert list(smooth.state_dict()) == list(module.state_dict())
    objective = Objective.from_module(smooth, inputs, targets)
    w = objective.weights + 0.1
    module.load_state_dict(objective.parameters(w))
    torch.testing.assert_close(objective.outputs(w, inputs), module(inputs), rtol=1e-10, atol=1e-12)
