"""Derivatives of `Objective` against dense Hessians and their derivative, chunked data against whole, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from cflows_core import ConfigError, DataError, ModelError, Objective
from cflows_core.linalg.svec import triangle

DIRECTIONS = 3


def network(activation: type[torch.nn.Module] = torch.nn.Tanh) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), activation(), torch.nn.Linear(3, 2)).double()


def data(n: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.randn(n, 2, generator=generator, dtype=torch.float64)


def plain_loss() -> Callable[[Tensor], Tensor]:
    """The same loss written out again, for torch's own dense derivatives."""
    inputs, targets = data()

    def loss(w: Tensor) -> Tensor:
        a, b, c, d = w.split([12, 3, 6, 2])
        hidden = torch.tanh(inputs @ a.view(3, 4).T + b)
        return 0.5 * ((hidden @ c.view(2, 3).T + d - targets) ** 2).sum(1).mean()

    return loss


def dense_third(loss, w: Tensor) -> Tensor:
    """∇H [p, p, p]: entry [l, i, j], row by row by torch's own dense derivatives."""
    jacobian = torch.autograd.functional.jacobian(lambda v: torch.autograd.functional.hessian(loss, v, create_graph=True), w)
    return jacobian.permute(2, 0, 1)


@cache
def dense() -> tuple[Tensor, Tensor]:
    """(H, ∇H) of the plain loss at the network's weights."""
    loss, w = plain_loss(), torch.nn.utils.parameters_to_vector(network().parameters()).detach()
    return torch.autograd.functional.hessian(loss, w), dense_third(loss, w)


@pytest.fixture(params=["exact", "differences"], scope="module")
def objective(request: pytest.FixtureRequest) -> Objective:
    return Objective.from_module(network(), *data(), derivatives=request.param)


# Differences of gradients: truncation and round-off leave about 1e-8 in H and 1e-5 in T; nested differentiation only rounding.
TOLERANCE = {"exact": (1e-12, 1e-11), "differences": (1e-7, 1e-4)}


