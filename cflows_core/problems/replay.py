"""Small networks spend their time in Python, not in arithmetic: so the operations of a gradient are recorded once and then replayed.

A recording is the flat list of tensor operations that one call came down to, backward pass included, with neither modules nor automatic
differentiation nor vmap left in it. A shape that is asked for often gets the list run by PyTorch's own interpreter, without Python: half
the time of a small call. Both are used only where they gave the same bits as the function itself.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch import Tensor

logger = logging.getLogger("cflows")

# Recording takes as long as some hundred calls: objectives that are asked less often never pay for it.
AFTER = 40
# Calls of a shape with the recording, after which Python is left out of it: that takes as long as some hundred calls.
OFTEN = 100

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
        self._asked: Counter[torch.Size] = Counter()
        self._interpreted: dict[torch.Size, ValuesAndGradients] = {}

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if self._recorded is not None:
            with torch.no_grad():
                known = self._interpreted.get(points.shape)
                return known(points) if known else self._again(self._recorded, points)
        self._calls += 1
        if self._calls == AFTER:
            self._recorded = _recording(self._function, points, self._stacked)
        return self._function(points)

    def _again(self, recorded: ValuesAndGradients, points: Tensor) -> tuple[Tensor, Tensor]:
        self._asked[points.shape] += 1
        if self._asked[points.shape] == OFTEN:
            self._interpreted[points.shape] = _interpreted(recorded, points)
        return recorded(points)


class _Module(torch.nn.Module):
    """A recording, as the tracer expects it."""

    def __init__(self, recorded: ValuesAndGradients):
        super().__init__()
        self._recorded = recorded

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self._recorded(points)


def _interpreted(recorded: ValuesAndGradients, points: Tensor) -> ValuesAndGradients:
    """The recording for one shape, run by TorchScript; itself where that fails."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Deprecated, but nothing else in PyTorch runs a list of operations without Python or a C++ compiler. That sizes become
            # constants is meant.
            warnings.simplefilter("ignore")
            graph, _ = torch.jit._get_trace_graph(_Module(recorded), (points,))  # type: ignore[attr-defined]
        # Not `torch.jit.trace`: what that makes, constants like the data included, stays until the process ends.
        traced: Any = torch._C._create_function_from_graph("replayed", graph)
        same = all(_same(recorded, traced, points) for _ in range(3))  # it optimises itself in the first two
    except Exception:  # as many kinds as there are operations: the recording itself still works
        logger.debug("recorded gradients are run by Python", exc_info=True)
        return recorded
    return traced if same else recorded


def _recording(function: ValuesAndGradients, points: Tensor, stacked: bool) -> ValuesAndGradients | None:
    try:
        recorded = _record(function, points, stacked)
        same = recorded is not None and all(_same(function, recorded, trial) for trial in _trials(points, stacked))
    except Exception:  # anything that PyTorch cannot record, in as many ways as there are modules: the function itself still works
        logger.debug("gradients are not replayed", exc_info=True)
        return None
    finally:
        _forget()
    return recorded if same else None


def _forget() -> None:
    """What PyTorch remembers of the operations it recorded, some hundreds of kilobytes a recording, is of no use to the next one."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    FakeTensorMode.cache_clear()


def _record(function: ValuesAndGradients, points: Tensor, stacked: bool) -> ValuesAndGradients | None:
    # Brings a computer algebra system along (a second): only where it is used.
    from torch.fx.experimental.proxy_tensor import make_fx

    def plain(points: Tensor) -> tuple[Tensor, Tensor]:  # as PyTorch expects it: not a method
        return function(points)

    if not stacked:
        return _simplified(make_fx(plain, tracing_mode="fake", _allow_non_fake_inputs=True)(points))
    several = points if len(points) > 2 else points.repeat(3, 1)[:3]  # 1 and 2 are special cases of many operations
    graph = make_fx(plain, tracing_mode="symbolic", _allow_non_fake_inputs=True)(several)
    number = next(node for node in graph.graph.nodes if node.op == "placeholder").meta["val"].shape[0]
    # The recording holds for any number of points unless it assumed something of this one.
    if not isinstance(number, torch.SymInt):
        return None
    symbols = number.node.expr.free_symbols
    if not symbols or any(guard.expr.free_symbols & symbols for guard in number.node.shape_env.guards):
        return None
    return _simplified(graph)


def _simplified(module: torch.fx.GraphModule) -> ValuesAndGradients:
    """The recording without operations that change nothing (a third of what vmap and reverse mode leave), the others called directly."""
    from torch.fx.node import map_arg

    graph, aten = module.graph, torch.ops.aten
    same: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in list(graph.nodes):
        node.args = map_arg(node.args, lambda argument: same.get(argument, argument))
        node.kwargs = map_arg(node.kwargs, lambda argument: same.get(argument, argument))
        source = node.args[0] if node.args and isinstance(node.args[0], torch.fx.Node) else None
        if source is None or node.op != "call_function":
            continue
        if node.target is aten.t.default and source.target is torch.t:  # the source is one of ours already
            same[node] = source.args[0]  # type: ignore[assignment]
        elif (
            node.target is aten.detach.default
            or (node.target in (aten.mul.Scalar, aten.mul.Tensor) and node.args[1] == 1)
            or (node.target in (aten.view.default, aten.expand.default) and _shape(node) == _shape(source))
        ):
            same[node] = source
        else:
            node.target = _direct().get(node.target, node.target)
    graph.eliminate_dead_code()
    module.recompile()
    return module.forward


def _shape(node: torch.fx.Node) -> str:
    """Of the recorded value; symbols by their names, so that nothing is assumed of their values."""
    value = node.meta.get("val")
    return str(list(value.shape)) if isinstance(value, Tensor) else f"unknown of {node.name}"


@functools.cache
def _direct() -> dict[Any, Callable[..., Any]]:
    """PyTorch's own functions for operations of a recording: the same kernels, reached through a third of the Python."""
    aten = torch.ops.aten
    return {
        aten.add.Tensor: torch.add,
        aten.addmm.default: torch.addmm,
        aten.bmm.default: torch.bmm,
        aten.cat.default: torch.cat,
        aten.expand.default: Tensor.expand,
        aten.mm.default: torch.mm,
        aten.mul.Scalar: torch.mul,
        aten.mul.Tensor: torch.mul,
        aten.neg.default: torch.neg,
        aten.pow.Tensor_Scalar: torch.pow,
        aten.sub.Tensor: torch.sub,
        aten.sum.dim_IntList: torch.sum,
        aten.t.default: torch.t,
        aten.tanh.default: torch.tanh,
        aten.transpose.int: torch.transpose,
        aten.unsqueeze.default: torch.unsqueeze,
        aten.view.default: Tensor.view,
    }


def _trials(points: Tensor, stacked: bool) -> list[Tensor]:
    """The points, and stacks of other sizes."""
    return [points, *(torch.cat([points, points])[:size] for size in (2, len(points) + 1))] if stacked else [points]


def _same(function: ValuesAndGradients, recorded: ValuesAndGradients, points: Tensor) -> bool:
    with torch.no_grad():
        replayed = recorded(points)
    return all(torch.equal(a, b) for a, b in zip(function(points), replayed, strict=True))
