"""The nine update rules: thresholds, each step against math.md 2 in numpy and against torch.optim, and what their preconditioner is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from cflows_core import ConfigError, Objective, Optimizer, RunConfig
from cflows_core.flows import FLOWS
from cflows_core.flows.base import Options, Start
from cflows_core.optimizers import State
from tests.oracles import NINE, Method, Point, gradient

ADAPTIVE = [name for name in NINE if name not in ("gd", "heavy_ball", "nesterov")]
TARGET = torch.tensor([0.7, -0.4, 1.5, 0.2], dtype=torch.float64)


def bowl(w: torch.Tensor) -> torch.Tensor:
    """Small, curved in every direction and far from quadratic."""
    return (torch.cos(w - TARGET) * w).sum() + 0.3 * (w @ w) + 0.2 * w[0] * w[1] * w[2] + torch.exp(0.5 * w[3])


W0 = np.array([0.3, -1.1, 0.4, 0.8])


def flat(f, optimizer: Optimizer, w: np.ndarray, steps: int) -> list[State]:
    """The iterates' states."""
    state = optimizer.start(torch.tensor(w), torch.tensor(gradient(f, w)))
    states = [state]
    for _ in range(steps):
        state = optimizer.step(state, torch.tensor(gradient(f, optimizer.gradient_point(state).numpy())))
        states.append(state)
    return states


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_thresholds(beta1: float) -> None:
    """[RF] eq. 10, 47, Table 2; without momentum every one of them is 2."""
    b = beta1
    heavy, ahead = 2 * (1 + b) / (1 - b), 2 * (1 + b) / ((1 - b) * (1 + 2 * b))
    expected = dict.fromkeys(("gd", "scalar_rmsprop", "rmsprop"), 2.0)
    expected |= dict.fromkeys(("heavy_ball", "scalar_adam", "adam"), heavy) | dict.fromkeys(("nesterov", "scalar_nadam", "nadam"), ahead)
    assert {name: Optimizer(name, lr=0.1, beta1=b).threshold for name in NINE} == pytest.approx(expected, rel=1e-14)


def test_thresholds_as_published() -> None:
    assert Optimizer("adam", lr=1, beta1=0.9).threshold == pytest.approx(38)
    assert Optimizer("nadam", lr=1, beta1=0.9).threshold == pytest.approx(38 / 2.8)


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("corrects", [None, False, True])
@pytest.mark.parametrize("name", NINE)
def test_steps_against_numpy(name: str, corrects: bool | None, scheduled: bool) -> None:
    optimizer = Optimizer(
        name, lr=0.07, beta1=0.8, beta2=0.95, eps=1e-3, bias_correction=corrects, schedule="cosine(9, 0.25)" if scheduled else "constant"
    )
    decides = name in ("scalar_adam", "scalar_nadam", "adam", "nadam") if corrects is None else corrects
    factor = (lambda tau: 0.25 + 0.75 * (1 + np.cos(np.pi * min(tau, 9) / 9)) / 2) if scheduled else (lambda tau: 1.0)
    method = Method(name, 0.07, beta1=0.8, beta2=0.95, eps=1e-3, corrects=decides, schedule=factor)
    theirs = method.start(bowl, W0)
    for ours in flat(bowl, optimizer, W0, 12):
        assert ours.tau == theirs.tau
        np.testing.assert_allclose(ours.w.numpy(), theirs.w, rtol=1e-12)
        assert (ours.m is None) == (not method.has_momentum)
        assert (ours.nu is None) == (theirs.nu is None)
        if ours.m is not None:
            np.testing.assert_allclose(ours.m.numpy(), theirs.m, rtol=1e-11, atol=1e-13)
        if ours.nu is not None:
            np.testing.assert_allclose(ours.nu.numpy(), theirs.nu, rtol=1e-12)
        theirs = method.step(bowl, theirs)


def torch_path(make, steps: int) -> list[np.ndarray]:
    leaf = torch.nn.Parameter(torch.tensor(W0))
    optimizer = make([leaf])
    path = [leaf.detach().numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        bowl(leaf).backward()
        optimizer.step()
        path.append(leaf.detach().numpy().copy())
    return path


def assert_paths(ours: Optimizer, theirs: list[np.ndarray], rtol: float = 1e-11) -> None:
    for state, w in zip(flat(bowl, ours, W0, len(theirs) - 1), theirs, strict=True):
        np.testing.assert_allclose(state.w.numpy(), w, rtol=rtol)


def test_torch_sgd() -> None:
    """Plain, and with momentum: torch's velocity is m/(1 − β₁), so its learning rate is η(1 − β₁)."""
    assert_paths(Optimizer("gd", lr=0.1), torch_path(lambda p: torch.optim.SGD(p, lr=0.1), 15))
    assert_paths(
        Optimizer("heavy_ball", lr=0.5, beta1=0.9), torch_path(lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.0), 15)
    )