def test_derivatives_against_dense(objective: Objective) -> None:
    loss, w = plain_loss(), objective.weights
    second, third = TOLERANCE[objective.derivatives]
    value, gradient = objective.loss_and_grad(w)
    assert value == pytest.approx(float(loss(w)), rel=1e-13) == objective.loss(w)
    torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(loss, w), rtol=1e-12, atol=1e-14)
    U = torch.randn(len(w), DIRECTIONS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    H, T = dense()
    torch.testing.assert_close(objective.hvp(w, U), H @ U, rtol=0, atol=second * float((H @ U).abs().max()))
    rows, columns = triangle(DIRECTIONS)
    pairs = torch.stack([torch.einsum("lij,i,j->l", T, U[:, i], U[:, j]) for i, j in zip(rows, columns, strict=True)])
    torch.testing.assert_close(objective.third(w, U), pairs, rtol=0, atol=third * float(pairs.abs().max()))
    x = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
    weighted = torch.einsum("lij,ia,a,ja->l", T, U, x, U)
    for known in (None, gradient):
        ours = objective.curvature_gradient(w, U, x, known)
        torch.testing.assert_close(ours, weighted, rtol=0, atol=third * float(pairs.abs().max()) * 4)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("bent", [0, 2, 3])
def test_expansion_gives_all_derivatives_at_once(objective: Objective, together: bool, bent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, gradients, products and third derivatives along the first columns, of any length, in one call or one by one."""
    loss, w = plain_loss(), objective.weights
    monkeypatch.setattr(objective, "_small", together)
    second, third = TOLERANCE[objective.derivatives]
    U = 3 * torch.randn(len(w), DIRECTIONS, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    U[:, 1] *= 1e-3
    beside = torch.stack([1.1 * w, 0.9 * w])
    spent = objective.gradients_spent
    losses, gradients, product, along = objective.expand(w, U, beside, bent)
    if objective.derivatives == "differences":
        assert objective.gradients_spent - spent == 3 + DIRECTIONS + bent  # a second gradient gives the third derivative
    H, T = dense()
    for point, value, gradient in zip((w, *beside), losses, gradients, strict=True):
        assert float(value) == pytest.approx(float(loss(point)), rel=1e-13)
        torch.testing.assert_close(gradient, torch.autograd.functional.jacobian(loss, point), rtol=1e-11, atol=1e-14)
    one_sided = 1e-5 if objective.derivatives == "differences" else second
    for a, u in enumerate(U.T):
        torch.testing.assert_close(product[:, a], H @ u, rtol=0, atol=one_sided * float((H @ u).abs().max()))
    assert along.shape == (bent, len(w))
    for a in range(bent):
        true = torch.einsum("lij,i,j->l", T, U[:, a], U[:, a])
        torch.testing.assert_close(along[a], true, rtol=0, atol=10 * third * float(true.abs().max()))


def test_stacked_points_equal_single_ones(objective: Objective) -> None:
    points = objective.weights + 0.1 * torch.randn(5, objective.n_params, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    losses, gradients = objective.losses_and_grads(points)
    for point, value, gradient in zip(points, losses, gradients, strict=True):
        single, single_gradient = objective.loss_and_grad(point)
        assert float(value) == pytest.approx(single, rel=1e-13)
        torch.testing.assert_close(gradient, single_gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("derivatives", ["exact", "differences"])
def test_chunks_give_the_same(derivatives: str) -> None:
    """A memory bound that holds three examples at a time changes nothing but rounding."""
    whole = Objective.from_module(network(), *data(), derivatives=derivatives)
    tight = Objective.from_module(network(), *data(), derivatives=derivatives, max_memory=12 * whole._bytes / 2**30)
    assert len(list(tight._chunks(2))) >= 5
    w = whole.weights
    U = torch.randn(len(w), 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert tight.loss(w) == pytest.approx(whole.loss(w), rel=1e-13)
    torch.testing.assert_close(tight.grad(w), whole.grad(w), rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(tight.hvp(w, U), whole.hvp(w, U), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(tight.third(w, U), whole.third(w, U), rtol=1e-3, atol=1e-4)


def test_memory_stays_below_the_bound() -> None:
    """Peak bytes kept for the backward pass, counted by saved-tensor hooks, under two budgets."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256), torch.nn.Tanh(), torch.nn.Linear(256, 1)
    )
    inputs, targets = torch.randn(2000, 8), torch.randn(2000, 1)

    def peak(max_memory: float) -> int:
        objective = Objective.from_module(module.double(), inputs, targets, max_memory=max_memory)
        alive = {"now": 0, "peak": 0}

        def pack(tensor: Tensor) -> tuple[Tensor, int]:
            alive["now"] += tensor.nbytes
            alive["peak"] = max(alive["peak"], alive["now"])
            return tensor, tensor.nbytes

        def unpack(packed: tuple[Tensor, int]) -> Tensor:
            alive["now"] -= packed[1]
            return packed[0]

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            objective.grad(objective.weights)
        return alive["peak"]

    budget = 2 * 2**20
    assert peak(1.0) > 4 * budget
    # Weights are saved too, and once whatever the chunk.
    assert peak(budget / 2**30) < budget + 2 * 8 * 70_000


def test_float32_and_counting() -> None:
    module = network().float()
    inputs, targets = data()
    objective = Objective.from_module(module, inputs, targets)
    assert objective.dtype == torch.float32
    assert objective.derivatives == "exact"
    exact = Objective.from_module(network(), inputs, targets, derivatives="exact")
    V = torch.eye(objective.n_params, 2)
    torch.testing.assert_close(objective.hvp(objective.weights, V).double(), exact.hvp(exact.weights, V.double()), rtol=1e-3, atol=1e-5)
    assert objective.gradients_spent == 4.0
    objective.grad(objective.weights)
    assert objective.gradients_spent == 5.0


def test_from_function_with_vanishing_derivatives() -> None:
    """Linear and quadratic functions: no graph is left for higher derivatives, which are zero."""
    a = torch.tensor([1.0, -2.0], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    linear = Objective.from_function(lambda w: a @ w, 2)
    quadratic = Objective.from_function(lambda w: 0.5 * (a * w * w).sum(), 2)
    w = torch.ones(2, dtype=torch.float64)
    assert not linear.hvp(w, eye).any()
    assert not linear.third(w, eye).any()
    torch.testing.assert_close(quadratic.hvp(w, eye), torch.diag(a))
    assert not quadratic.third(w, eye).any()
    assert not quadratic.curvature_gradient(w, eye, a).any()


def test_the_users_module_is_left_alone() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)).double().train()
    before = [parameter.clone() for parameter in module.parameters()]
    objective = Objective.from_module(module, *data())
    assert objective.loss(objective.weights) == objective.loss(objective.weights)  # dropout is off in the copy
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_refusals() -> None:
    inputs, targets = data()
    broken = inputs.clone()
    broken[3, 1] = float("nan")
    with pytest.raises(DataError, match="got 1 that are NaN"):
        Objective.from_module(network(), broken, targets)
    with pytest.raises(DataError, match="equally many"):
        Objective.from_module(network(), inputs, targets[:-1])
    with pytest.raises(ModelError, match="at least one parameter"):
        Objective.from_module(torch.nn.Tanh(), inputs, targets)
    with pytest.raises(ModelError, match="scalar"):
        Objective.from_function(lambda w: w, 3)
    with pytest.raises(ConfigError, match="needs float64"):
        Objective.from_module(network().float(), inputs, targets, derivatives="differences")


def test_gradients_that_share_memory() -> None:
    """A sum's gradient is one number seen p times: nothing may be written into it."""
    total = Objective.from_function(lambda w: w.sum() + 0.5 * (w[0] ** 2), 3, derivatives="differences")
    plain = Objective.from_function(lambda w: w.sum(), 3, derivatives="differences")
    w, eye = torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for known in (None, plain.grad(w)):
        torch.testing.assert_close(plain.hvp(w, eye, known), torch.zeros(3, 3, dtype=torch.float64))
    assert not plain.third(w, eye).any()
    torch.testing.assert_close(total.hvp(w, eye), torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64)), rtol=0, atol=1e-8)
    assert plain.losses_and_grads(torch.stack([w, 2 * w]))[1].tolist() == [[1.0] * 3] * 2
