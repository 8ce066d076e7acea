"""Any `torch.nn.Module` as a function of flat weights: `Network(module)(w, *tensors)` are its outputs, `w` [p] its trained parameters.

    inputs    a tensor, a tuple of tensors (by position) or a dict of tensors (by name), each [n, ...]
    outputs   a tensor [n, ...]; or the `logits` of an object or mapping; or the first tensor of a tuple or list

The module is copied. In the copy nothing is random or remembered between calls: evaluation mode, buffers and frozen parameters constant.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cflows_core.errors import DataError, ModelError
from cflows_core.problems.models.layers import standardised

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
DTYPES = (torch.float64, torch.float32)


class Network:
    """The copy of a user's module, and the names and shapes behind its flat weights.

    weights: initial values [p] of the parameters with `requires_grad`, in the order of `named_parameters` (a tied one counts once).
    notes: what the copy does differently from the module, one sentence each. Raises `ModelError`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        output: Callable[[Any], Tensor] | None = None,
    ):
        module = getattr(module, "_orig_mod", module)  # what torch.compile wraps: compiled code has a first derivative only
        trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        if not trained:
            frozen = len(list(module.parameters()))
            got = f"{frozen} that are all frozen" if frozen else "one without any"
            raise ModelError(
                f"A module needs at least one parameter to be trained, got {got}: set requires_grad=True on what is to be trained."
            )
        self.module = _copied(module).to(device=device, dtype=dtype).eval().requires_grad_(False)
        parameters = dict(self.module.named_parameters())
        self.dtype = _common_dtype(parameters)
        self.shapes = {name: parameters[name].shape for name in trained}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.weights = torch.cat([parameters[name].reshape(-1) for name in trained])
        self.notes = tuple(_plain_embeddings(self.module))
        self._output = output
        self.kernels = _kernels(self.module)

    def parameters(self, w: Tensor) -> dict[str, Tensor]:
        """Name -> view of w [p] in the parameter's shape."""
        pieces = zip(self.shapes.items(), w.split(self.sizes), strict=True)
        return {name: piece.view(shape) for (name, shape), piece in pieces}

    def __call__(self, w: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """The outputs [n, ...] at weights w [p]."""
        with self.kernels():
            result = functional_call(self.module, self.parameters(w), args, kwargs)
        return _outputs_of(result, self._output)

    def differentiable_kernels(self) -> None:
        """From now on attention is PyTorch's plain one: the fused one has no second derivative, this one three right ones."""
        self.kernels = _plain_kernels

    def as_dtype(self, dtype: torch.dtype) -> Network:
        """An independent network of another dtype with the same trained parameters, for the checks."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module).to(dtype)
        twin.dtype, twin.weights = dtype, self.weights.to(dtype)
        return twin


class Arguments:
    """How a module is called: the user's inputs as a flat tuple of tensors, batched along dimension 0, and back.

    Raises `DataError` for anything else than a tensor, a tuple or a dict of tensors.
    """

    def __init__(self, inputs: Inputs):
        self.names: tuple[str, ...] | None = None
        if isinstance(inputs, Mapping):
            self.names, tensors = tuple(inputs), tuple(inputs.values())
        else:
            tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
        wrong = next((value for value in tensors if not isinstance(value, Tensor)), None)
        if wrong is not None or not tensors:
            raise DataError(
                f"Inputs must be a tensor, a tuple of tensors or a dict of tensors, got {type(wrong if tensors else inputs).__name__}: "
                "torch.as_tensor makes a tensor of an array or a list."
            )
        self.tensors: tuple[Tensor, ...] = tensors

    def call(self, network: Network, w: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """The network's outputs on tensors in the order of `self.tensors`."""
        if self.names is None:
            return network(w, *tensors)
        return network(w, **dict(zip(self.names, tensors, strict=True)))


class _LayerNorm(nn.LayerNorm):
    """PyTorch's layer with its names and weights, by the formula that has three right derivatives."""

    def forward(self, x: Tensor) -> Tensor:
        x = standardised(x, tuple(range(-len(self.normalized_shape), 0)), self.eps)
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias


def smoothed(module: nn.Module) -> nn.Module:
    """A copy in which every `torch.nn.LayerNorm` is written out: the same function, names and weights, with three right derivatives."""
    module = _copied(module)
    for layer in module.modules():
        if type(layer) is nn.LayerNorm:
            layer.__class__ = _LayerNorm
    return module


def placed(value: Tensor, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """The tensor on `device`; floating-point numbers as `dtype`, while tokens, classes and masks keep their own."""
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)


def _copied(module: nn.Module) -> nn.Module:
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in module.parameters()):
        raise ModelError(
            "A module needs to know its shapes, got lazy layers without parameters yet: call it once on a batch of inputs first."
        )
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise ModelError(
            f"A module must be copyable, got {type(module).__name__} with {str(error).splitlines()[0]!r}: keep no tensors that were "
            "computed in attributes, and use torch.nn.utils.parametrizations instead of the old weight_norm and spectral_norm."
        ) from None


def _common_dtype(parameters: dict[str, nn.Parameter]) -> torch.dtype:
    dtypes = sorted({parameter.dtype for parameter in parameters.values()}, key=str)
    if len(dtypes) > 1 or dtypes[0] not in DTYPES:
        raise ModelError(
            f"A module's parameters must be all float64 or all float32, got {' and '.join(str(dtype)[6:] for dtype in dtypes)}: "
            "give dtype=torch.float64 to convert them (the copy, not your module)."
        )
    return dtypes[0]


def _plain_embeddings(module: nn.Module) -> Iterator[str]:
    """Turns off what makes an embedding's `backward` something else than the gradient of a loss; yields a note for each."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            continue
        layer.scale_grad_by_freq = layer.sparse = False
        if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            yield f"The padding row {layer.padding_idx} of `{name}` is trained where it reaches the loss: a mask keeps it out."
            layer.padding_idx = None


def _kernels(module: nn.Module) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The context of a forward pass: none costs anything where no layer needs one."""
    if any(isinstance(layer, nn.MultiheadAttention | nn.TransformerEncoderLayer) for layer in module.modules()):
        return _plain_kernels
    if any(isinstance(layer, nn.RNNBase) for layer in module.modules()):
        return _plain_recurrence
    return contextlib.nullcontext


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    from torch.nn.attention import SDPBackend, sdpa_kernel  # loads compilers: only where attention is

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _plain_recurrence():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _plain_recurrence() -> Iterator[None]:
    """cuDNN's recurrent kernels have a first derivative only; PyTorch's own have all. Elsewhere than on a GPU it changes nothing."""
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


def _outputs_of(result: Any, output: Callable[[Any], Tensor] | None) -> Tensor:
    if output is not None:
        tensor = output(result)
    elif isinstance(result, Tensor):
        return result
    elif isinstance(result, Mapping):
        tensor = result.get("logits")
    elif hasattr(result, "logits"):
        tensor = result.logits
    else:
        tensor = next((part for part in result if isinstance(part, Tensor)), None) if isinstance(result, tuple | list) else None
    if isinstance(tensor, Tensor):
        return tensor
    got = type(result).__name__ if output is None else f"{type(tensor).__name__} from `output`"
    raise ModelError(
        f"A module must return a tensor, an object with `logits`, or a tuple with a tensor, got {got}: "
        "give output=function, from what it returns to the tensor."
    )
