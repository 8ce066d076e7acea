"""Whether a user's module is a function of its weights with the three right derivatives that flows need; if not, which layer is to blame.

On a few examples, once, before a run: (1) two evaluations agree, and no weights or buffers change; (2) an example's outputs do not
depend on the others; (3) along a random direction, at a generic point, each nested derivative equals a difference of the one before:

    ⟨∇L, u⟩ ≈ (L(w+hu) − L(w−hu))/2h,    H u ≈ (∇L(w+hu) − ∇L(w−hu))/2h,    ∇(uᵀHu) ≈ (H(w+hu)u − H(w−hu)u)/2h

Only when one of these fails are the layers looked at one by one, with the inputs that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from cflows_core.errors import ModelError
from cflows_core.problems.kinks import kinks, operations
from cflows_core.problems.modules import Arguments, Network, placed

# For the outputs and, as third derivatives cost, for the loss.
EXAMPLES, FEWER = 4, 2
DIRECTIONS = 2
# Relative to the weights, and tried in turn until one agrees: long enough for round-off, short enough for stiff layers and between kinks.
STEPS = {torch.float64: (1e-6, 1e-8, 1e-4, 1e-2), torch.float32: (1e-2, 1e-3)}
# A wrong formula is off by per cents; differences in float64 are good to 1e-6 and in float32 to 1e-3.
TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2}
ORDERS = {1: "first", 2: "second", 3: "third"}

_MODELS = "cflows_core.problems.models"
# What is found in the layer's type and operations, between spaces, or in PyTorch's message (lower case) -> what to do.
REMEDIES = (
    (("layernorm", "layer_norm"), f"use {_MODELS}.layers.LayerNorm in its place, or give cflows_core.smoothed(module)"),
    (
        ("scaleddotproduct", "scaled_dot_product", "multihead"),
        f"use {_MODELS}.attention.attention in its place, softmax(QKᵀ/√d)V written out",
    ),
    (("instancenorm", "batchnorm", "batch_norm"), "use GroupNorm, with as many groups as channels for an InstanceNorm"),
    (("lstm", " gru ", "cudnn_rnn", "cudnnrnn"), f"use the LSTM of {_MODELS}.lstm in its place"),
    (("weightnorm", "weight_norm"), "train the plain weight, or write g·v/‖v‖ out"),
    (("ctc_loss", "ctcloss", "multi_margin", "multimargin"), "use another criterion, such as cross_entropy"),
    (("embeddingbag", "embedding_bag"), "use Embedding, and the mean or sum of what it gives"),
    (("pdist", "cdist"), "write the distances out, (x[:, None] − y[None]).square().sum(-1)"),
    (("hardsigmoid", "hardswish"), "use sigmoid or SiLU"),
    (("segment_reduce", "segmentreduce"), "use index_add"),
    ((" round ", " floor ", " ceil ", " trunc ", " sign ", "fakequantize"), "use softmax or sigmoid instead of rounding"),
)
CUSTOM = "write the custom autograd.Function as differentiable operations"
OTHERWISE = "write it as differentiable operations, without detach(), .data or rounding"

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Wrong:
    """The lowest derivative that is wrong, or missing with what PyTorch says of it ("" if the numbers are wrong)."""

    order: int
    message: str = ""


# A function of the weights, example by example


def check_function(network: Network, arguments: Arguments, tensors: tuple[Tensor, ...]) -> None:
    """Refuses (`ModelError`) a network whose outputs on `tensors` (few rows) are random, or change its state, or mix examples."""
    device = network.weights.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _Trace(network, arguments, tensors)  # caches (tables of positions, say) are made in a first call
        first, again = _Trace(network, arguments, tensors), _Trace(network, arguments, tensors)
        halves = [_Trace(network, arguments, part).outputs for part in _halves(tensors)]
    rule = "A loss must be a function of the weights alone, got"
    if again.changed is not None:
        layer = _called(network, again.changed)
        raise ModelError(f"{rule} {layer}, which changes its weights or buffers when called: switch that off (max_norm, running averages).")
    random = _first_difference(first.outputs, again.outputs, 1e-5)
    if random is not None:
        layer = _called(network, random)
        raise ModelError(
            f"{rule} {layer}, which gives other numbers at each call: call dropout with training=self.training, draw no noise."
        )
    rows, n = first.outputs[-1][1][0], len(tensors[0])
    if rows.ndim == 0 or len(rows) != n:
        raise ModelError(
            f"A module's outputs must have one row an example, got shape {list(rows.shape)} for {n} examples: "
            "leave the mean over examples to the criterion."
        )
    joined = [(name, [torch.cat(pair) for pair in _pairs(left, right)]) for (name, left), (_, right) in zip(*halves, strict=False)]
    dependent = _first_difference(first.outputs, joined, 1e-3)
    if dependent is not None:
        raise ModelError(
            f"Examples must not influence each other, got {_called(network, dependent)}, whose outputs depend on the whole batch: "
            "use running statistics (track_running_stats=True) or GroupNorm."
        )


class _Trace:
    """One forward pass: outputs of each layer in the order of completion, the network's last; and the first layer that changed state."""

    def __init__(self, network: Network, arguments: Arguments, tensors: tuple[Tensor, ...]):
        self.outputs: list[tuple[str, list[Tensor]]] = []
        self.changed: str | None = None
        w = network.weights.clone()
        before = {name: _versions(layer) for name, layer in network.module.named_modules()}

        def seen(name: str, layer: nn.Module, result: Any) -> None:
            if self.changed is None and (_versions(layer) != before[name] or w._version != version):
                self.changed = name
            self.outputs.append((name, [leaf.clone() for leaf in _numbers(result)]))

        hooks = [
            layer.register_forward_hook(lambda layer, _, result, name=name: seen(name, layer, result))
            for name, layer in network.module.named_modules()
        ]
        version = w._version
        try:
            with torch.no_grad():
                result = arguments.call(network, w, tensors)
        finally:
            for hook in hooks:
                hook.remove()
        self.outputs.append(("", [result]))


