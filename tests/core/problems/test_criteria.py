"""Criteria: values against PyTorch's, three derivatives against closed forms, targets and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, jacfwd, jacrev, vmap

from cflows_core.errors import ConfigError, DataError, ModelError
from cflows_core.problems import criteria

N, C = 7, 4
# Forward mode makes PyTorch compile its own decompositions with a deprecated call, once a process.
FORWARD = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(N, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LABELS = torch.tensor([0, 3, 1, 2, 2, 0, 1])


def test_mse_is_half_the_sum_of_squares(outputs: torch.Tensor) -> None:
    targets = criteria.encode(LABELS, C)
    expected = 0.5 * F.mse_loss(outputs, F.one_hot(LABELS, C).double(), reduction="none").sum(1)
    torch.testing.assert_close(criteria.mse(outputs, targets), expected)


def test_cross_entropy_agrees_with_pytorch(outputs: torch.Tensor) -> None:
    expected = F.cross_entropy(outputs, LABELS, reduction="none")
    torch.testing.assert_close(criteria.cross_entropy(outputs, criteria.encode(LABELS, C, "cross_entropy")), expected)
    torch.testing.assert_close(criteria.cross_entropy(outputs, LABELS), expected)


def test_cross_entropy_does_not_overflow() -> None:
    outputs = torch.tensor([[1000.0, 0.0], [-1000.0, 0.0]], dtype=torch.float64)
    losses = criteria.cross_entropy(outputs, torch.tensor([1, 1]))
    torch.testing.assert_close(losses, torch.tensor([1000.0, 0.0], dtype=torch.float64))


@FORWARD
@pytest.mark.parametrize("differentiate", [jacrev, jacfwd])
@pytest.mark.parametrize("encoded", [True, False])
def test_cross_entropy_has_its_closed_form_derivatives(outputs: torch.Tensor, differentiate, encoded: bool) -> None:
    """With p = softmax(f): ∇ = p − y, ∇² = diag(p) − ppᵀ, ∇³_abc = ∂_c (p_a (δ_ab − p_b)); under vmap."""
    targets = criteria.encode(LABELS, C, "cross_entropy") if encoded else LABELS

    def loss(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return criteria.cross_entropy(f[None], y[None])[0]

    first = vmap(grad(loss))(outputs, targets)
    second = vmap(differentiate(grad(loss)))(outputs, targets)
    third = vmap(differentiate(differentiate(grad(loss))))(outputs, targets)
    p = torch.softmax(outputs, 1)
    eye = torch.eye(C, dtype=torch.float64)
    slope = p[:, :, None] * eye - p[:, :, None] * p[:, None, :]  # ∂_c p_a
    expected = slope[:, :, None, :] * (eye[None, :, :, None] - p[:, None, :, None]) - p[:, :, None, None] * slope[:, None, :, :]
    torch.testing.assert_close(first, p - F.one_hot(LABELS, C))
    torch.testing.assert_close(second, slope)
    torch.testing.assert_close(third, expected)


def test_third_derivatives_by_nested_autograd(outputs: torch.Tensor) -> None:
    """Plain nested autograd, the path of `Objective`, against the third cumulant Σ_a p_a (v_a − v̄)³."""
    f = outputs.clone().requires_grad_()
    v = torch.linspace(-1, 1, C, dtype=torch.float64).expand(N, C)
    value = criteria.cross_entropy(f, criteria.encode(LABELS, C, "cross_entropy")).sum()
    for _ in range(3):
        value = (torch.autograd.grad(value, f, create_graph=True)[0] * v).sum()
    p = torch.softmax(outputs, 1)
    centred = v - (p * v).sum(1, keepdim=True)
    torch.testing.assert_close(value.detach(), (p * centred**3).sum())


def test_mse_over_stacked_weights_equals_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    stacked = torch.randn(5, 3, C, generator=generator, dtype=torch.float64)
    x = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    for name in criteria.CRITERIA:
        targets = criteria.encode(LABELS, C, name)

        def loss(w: torch.Tensor, name: str = name, targets: torch.Tensor = targets) -> torch.Tensor:
            return criteria.get(name)(x @ w, targets).mean()

        together = vmap(grad(lambda w: grad(loss)(w).square().sum()))(stacked)
        apart = torch.stack([grad(lambda w: grad(loss)(w).square().sum())(w) for w in stacked])
        torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("criterion", ["mse", "cross_entropy"])
def test_several_answers_count_as_their_mean(criterion: str) -> None:
    """Outputs [n, A, C], and with one more dimension, against a loop over examples and positions."""
    generator = torch.Generator().manual_seed(3)
    several = torch.randn(N, 2, 3, C, generator=generator, dtype=torch.float64)
    labels = torch.randint(C, (N, 2, 3), generator=generator)
    targets = criteria.encode(labels, C, criterion)
    assert targets.shape == several.shape
    function = criteria.get(criterion)
    for f, y, classes in ((several, targets, labels), (several[:, 0], targets[:, 0], labels[:, 0])):
        rows = [torch.stack([function(p[None], t[None])[0] for p, t in zip(a.reshape(-1, C), b.reshape(-1, C), strict=True)])
                for a, b in zip(f, y, strict=True)]  # fmt: skip
        torch.testing.assert_close(function(f, y), torch.stack([row.mean() for row in rows]))
        if criterion == "cross_entropy":
            torch.testing.assert_close(function(f, classes), function(f, y))


def test_classes_of_minus_one_hundred_do_not_count() -> None:
    """As in PyTorch where every example has one counted position; with several, each example is the mean of its own."""
    generator = torch.Generator().manual_seed(4)
    f = torch.randn(N, 3, C, generator=generator, dtype=torch.float64)
    one = torch.full((N, 3), -100)
    one[torch.arange(N), torch.arange(N) % 3] = LABELS
    theirs = F.cross_entropy(f.mT, one, ignore_index=-100)
    torch.testing.assert_close(criteria.cross_entropy(f, one).mean(), theirs)
    some = torch.tensor([[0, 1, 2], [-100, 3, 0], [1, -100, -100], [-100] * 3, [2, 2, -100], [3, 3, 3], [-100, -100, 0]])
    each = F.cross_entropy(f.mT, some, ignore_index=-100, reduction="none")
    expected = torch.stack([row[y >= 0].mean() if (y >= 0).any() else row.sum() for row, y in zip(each, some, strict=True)])
    torch.testing.assert_close(criteria.cross_entropy(f, some), expected)
    torch.testing.assert_close(criteria.cross_entropy(f[:, 0], some[:, 0]), each[:, 0])
    slope = grad(lambda f: criteria.cross_entropy(f, some).sum())(f)
    assert not slope[some < 0].any()
    assert slope[some >= 0].all()


def test_targets() -> None:
    onehot = criteria.encode(np.array([2, 0]), 3)
    assert onehot.dtype == torch.float64
    assert onehot.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert criteria.encode([1, 0], 2, targets="signed").tolist() == [[1], [-1]]
    assert criteria.n_outputs(10) == 10
    assert criteria.n_outputs(10, criterion="cross_entropy") == 10
    assert criteria.n_outputs(2, "signed") == 1
    assert criteria.encode(np.array([[2, 0], [1, 1]]), 3).tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert criteria.n_outputs(0) == 1
    assert criteria.encode(np.array([[0.5], [-2.0]]), 0).tolist() == [[0.5], [-2.0]]


def test_accuracy_reads_the_largest_output_or_the_sign() -> None:
    assert criteria.accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])) == 0.5
    assert criteria.accuracy(torch.tensor([[-0.3], [2.0], [0.1]]), torch.tensor([0, 1, 1])) == 1.0
    several = torch.tensor([[[0.1, 0.9], [0.8, 0.2]], [[1.0, 0.0], [1.0, 0.0]]])
    assert criteria.accuracy(several, torch.tensor([[1, 1], [0, 0]])) == 0.75
    assert np.isnan(criteria.accuracy(torch.zeros(2, 1), torch.zeros(2, 1)))  # regression
    assert np.isnan(criteria.accuracy(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: criteria.get("hinge"), ConfigError, "'hinge'"),
        (lambda: criteria.n_outputs(3, "signed"), ConfigError, "exactly two classes, got 3"),
        (lambda: criteria.n_outputs(2, "signed", "cross_entropy"), ConfigError, "got 'cross_entropy'"),
        (lambda: criteria.encode(LABELS, 4, "mse", "signed"), ConfigError, "got 4"),
        (lambda: criteria.n_outputs(3, "soft"), ConfigError, "'soft'"),
        (lambda: criteria.encode(LABELS, 3), DataError, "0 to 2 for 3 classes, got 3"),
        (lambda: criteria.encode(torch.tensor([-1]), 3), DataError, "got -1"),
        (lambda: criteria.mse(torch.zeros(4, 1), torch.zeros(4)), ModelError, r"got \[4\]"),
        (lambda: criteria.cross_entropy(torch.zeros(4, 3), torch.zeros(4, 2)), ModelError, r"got \[4, 2\]"),
        (lambda: criteria.mse(torch.zeros(4, 2, 3), torch.zeros(4, 3)), ModelError, r"got \[4, 3\]"),
        (lambda: criteria.cross_entropy(torch.zeros(4, 2, 3), torch.zeros(4, 3)), ModelError, r"got \[4, 3\]"),
        (lambda: criteria.cross_entropy(torch.zeros(4, 2, 3), LABELS[:4]), ModelError, r"the shape \[4, 2\], got \[4\]"),
        (lambda: criteria.n_outputs(0, criterion="cross_entropy"), ConfigError, "got 'cross_entropy'"),
        (lambda: criteria.n_outputs(0, "signed"), ConfigError, "and 'signed'"),
        (lambda: criteria.encode(torch.tensor([[0, 1], [2, 3]]), 3), DataError, "got 3"),
    ],
)
def test_refusals_are_one_sentence(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