def test_torch_adam() -> None:
    """With bias correction torch's Adam is ours, ε outside the root included."""
    make = lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.97), eps=1e-2)  # noqa: E731
    assert_paths(Optimizer("adam", lr=0.05, beta1=0.9, beta2=0.97, eps=1e-2), torch_path(make, 20))


def test_torch_rmsprop() -> None:
    """torch starts its average at 0, ours at the first squared gradient."""

    def make(parameters):
        optimizer = torch.optim.RMSprop(parameters, lr=0.03, alpha=0.95, eps=1e-3)
        optimizer.state[parameters[0]] = {
            "step": torch.zeros(()), "square_avg": torch.tensor(gradient(bowl, W0) ** 2),
        }  # fmt: skip
        return optimizer

    assert_paths(Optimizer("rmsprop", lr=0.03, beta2=0.95, eps=1e-3), torch_path(make, 20))


def torch_nadam(
    beta1: float, decay: float, *, step: float = 0.0, product: float = 1.0, nu: np.ndarray | None = None, steps: int = 50
) -> list[np.ndarray]:
    """torch's NAdam from a given state, its counters in float64 (torch keeps μ's product in float32 by default)."""

    def make(parameters):
        optimizer = torch.optim.NAdam(parameters, lr=0.03, betas=(beta1, 0.97), eps=1e-2, momentum_decay=decay)
        optimizer.state[parameters[0]] = {
            "step": torch.tensor(step, dtype=torch.float64), "mu_product": torch.tensor(product, dtype=torch.float64),
            "exp_avg": torch.zeros(4, dtype=torch.float64), "exp_avg_sq": torch.tensor(np.zeros(4) if nu is None else nu),
        }  # fmt: skip
        return optimizer

    return torch_path(make, steps)


EXHAUSTED = 1e6  # a `momentum_decay` that brings 0.96^(t·decay) to 0, and so torch's μ_t to β₁, from the first step on


def nadam(beta1: float, **fields) -> Optimizer:
    return Optimizer("nadam", lr=0.03, beta1=beta1, beta2=0.97, eps=1e-2, **fields)


@pytest.mark.parametrize("beta1", [0.5, 0.9])
def test_torch_nadam_late_in_training_is_ours_without_bias_correction(beta1: float) -> None:
    """torch's step is P⁻¹[(1 − μ_t) g_t/(1 − Π_t) + μ_{t+1} m_{t+1}/(1 − Π_{t+1})], Π_t = μ_1 ⋯ μ_t, μ_t = β₁(1 − ½·0.96^{t·decay}).

    With μ = β₁ and Π = 0 that is β₁m_{t+1} + (1 − β₁)g_t = β₁²m_t + (1 − β₁²)g_t, Dozat's form (math.md 2). torch's default decay gets
    there late: 0.96^{0.004t} < 1e-16 from t = 226,000 on.
    """
    nu = gradient(bowl, W0) ** 2
    assert_paths(nadam(beta1, bias_correction=False), torch_nadam(beta1, 0.004, step=1e6, product=0.0, nu=nu))


@pytest.mark.parametrize("beta1", [0.5, 0.9])
def test_torch_nadam_with_corrected_squares_is_ours_at_a_scheduled_rate(beta1: float) -> None:
    """Only ν corrected there (μ = β₁, Π = 0, t from 1): ours with bias correction, whose ψ₁ = 1 − β₁^{τ+2} a schedule takes out."""
    ours = nadam(beta1, bias_correction=True, schedule=lambda tau: 1 - beta1 ** (tau + 2))
    assert_paths(ours, torch_nadam(beta1, EXHAUSTED, product=0.0))


@pytest.mark.parametrize("decay", [0.0, 0.004, EXHAUSTED])
def test_torch_nadam_without_momentum_is_ours(decay: float) -> None:
    """β₁ = 0 makes every μ 0: the one β₁ at which `momentum_decay=0` agrees, with bias correction on as it stands."""
    assert_paths(nadam(0.0, bias_correction=True), torch_nadam(0.0, decay))
    nu = gradient(bowl, W0) ** 2
    assert_paths(nadam(0.0, bias_correction=False), torch_nadam(0.0, decay, step=1e6, nu=nu))