def _versions(layer: nn.Module) -> list[tuple[int, int]]:
    return [(id(buffer), buffer._version) for buffer in layer.buffers(recurse=False)]


def _halves(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    half = len(tensors[0]) // 2
    for part in (slice(half), slice(half, None)) if half else (slice(1), slice(1)):
        yield tuple(tensor[part] for tensor in tensors)


def _pairs(left: list[Tensor], right: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((a, b) for a, b in zip(left, right, strict=False) if a.ndim and a.shape[1:] == b.shape[1:])


def _first_difference(first: list, second: list, tolerance: float) -> str | None:
    """The first layer to complete with other numbers, if the network's own outputs, which come last, differ at all."""
    if not _differ(first[-1][1], second[-1][1], tolerance):
        return None
    return next(name for (name, ones), (_, others) in zip(first, second, strict=False) if _differ(ones, others, tolerance))


def _differ(ones: list[Tensor], others: list[Tensor], tolerance: float) -> bool:
    """Outputs of unequal shapes (the batch along another dimension) are passed over."""
    for one, other in zip(ones, others, strict=False):
        size = float(one.abs().nan_to_num(0, 0, 0).max()) if one.numel() else 0.0
        if one.shape == other.shape and not torch.allclose(one, other, rtol=0, atol=tolerance * size, equal_nan=True):
            return True
    return False


# Derivatives


def check_derivatives(
    network: Network, arguments: Arguments, criterion: Callable[[Tensor, Tensor], Tensor], tensors: tuple[Tensor, ...], targets: Tensor
) -> None:
    """Refuses (`ModelError`) a mean loss on few examples with a wrong or missing derivative, and names the layer it is from."""
    trial = _in_float64(network, arguments, tensors)
    *inputs, labels = (placed(tensor[:FEWER], trial.dtype, tensor.device) for tensor in (*tensors, targets))
    w = _generic(trial.weights)

    def loss(w: Tensor) -> Tensor:
        return criterion(arguments.call(trial, w, inputs), labels).mean()

    wrong = first_wrong(loss, w)
    if wrong is None:
        return
    found = operations(_value(loss, w))
    name, worst, found = next(_culprits(trial, arguments, inputs, w), ("the criterion", wrong, found))
    kind = name.rpartition("(")[2].strip("`)")  # without the user's own names of layers
    text = f" {kind} {' '.join(found)} {worst.message} ".lower()
    otherwise = CUSTOM if any(operation.endswith("Backward") for operation in found) else OTHERWISE
    remedy = next((remedy for words, remedy in REMEDIES if any(word in text for word in words)), otherwise)
    said = f" ({worst.message})" if worst.message else ""
    raise ModelError(
        f"Flows need three right derivatives of every layer, got {'no' if worst.message else 'a wrong'} {ORDERS[worst.order]} derivative "
        f"from {name}{said}: {remedy}."
    )


def first_wrong(loss: Loss, w: Tensor) -> Wrong | None:
    """The lowest wrong or missing derivative of `loss` at w [p]; None where the three are right.

    One direction and one step size that agree are enough: a wrong formula disagrees along all, while kinks, stiffness and round-off
    spoil some.
    """
    found = operations(_value(loss, w))
    # A model in float64 that computes in float32 inside has that one's round-off.
    dtype = torch.float32 if "ToCopy" in found else w.dtype
    # Then no step is short enough for kinks and long enough for round-off: only that the derivatives exist is checked.
    blind = dtype == torch.float32 and bool(kinks(found))
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(len(w), generator=generator, dtype=torch.float64).to(w) for _ in range(DIRECTIONS)]
    directions = [u * (float(w.norm()) or 1.0) / float(u.norm()) for u in directions]
    for order in ORDERS:
        try:
            if blind:
                _nested(loss, w, directions[0], order)
            elif not any(_agrees(loss, w, u, order, dtype) for u in directions):
                return Wrong(order)
        except (RuntimeError, NotImplementedError) as error:
            return Wrong(order, str(error).splitlines()[0].rstrip("."))
    return None


def _agrees(loss: Loss, w: Tensor, u: Tensor, order: int, dtype: torch.dtype) -> bool:
    exact = _nested(loss, w, u, order)
    if order == 1:
        exact = (exact @ u)[None]
    # What the loss is made of may cancel in its derivatives, never its round-off.
    least = float(_nested(loss, w, u, 0).abs()) / float(u.norm()) ** (order - 1)
    for step in STEPS[dtype]:
        plus, minus = (_nested(loss, w + sign * step * u, u, order - 1) for sign in (1, -1))
        slope = (plus - minus) / (2 * step)
        size = max(float(exact.norm()), float(slope.norm()))
        noise = 10 * torch.finfo(dtype).eps * max(float(plus.norm()), float(minus.norm()), least) / step
        if float((exact - slope).norm()) <= TOLERANCE[dtype] * size + noise:  # False for NaN
            return True
    return False


def _nested(loss: Loss, w: Tensor, u: Tensor, order: int) -> Tensor:
    """L(w) as [1], ∇L, ∇(uᵀ∇L) or ∇(uᵀ∇(uᵀ∇L)), [p], for orders 0 to 3."""
    leaf = w.detach().requires_grad_()
    result = loss(leaf)[None]
    for lower in range(order):
        value = result @ u if lower else result[0]
        gradient = torch.autograd.grad(value, leaf, create_graph=True, allow_unused=True)[0] if value.requires_grad else None
        result = torch.zeros_like(w) if gradient is None else gradient
    return result.detach()


def _value(loss: Loss, w: Tensor) -> Tensor:
    return loss(w.detach().requires_grad_())


def _generic(weights: Tensor) -> Tensor:
    """A point near the initial weights where nothing is exactly zero or symmetric, as a head initialised with zeros is."""
    spread = 0.1 * max(float(weights.square().mean().sqrt()), 0.01)
    return weights + spread * torch.randn(len(weights), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(weights)


def _in_float64(network: Network, arguments: Arguments, tensors: tuple[Tensor, ...]) -> Network:
    """A copy in float64, where the module can be computed in it."""
    trial = network.as_dtype(torch.float64)
    try:
        with torch.no_grad():
            outputs = arguments.call(trial, trial.weights, tuple(placed(tensor, torch.float64, tensor.device) for tensor in tensors))
    except Exception:  # a tensor made in float32 inside meets weights in float64, or a module asserts its dtype
        return network.as_dtype(network.dtype)
    return trial if outputs.dtype == torch.float64 else network.as_dtype(network.dtype)


# Which layer


def _culprits(trial: Network, arguments: Arguments, tensors: Sequence[Tensor], w: Tensor) -> Iterator[tuple[str, Wrong, dict]]:
    """Layers that fail alone on the inputs they had, the deepest first: its name, what is wrong and its operations."""
    calls: dict[str, tuple[tuple, dict]] = {}
    with torch.no_grad():
        for name, piece in trial.parameters(w).items():  # a layer alone is tested at this point too
            trial.module.get_parameter(name).copy_(piece)
        hooks = [
            layer.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: calls.setdefault(name, (args, kwargs)) and None, with_kwargs=True
            )
            for name, layer in trial.module.named_modules()
        ]
        arguments.call(trial, w, tensors)
    for hook in hooks:
        hook.remove()
    for name in sorted(calls, key=lambda name: -len(name.split(".")) if name else 0):
        loss, point = _alone(trial, trial.module.get_submodule(name), *calls[name])
        if len(point) and _value(loss, point).isfinite() and (wrong := first_wrong(loss, point)) is not None:
            yield _called(trial, name), wrong, operations(_value(loss, point))


def _alone(trial: Network, layer: nn.Module, args: tuple, kwargs: dict) -> tuple[Loss, Tensor]:
    """Σ sin(c + outputs) of a layer with fixed random c, as a function of its parameters and floating-point inputs in one flat tensor."""
    parameters = dict(layer.named_parameters())
    leaves, structure = tree_flatten((args, kwargs))
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    values = [*parameters.values(), *(leaves[i] for i in where)]
    sizes = [value.numel() for value in values]

    def loss(w: Tensor) -> Tensor:
        pieces = [piece.reshape(value.shape).clone() for piece, value in zip(w.split(sizes), values, strict=True)]  # some work in place
        given = list(leaves)
        for i, piece in zip(where, pieces[len(parameters) :], strict=True):
            given[i] = piece
        args, kwargs = tree_unflatten(given, structure)
        with trial.kernels():
            outputs = _numbers(functional_call(layer, dict(zip(parameters, pieces, strict=False)), args, kwargs))
        generator = torch.Generator().manual_seed(2)
        # Not linear in them: what is missing in a linear layer shows only behind a curve.
        read = (torch.sin(torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) + o).sum() for o in outputs)
        return sum(read, w.new_zeros(()))

    point = torch.cat([value.detach().reshape(-1) for value in values]) if values else trial.weights[:0]
    return loss, point


def _numbers(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _called(network: Network, name: str) -> str:
    kind = type(network.module.get_submodule(name)).__name__
    return f"`{name} ({kind})`" if name else f"the forward of `{kind}` itself"
