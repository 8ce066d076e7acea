"""Recorded gradients: the same bits as the function's own, or the function itself."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from cflows_core.problems.objective import Objective
from cflows_core.problems.replay import AFTER, OFTEN, Replay, _recording


def points(number: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(number, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def mlp() -> Objective:
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    inputs, targets = torch.randn(20, 5, generator=generator), torch.randn(20, 3, generator=generator)
    return Objective.from_module(module, inputs, targets, dtype=torch.float64)


def test_a_stack_of_any_size_gives_the_same_bits(mlp: Objective) -> None:
    recorded = _recording(mlp._stacked, points(4, mlp.n_params), True)
    assert recorded is not None
    for number in (1, 2, 3, 5, 17):
        stack = points(number, mlp.n_params, seed=number)
        for own, replayed in zip(mlp._stacked(stack), recorded(stack), strict=True):
            torch.testing.assert_close(replayed, own, rtol=0, atol=1e-15 if number == 1 else 0)


def test_a_single_gradient_gives_the_same_bits(mlp: Objective) -> None:
    recorded = _recording(mlp._single, points(1, mlp.n_params)[0], False)
    assert recorded is not None
    w = points(1, mlp.n_params, seed=3)[0]
    for own, replayed in zip(mlp._single(w), recorded(w), strict=True):
        assert torch.equal(own, replayed)


def test_it_takes_over_at_the_fortieth_call(mlp: Objective) -> None:
    calls = []

    def function(stack: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        return mlp._stacked(stack)

    replay = Replay(function, stacked=True)
    stack = points(4, mlp.n_params)
    first = replay(stack)
    for _ in range(AFTER - 1):
        replay(stack)
    made = len(calls)
    last = replay(stack)
    assert len(calls) == made
    assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))
    assert not last[1].requires_grad


@pytest.mark.parametrize("number", [1, 4])
def test_a_shape_asked_for_often_needs_no_python_and_gives_the_same_bits(mlp: Objective, number: int) -> None:
    replay = Replay(mlp._stacked, stacked=True)
    stack = points(number, mlp.n_params)
    for _ in range(AFTER):
        recorded = replay(stack)
    for _ in range(OFTEN + 5):
        replay(stack)
    assert isinstance(replay._interpreted[stack.shape], torch.jit.ScriptFunction)
    other = points(number, mlp.n_params, seed=9)
    assert all(torch.equal(a, b) for a, b in zip(replay(stack), recorded, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(replay(other), mlp._stacked(other), strict=True))
    assert replay(points(6, mlp.n_params))[1].shape == (6, mlp.n_params)  # another shape goes on as before


def test_what_was_recorded_goes_with_its_objective() -> None:
    """A worker makes hundreds of runs: nothing of a recording, the data in it least of all, may stay behind."""

    def recorded() -> weakref.ref[Tensor]:
        data = torch.randn(8, 5, dtype=torch.float64)

        def function(stack: Tensor) -> tuple[Tensor, Tensor]:
            swing = torch.tanh(stack @ data.T)
            return swing.square().sum(1), swing @ data

        replay = Replay(function, stacked=True)
        stack = points(4, 5)
        for _ in range(AFTER + OFTEN + 5):
            replay(stack)
        assert isinstance(replay._interpreted[stack.shape], torch.jit.ScriptFunction)
        return weakref.ref(data)

    gone = recorded()
    gc.collect()
    assert gone() is None


def test_an_objective_does_not_change_when_it_is_recorded(mlp: Objective) -> None:
    w, V = points(1, mlp.n_params)[0], points(mlp.n_params, 3)
    loss, gradient = mlp.loss_and_grad(w)
    product = mlp.hvp(w, V, gradient)
    for _ in range(AFTER):
        mlp.loss_and_grad(w)
        mlp.hvp(w, V, gradient)
    again = mlp.loss_and_grad(w)
    assert again[0] == loss
    assert torch.equal(again[1], gradient)
    assert torch.equal(mlp.hvp(w, V, gradient), product)


def test_a_course_that_depends_on_values_is_not_recorded() -> None:
    def function(w: Tensor) -> tuple[Tensor, Tensor]:
        return (w.sum(), w) if float(w.sum()) > 0 else (-w.sum(), -w)

    assert _recording(function, torch.ones(3), False) is None
    replay = Replay(function, stacked=False)
    for _ in range(AFTER + 1):
        replay(torch.ones(3))
    value, gradient = replay(-torch.ones(3))
    assert float(value) == 3
    assert torch.equal(gradient, torch.ones(3))


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 3, padding=1), nn.LayerNorm(4)], ids=["convolution", "layer norm"])
def test_a_course_that_depends_on_the_number_is_not_recorded(layer: nn.Module) -> None:
    """vmap turns a convolution into a grouped one, whose number of groups is that of the stack."""
    module = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
    module(torch.zeros(1, 1, 4, 4))
    generator = torch.Generator().manual_seed(0)
    objective = Objective.from_module(
        module, torch.randn(6, 1, 4, 4, generator=generator), torch.randn(6, 2, generator=generator), dtype=torch.float64
    )
    assert _recording(objective._stacked, points(4, objective.n_params), True) is None
    assert _recording(objective._single, points(1, objective.n_params)[0], False) is not None


def test_a_wrong_recording_is_thrown_away(monkeypatch: pytest.MonkeyPatch, mlp: Objective) -> None:
    from cflows_core.problems import replay

    monkeypatch.setattr(replay, "_record", lambda *_: lambda stack: (stack.sum(1), stack))
    assert _recording(mlp._stacked, points(4, mlp.n_params), True) is None


@pytest.mark.parametrize("stacked", [False, True])
def test_operations_that_change_nothing_are_left_out(mlp: Objective, stacked: bool) -> None:
    """No detach, no product with 1, no transpose of a transpose, and no view or expansion to the shape that is there already."""
    stack = points(4, mlp.n_params)
    recorded = _recording(mlp._stacked, stack, True) if stacked else _recording(mlp._single, stack[0], False)
    assert recorded is not None
    nodes = [node for node in recorded.__self__.graph.nodes if node.op == "call_function"]  # type: ignore[attr-defined]
    for node in nodes:
        source = node.args[0]
        assert node.target is not torch.ops.aten.detach.default
        assert not (node.target is torch.mul and 1 in node.args)
        assert not (node.target is torch.t and source.target is torch.t)
        if node.target in (Tensor.view, Tensor.expand):
            assert str(node.meta["val"].shape) != str(source.meta["val"].shape)
    assert len(nodes) < 70  # 91 and 73 as recorded