@pytest.mark.parametrize("decay", [0.0, 0.004, EXHAUSTED])
@pytest.mark.parametrize("beta1", [0.5, 0.9])
def test_torch_nadam_is_a_combination_of_our_nadam_and_rmsprop(beta1: float, decay: float) -> None:
    """With any μ_t, from a fresh start: torch's step is a·(our NAdam's) + b·(our RMSProp's) of one state, where

        a = (μ_{t+1}/β₁) / (1 − Π_{t+1})     b = (1 − μ_t)/(1 − Π_t) − a(1 − β₁)

    `momentum_decay=0` does not make μ = β₁ but β₁/2 while m still averages by β₁, so that c_m = β₁²/2, c_g = 1 − β₁²/2 at Π = 0
    (a = b = ½): no β₁ of ours is that. And with μ = β₁ torch divides g by 1 − β₁^t where m is divided by 1 − β₁^{t+1}, ours both by the
    latter (unbiased on constant gradients, math.md 2), so that b = (1 − β₁)(1/(1 − β₁^t) − 1/(1 − β₁^{t+1})), gone like β₁^t.
    """
    ours = nadam(beta1, bias_correction=True, schedule=lambda tau: 1 - beta1 ** (tau + 2))
    plain = Optimizer("rmsprop", lr=0.03, beta2=0.97, eps=1e-2, bias_correction=True)
    mu = [beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(53)]
    product, begin = 1.0, torch.tensor(W0)
    state = ours.start(begin, torch.tensor(gradient(bowl, W0)))
    for t, w in enumerate(torch_nadam(beta1, decay), start=1):
        np.testing.assert_allclose(state.w.numpy(), w, rtol=1e-11)
        product *= mu[t]
        a = mu[t + 1] / beta1 / (1 - product * mu[t + 1])
        b = (1 - mu[t]) / (1 - product) - a * (1 - beta1)
        if decay == EXHAUSTED:
            assert b == pytest.approx((1 - beta1) * (1 / (1 - beta1**t) - 1 / (1 - beta1 ** (t + 1))), rel=1e-9, abs=1e-15)
        g = torch.tensor(gradient(bowl, state.w.numpy()))
        dozat = ours.step(state, g)
        moved = a * (dozat.w - state.w) + b * (plain.step(replace(state, m=None), g).w - state.w)
        state = replace(dozat, w=state.w + moved)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
