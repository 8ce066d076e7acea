"""Three derivatives of every architecture on its data, against differences and by every way of differentiating."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from cflows_core import Objective
from cflows_core.problems.models.mamba import Scan
from tests.core.problems.networks import CASES, IDS, IMAGES, examples, flat, loss_of, small

# Forward mode makes PyTorch compile its own decompositions with a deprecated call, once a process.
FORWARD = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
KINKED = [("gelu", 0.0), ("silu", 0.0), ("relu", 0.0), ("gelu_relu", 0.4)]
# Every architecture with both criteria; and the plain ones with every activation, of which two have kinks.
ALL = [
    *((*case, 0.0) for case in CASES),
    *((name, IMAGES, activation, "cross_entropy", mix) for name in ("mlp", "cnn") for activation, mix in KINKED),
]
ALL_IDS = [*IDS, *(f"{name}-{activation}" for name in ("mlp", "cnn") for activation, _ in KINKED)]


def slope(function, h: float):
    """f'(0) by five points: an error of h⁴ f⁽⁵⁾/30."""
    return (function(-2 * h) - 8 * function(-h) + 8 * function(h) - function(2 * h)) / (12 * h)


def signs(module: nn.Module, loss, w: Tensor) -> Tensor:
    """The side of its kink on which every unit is, at weights w."""
    seen: list[Tensor] = []
    activation = module.get_submodule("activation")
    handle = activation.register_forward_hook(lambda _, inputs, __: seen.append((inputs[0] > 0).reshape(-1)))
    loss(w)
    handle.remove()
    return torch.cat(seen)


def line(module: nn.Module, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, all of them moved a little from where they start, and two unit directions."""
    generator = torch.Generator().manual_seed(seed)
    base = flat(module)
    w = base + 0.1 * torch.randn(base.shape, generator=generator, dtype=torch.float64)
    u, v = F.normalize(torch.randn(2, len(w), generator=generator, dtype=torch.float64), dim=1)
    return w, u, v


def smooth_line(module: nn.Module, loss, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """Such that no unit crosses its kink within the stencils."""
    for seed in range(50):
        w, u, v = line(module, seed)
        here = signs(module, loss, w)
        if all(torch.equal(here, signs(module, loss, w + s * h * d)) for s in (-2, -1, 1, 2) for d in (u, v)):
            return w, u, v
    raise AssertionError("no smooth line found")


@pytest.mark.parametrize(("architecture", "signature", "activation", "criterion", "mix"), ALL, ids=ALL_IDS)
def test_three_derivatives_against_differences(architecture, signature, activation, criterion, mix) -> None:
    """Each derivative, by nested autograd, against a difference of the one before; the first against one of the loss.

    Kinked activations are piecewise smooth, and are compared between kinks, with a step that crosses none. Five points
    leave h⁴ (1e-12 at the smooth ones' h = 1e-3; the kinked ones have h = 1e-5) and round-off 1e-16/h: 1e-9 relative to
    the sizes of order one here.
    """
    kinked = "relu" in activation
    h = 1e-5 if kinked else 1e-3
    module = small(architecture, signature, activation, mix)
    loss = loss_of(module, *examples(signature, criterion), criterion)
    w, u, v = smooth_line(module, loss, h) if kinked else line(module)

    def gradient(w: Tensor) -> Tensor:
        return grad(loss)(w)

    def curvature(w: Tensor) -> Tensor:
        return grad(lambda w: gradient(w) @ u)(w) @ u

    first, second, third = gradient(w) @ u, curvature(w), grad(curvature)(w) @ v
    for exact, difference in (
        (first, slope(lambda t: loss(w + t * u), h)),
        (second, slope(lambda t: gradient(w + t * u) @ u, h)),
        (third, slope(lambda t: curvature(w + t * v), h)),
    ):
        assert float(exact) == pytest.approx(float(difference), rel=1e-8, abs=1e-9)
        assert abs(float(exact)) > 1e-5  # the comparison means something


@pytest.mark.parametrize(("architecture", "signature", "activation", "criterion"), CASES, ids=IDS)
def test_objectives_derivatives_against_differences(architecture, signature, activation, criterion) -> None:
    """Products with H and T for a block of directions, both of Objective's ways, against five points of the gradient and of H u.

    Relative to the largest entry: five points leave 1e-10, Objective's own differences 1e-7 in H and 1e-5 in T.
    """
    module = small(architecture, signature, activation)
    x, y = examples(signature, criterion)
    loss = loss_of(module, x, y, criterion)
    w, u, v = line(module)

    def product(w: Tensor, d: Tensor) -> Tensor:
        return grad(lambda w: grad(loss)(w) @ d)(w)

    H = torch.stack([slope(lambda t, d=d: grad(loss)(w + t * d), 1e-3) for d in (u, v)], 1)
    T = torch.stack([slope(lambda t, a=a, b=b: product(w + t * a, b), 1e-3) for a, b in ((u, u), (u, v), (v, v))])
    assert min(float(H.abs().max()), float(T.abs().max())) > 1e-4
    for derivatives, second, third in (("exact", 1e-8, 1e-8), ("differences", 1e-6, 1e-4)):
        objective = Objective.from_module(module, x, y, criterion, derivatives=derivatives)
        block = torch.stack([u, v], 1)
        torch.testing.assert_close(objective.hvp(w, block), H, rtol=0, atol=second * float(H.abs().max()))
        torch.testing.assert_close(objective.third(w, block), T, rtol=0, atol=third * float(T.abs().max()))


@FORWARD
@pytest.mark.parametrize(("architecture", "signature", "activation", "criterion", "mix"), ALL, ids=ALL_IDS)
def test_every_way_of_differentiating_agrees(architecture, signature, activation, criterion, mix) -> None:
    """Stacked weights under vmap, forward over reverse, and plain nested reverse mode: all equal."""
    module = small(architecture, signature, activation, mix)
    loss = loss_of(module, *examples(signature, criterion), criterion)
    generator = torch.Generator().manual_seed(9)
    base = flat(module)
    stacked = base + 0.1 * torch.randn(2, len(base), generator=generator, dtype=torch.float64)
    v = F.normalize(torch.randn(len(base), generator=generator, dtype=torch.float64), dim=0)

    def hvp(w: Tensor) -> Tensor:
        return grad(lambda w: grad(loss)(w) @ v)(w)

    def third(w: Tensor) -> Tensor:
        return grad(lambda w: hvp(w) @ v)(w)

    def forward_third(w: Tensor) -> Tensor:
        return jvp(lambda w: jvp(grad(loss), (w,), (v,))[1], (w,), (v,))[1]

    def nested(w: Tensor) -> Tensor:
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


def test_time_steps_are_smooth_where_softplus_is_nearly_straight() -> None:
    """PyTorch's softplus jumps by 2e-9 at 20, which a second difference of gradients would divide by the square of its step."""
    scan = Scan(4, rank=1).requires_grad_(False)
    scan.project.weight[:] = 1.0

    def output(bias: Tensor) -> Tensor:
        x = torch.ones(1, 1, 4, dtype=torch.float64)
        return torch.func.functional_call(scan, {"time.bias": bias.expand(4)}, (x,)).sum()

    below, above = (vmap(grad(output))(torch.full((1,), 20.0 + e, dtype=torch.float64)) for e in (-1e-7, 1e-7))
    assert float((above - below).abs()) < 1e-12
