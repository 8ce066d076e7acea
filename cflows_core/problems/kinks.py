"""Which operations a loss came down to, read off PyTorch's graph of its backward pass; and which of them have kinks.

The graph holds only what depends on the weights, and a smooth composite such as logsumexp (with a maximum inside) is one operation in it.
Comparisons are not in it: a kink made by `torch.where(x > 0, ...)` or `x * (x > 0)` goes unseen.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

# Operations whose first or second derivative jumps -> (what people call it, its smooth replacement).
_POOL, _LARGEST = ("max pooling", "average pooling"), ("max", "logsumexp or a mean")
KINKS = {
    **dict.fromkeys(("Relu", "LeakyRelu", "PreluKernel", "Threshold", "RreluWithNoise", "Hardtanh"), ("ReLU", "GELU")),
    **dict.fromkeys(("Elu", "Celu"), ("ELU", "GELU or softplus")),
    "Hardswish": ("hardswish", "SiLU"),
    "Hardsigmoid": ("hardsigmoid", "sigmoid"),
    **dict.fromkeys(("Hardshrink", "Softshrink"), ("shrinkage", "a smooth activation")),
    **{f"{kind}MaxPool{d}D{tail}": _POOL for kind in ("", "Adaptive", "Fractional") for d in (2, 3) for tail in ("", "WithIndices")},
    **dict.fromkeys(("Max", "Min", "Amax", "Amin", "Maximum", "Minimum", "Fmax", "Fmin", "Aminmax"), _LARGEST),
    **dict.fromkeys(("Sort", "Topk", "Median", "Nanmedian", "Kthvalue", "Mode", "Cummax", "Cummin"), ("sorting", "softmax")),
    **dict.fromkeys(("Clamp", "ClampMin", "ClampMax"), ("clamp", "tanh or softplus")),
    "Abs": ("abs", "sqrt(x² + ε)"),
    **dict.fromkeys(("HuberLoss", "SmoothL1Loss", "L1Loss"), ("Huber loss", "squares")),
    **dict.fromkeys(("Round", "Floor", "Ceil", "Trunc", "Frac", "Sign", "Remainder", "Fmod"), ("rounding", "softmax or sigmoid")),
}


def operations(loss: Tensor) -> dict[str, list[torch.autograd.graph.Node]]:
    """Name -> nodes of the graph behind `loss`: "Relu", "NativeLayerNorm", "ToCopy", or "MyFunctionBackward" for a user's Function."""
    found: dict[str, list[torch.autograd.graph.Node]] = {}
    todo, seen = [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = node.name()
        found.setdefault(re.sub(r"Backward\d+$", "", name), []).append(node)
        factor = getattr(node, "_saved_other", None) if name == "MulBackward0" else None
        if not (isinstance(factor, Tensor) and factor.ndim == 0 and factor == 0):  # 0 * relu(x): a mixture's branch turned off
            todo += [following for following, _ in node.next_functions]
    return found


def kinks(found: dict[str, list[torch.autograd.graph.Node]]) -> dict[str, str]:
    """What has kinks -> its smooth replacement."""
    names = [name for name, nodes in found.items() if name in KINKS and any(_active(node) for node in nodes)]
    return {KINKS[name][0]: KINKS[name][1] for name in sorted(names)}


def _active(node: torch.autograd.graph.Node) -> bool:
    """Clamps that guard a division or a logarithm never act: only one that does on these examples counts. |z| of complex z is smooth."""
    values = getattr(node, "_saved_self", None)
    if values is None or not node.name().startswith("Clamp"):
        return values is None or not values.is_complex()
    low, high = getattr(node, "_saved_min", None), getattr(node, "_saved_max", None)
    return bool((low is not None and (values < low).any()) or (high is not None and (values > high).any()))


def note(found: dict[str, str], derivatives: str) -> str:
    """The sentence for people about kinks (what -> replacement), under the way that derivatives are computed."""
    what, smooth = ", ".join(found), ", ".join(dict.fromkeys(found.values()))
    if derivatives == "differences":
        return (
            f"The model has kinks ({what}), which derivatives='differences' turn into eigenvalues of any size: "
            f"use derivatives='exact', or {smooth}."
        )
    return f"The model has kinks ({what}): curvature is that between them and knows nothing of the jumps; smooth instead: {smooth}."