def test_gradient_points_of_look_ahead_are_dozats_iterates(beta1: float) -> None:
    """x_t = w_t − ηβ₁m_t obeys Dozat's x_{t+1} = x_t − η(β₁² m_t + (1 − β₁²) g_t), to rounding (math.md 7)."""
    lr, optimizer = 0.2, Optimizer("nesterov", lr=0.2, beta1=beta1)
    states = flat(bowl, optimizer, W0, 25)
    x, m = W0.copy(), np.zeros(4)
    for state in states:
        np.testing.assert_allclose(optimizer.gradient_point(state).numpy(), x, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(state.m.numpy(), m, rtol=1e-11, atol=1e-13)
        g = gradient(bowl, x)
        x, m = x - lr * (beta1**2 * m + (1 - beta1**2) * g), beta1 * m + (1 - beta1) * g


@pytest.mark.parametrize("kind", ["scalar_rmsprop", "rmsprop"])
def test_frozen_average_is_gradient_descent(kind: str) -> None:
    """β₂ = 1: gradient descent at η/√ν₀."""
    g = gradient(bowl, W0)
    step = 0.05 / (np.abs(g) if kind == "rmsprop" else np.linalg.norm(g))
    w = W0.copy()
    for state in flat(bowl, Optimizer(kind, lr=0.05, beta2=1.0, eps=0.0), W0, 10):
        np.testing.assert_allclose(state.w.numpy(), w, rtol=1e-12)
        w = w - step * gradient(bowl, w)


@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_frozen_average_in_every_kind(name: str, corrects: bool) -> None:
    """β₂ = 1 leaves ν at sq(∇L(w₀)) with bias correction too, whose own ν₀ = 0 nothing would ever move."""
    states = flat(bowl, Optimizer(name, lr=0.01, beta2=1.0, bias_correction=corrects), W0, 5)
    g = torch.tensor(gradient(bowl, W0))
    for state in states:
        torch.testing.assert_close(state.nu, g @ g if "scalar" in name else g * g)
        assert float((state.w - states[0].w).norm()) < 1.0


@pytest.mark.parametrize("name", ["scalar_adam", "scalar_nadam", "adam", "nadam"])
def test_bias_correction_is_unbiased_on_constant_gradients(name: str) -> None:
    """On L = a·w every step is η in every coordinate (scalar: of length η): what both corrections are for (math.md 2)."""
    a = torch.tensor([0.3, -2.0, 0.01], dtype=torch.float64)
    states = flat(lambda w: a @ w, Optimizer(name, lr=0.1, beta1=0.9, beta2=0.99, eps=0.0), np.zeros(3), 8)
    for before, after in itertools.pairwise(states):
        expected = -0.1 * (a / a.norm() if "scalar" in name else a.sign())
        torch.testing.assert_close(after.w - before.w, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_preconditioner_and_slope_against_finite_differences(name: str, corrects: bool) -> None:
    optimizer = Optimizer(name, lr=0.07, beta2=0.97, eps=1e-4, bias_correction=corrects, schedule="warmup(40)")
    method = Method(name, 0.07, beta2=0.97, eps=1e-4, corrects=corrects, schedule=lambda tau: min(1, (tau + 1) / 40))
    nu = np.array(0.3) if "scalar" in name else np.array([0.3, 1e-4, 2.0])
    state = State(torch.zeros(3, dtype=torch.float64), 6.5, torch.zeros(3, dtype=torch.float64), torch.tensor(nu))
    np.testing.assert_allclose(optimizer.preconditioner(state).numpy(), method.P(nu, 6.5), rtol=1e-13)
    np.testing.assert_allclose(optimizer.preconditioner_slope(state).numpy(), method.P_rate(nu, 6.5), rtol=1e-7)


def test_preconditioner_of_the_identity_kind() -> None:
    state = State(torch.zeros(3, dtype=torch.float64), 5.0)
    for name in ("gd", "heavy_ball", "nesterov"):
        optimizer = Optimizer(name, lr=0.25, schedule="step(5, 0.5)")
        assert float(optimizer.preconditioner(state)) == 8.0
        assert optimizer.preconditioner_slope(state) is None


def test_slope_is_zero_where_nu_is() -> None:
    state = State(torch.zeros(2, dtype=torch.float64), 0.0, None, torch.tensor([0.0, 4.0], dtype=torch.float64))
    slope = Optimizer("rmsprop", lr=0.5).preconditioner_slope(state)
    assert slope.tolist() == [0.0, 0.5]


def dead(w: torch.Tensor) -> torch.Tensor:
    """The last weight does nothing."""
    return bowl(torch.cat([w[:3], w.new_zeros(1)]))


@pytest.mark.parametrize("eps", [1e-8, 0.0])
@pytest.mark.parametrize("name", NINE)
def test_a_weight_without_gradient_stays_and_harms_nothing(name: str, eps: float) -> None:
    """ν = 0 there for ever: it must not move, nor put anything into the eigenproblem, in the discrete run and in every flow."""
    optimizer = Optimizer(name, lr=0.02, eps=eps)
    objective, small = Objective.from_function(dead, 4), Objective.from_function(lambda w: dead(torch.cat([w, w.new_zeros(1)])), 3)
    values = []
    for problem, w in ((objective, W0), (small, W0[:3])):
        first = Start(State(torch.tensor(w)), State(torch.tensor(w)), torch.zeros(len(w), dtype=torch.float64))
        discrete = FLOWS["discrete"](problem, optimizer, Options())
        state = discrete.init(first)
        begin = discrete.start(state, between=False)
        seen = []
        for kind in ("discrete", "stable", "central", "rod"):
            flow = FLOWS[kind](problem, optimizer, Options(n_eigs=2))
            moving = flow.init(begin)
            for _ in range(3):
                moving = flow.step(moving)
            assert not moving.stopped
            seen.append(torch.cat([moving.point.w[:3], moving.values[:1]]))
            if len(w) == 4:
                assert float(moving.point.w[3]) == W0[3]
        values.append(torch.stack(seen))
    torch.testing.assert_close(values[0], values[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "nadam"])
def test_a_curved_weight_without_gradient_leaves_the_eigenproblem(name: str) -> None:
    """By symmetry its gradient is 0 although L is curved there: over P̃ = ε/η its eigenvalue would be 1e8 and more."""
    optimizer, p = Optimizer(name, lr=0.02), 5
    objective = Objective.from_function(lambda w: bowl(w[:4]) + 2 * w[4] ** 2, p)
    flow = FLOWS["stable"](objective, optimizer, Options(n_eigs=5))
    w = torch.tensor([*W0, 0.0], dtype=torch.float64)
    nu = objective.grad(w) ** 2
    assert nu[4] == 0
    point = State(w, 3.0, torch.zeros_like(w), nu)
    without = State(w[:4], 3.0, torch.zeros(4, dtype=torch.float64), nu[:4])
    smaller = FLOWS["stable"](Objective.from_function(bowl, 4), optimizer, Options(n_eigs=5))
    ours = flow.measure(point, flow.eigen_init(w))
    theirs = smaller.measure(without, smaller.eigen_init(w[:4]))
    torch.testing.assert_close(ours.values[:1], theirs.values[:1], rtol=1e-6, atol=0)
    assert float(ours.vectors[4].abs().max()) == 0


@pytest.mark.parametrize("name", NINE)
def test_kind_and_fields(name: str) -> None:
    optimizer = Optimizer.of(RunConfig(optimizer=name, lr=0.2, beta1=0.7, beta2=0.9, eps=1e-4))
    assert (optimizer.name, optimizer.lr) == (name, 0.2)
    assert optimizer.adaptive == (name in ADAPTIVE)
    assert optimizer.corrects == ("adam" in name)
    assert optimizer.beta1 == (0.7 if Method(name, 1).has_momentum else 0.0)
    assert optimizer.swing == (2.4 if name == "nesterov" else 1.0)
    assert sum(optimizer.mixture) == pytest.approx(1.0)
    if optimizer.adaptive:
        assert optimizer.rate == pytest.approx(1 / 9)
        for choice, expected in (("on", True), ("off", False)):
            assert Optimizer.of(RunConfig(optimizer=name, bias_correction=choice)).corrects is expected


def test_nu_relaxes_without_overshoot() -> None:
    """1 − exp(−κ₂ dt) for every β₂, both ends included (math.md 3)."""
    assert Optimizer("rmsprop", lr=1, beta2=0.0).relaxation(0.01) == 1.0
    assert Optimizer("rmsprop", lr=1, beta2=1.0).relaxation(1.0) == 0.0
    assert Optimizer("rmsprop", lr=1, beta2=0.5).relaxation(0.5) == pytest.approx(1 - np.exp(-0.5))
    assert Optimizer("rmsprop", lr=1, beta2=0.999999).relaxation(1e-3) == pytest.approx(1e-9, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "sgd"}, "`optimizer` must be one of gd, heavy_ball,"),
        ({"lr": 0.0}, "`lr` must be positive"),
        ({"lr": float("inf")}, "`lr` must be a finite number"),
        ({"name": "adam", "beta1": 1.0}, "`beta1` must be"),
        ({"name": "adam", "beta1": -0.1}, "`beta1` must be"),
        ({"name": "rmsprop", "beta2": 1.1}, "`beta2` must be"),
        ({"name": "rmsprop", "eps": -1e-8}, "`eps` must be"),
        ({"name": "rmsprop", "eps": float("nan")}, "`eps` must be a finite number"),
    ],
)
def test_nonsense_is_one_sentence(fields: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Optimizer(**{"lr": 0.1, **fields})
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(".")
    names = {"name": "optimizer"}
    with pytest.raises(ConfigError) as other:
        RunConfig(**{names.get(key, key): value for key, value in fields.items()})
    assert str(other.value).startswith("`" + sentence.split("`")[1])


def test_the_oracle_itself_by_hand() -> None:
    """Two steps of Scalar Adam's numbers, worked out on paper: g = w, w₀ = 2, η = 1, β₁ = ½, β₂ = ¾, no bias correction."""
    method = Method("scalar_adam", 1.0, beta1=0.5, beta2=0.75, eps=0.0)
    half = lambda w: 0.5 * (w @ w)  # noqa: E731
    start = method.start(half, np.array([2.0]))
    assert float(start.nu) == 4
    one = method.step(half, start)  # ν = 4, d = ½·2 = 1, P̃ = 2
    assert (one.w[0], one.m[0], float(one.nu)) == (1.5, 1.0, 4.0)
    two = method.step(half, Point(*one))  # ν = 3 + ¼·2.25, d = ½ + ½·1.5
    assert float(two.nu) == 3.5625
    assert two.w[0] == pytest.approx(1.5 - 1.25 / np.sqrt(3.5625))
