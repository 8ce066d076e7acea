"""Small networks spend their time in Python, not in arithmetic: so the operations of a gradient are recorded once and then replayed.

A recording is the flat list of tensor operations that one call came down to, backward pass included, with neither modules nor automatic
differentiation nor vmap left in it. It is used only where it gave the same bits as the function itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger("cflows")

# Recording takes as long as some hundred calls: objectives that are asked less often never pay for it.
AFTER = 40

ValuesAndGradients = Callable[[Tensor], tuple[Tensor, Tensor]]


class Replay:
    """`function` from weights to losses and gradients, recorded at its 40th call.

    stacked: the argument is a stack of weights [b, p] whose number varies, not one point [p]. A function whose course depends on
    computed values, or on b, is not recorded and called as ever.
    """

    def __init__(self, function: ValuesAndGradients, *, stacked: bool):
        self._function, self._stacked = function, stacked
        self._calls = 0
        self._recorded: ValuesAndGradients | None = None

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if self._recorded is not None:
            with torch.no_grad():
                return self._recorded(points)
        self._calls += 1
        if self._calls == AFTER:
            self._recorded = _recording(self._function, points, self._stacked)
        return self._function(points)


def _recording(function: ValuesAndGradients, points: Tensor, stacked: bool) -> ValuesAndGradients | None:
    try:
        recorded = _record(function, points, stacked)
        same = recorded is not None and all(_same(function, recorded, trial) for trial in _trials(points, stacked))
    except Exception:  # anything that PyTorch cannot record, in as many ways as there are modules: the function itself still works
        logger.debug("gradients are not replayed", exc_info=True)
        return None
    return recorded if same else None


def _record(function: ValuesAndGradients, points: Tensor, stacked: bool) -> ValuesAndGradients | None:
    # Brings a computer algebra system along (a second): only where it is used.
    from torch.fx.experimental.proxy_tensor import make_fx

    def plain(points: Tensor) -> tuple[Tensor, Tensor]:  # as PyTorch expects it: not a method
        return function(points)

    if not stacked:
        return make_fx(plain, tracing_mode="fake", _allow_non_fake_inputs=True)(points).forward
    several = points if len(points) > 2 else points.repeat(3, 1)[:3]  # 1 and 2 are special cases of many operations
    graph = make_fx(plain, tracing_mode="symbolic", _allow_non_fake_inputs=True)(several)
    number = next(node for node in graph.graph.nodes if node.op == "placeholder").meta["val"].shape[0]
    # The recording holds for any number of points unless it assumed something of this one.
    if not isinstance(number, torch.SymInt):
        return None
    symbols = number.node.expr.free_symbols
    if not symbols or any(guard.expr.free_symbols & symbols for guard in number.node.shape_env.guards):
        return None
    return graph.forward


def _trials(points: Tensor, stacked: bool) -> list[Tensor]:
    """The points, and stacks of other sizes."""
    return [points, *(torch.cat([points, points])[:size] for size in (2, len(points) + 1))] if stacked else [points]


def _same(function: ValuesAndGradients, recorded: ValuesAndGradients, points: Tensor) -> bool:
    with torch.no_grad():
        replayed = recorded(points)
    return all(torch.equal(a, b) for a, b in zip(function(points), replayed, strict=True))
