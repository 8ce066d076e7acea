"""A batch of optimizers is as many single ones."""

from __future__ import annotations

import pytest
import torch

from cflows_core import ConfigError, Optimizer
from cflows_core.problems.toy import Quartic, Valley
from cflows_core.toylab.batch import Batch, gradient, start_weights
from tests.oracles import NINE

VALLEY = Valley(1.0, torch.tensor([0.8], dtype=torch.float64), 0.05, torch.tensor([4.0], dtype=torch.float64), bend=0.5)


@pytest.mark.parametrize("corrects", [True, False])
@pytest.mark.parametrize("name", NINE)
def test_equals_single_optimizers(name: str, corrects: bool) -> None:
    """Twelve steps in a valley of two weights, every parameter varied: equal to rounding."""
    base = Optimizer(name, lr=0.2, bias_correction=corrects, schedule="cosine(20, 0.1)")
    values = {"lr": [0.1, 0.3, 0.7]}
    if base.momentum != "none":
        values["beta1"] = [0.0, 0.5, 0.9]
    if base.adaptive:
        values["beta2"] = [0.3, 0.99, 1.0]
    batch = Batch(base, **values)
    w = torch.tensor([[0.3, 0.1], [-0.2, 1.0], [0.5, -1.0]], dtype=torch.float64)
    state = batch.start(w, gradient(VALLEY, w))
    singles = []
    for i in range(3):
        one = Optimizer(
            name, bias_correction=corrects, schedule="cosine(20, 0.1)", **{parameter: given[i] for parameter, given in values.items()}
        )
        singles.append((one, one.start(w[i], gradient(VALLEY, w[i]))))
    for _ in range(12):
        state = batch.step(state, gradient(VALLEY, batch.gradient_point(state)))
        singles = [(one, one.step(s, gradient(VALLEY, one.gradient_point(s)))) for one, s in singles]
    torch.testing.assert_close(state.w, torch.stack([s.w for _, s in singles]), rtol=1e-12, atol=1e-14)
    if state.m is not None:
        torch.testing.assert_close(state.m, torch.stack([s.m for _, s in singles]), rtol=1e-12, atol=1e-14)
    if state.nu is not None:
        torch.testing.assert_close(state.nu, torch.stack([s.nu.reshape(-1) for _, s in singles]), rtol=1e-12, atol=1e-14)
    thresholds = torch.as_tensor(batch.threshold).reshape(-1).expand(3)
    assert thresholds.tolist() == pytest.approx([one.threshold for one, _ in singles])


def test_a_slice_is_some_of_them() -> None:
    batch = Batch(Optimizer("adam", lr=0.1), lr=[0.1, 0.2, 0.3], beta1=[0.0, 0.5, 0.9])
    part = batch.slice(slice(1, 3))
    assert part.n == 2
    assert part.lr.tolist() == [[0.2], [0.3]]
    assert part.beta1.tolist() == [[0.5], [0.9]]
    assert part.beta2 == 0.99


@pytest.mark.parametrize(("name", "values", "says"), [
    ("gd", {"beta1": [0.5]}, "`beta1` does nothing in gd, so it cannot be varied: choose lr."),
    ("heavy_ball", {"beta2": [0.5]}, "choose lr or beta1."),
    ("adam", {"eps": [0.5]}, "got 'eps'"),
    ("gd", {"lr": [0.1, -1.0]}, "lr"),
    ("gd", {"lr": [0.1, float("nan")]}, "lr"),
    ("adam", {"beta1": [0.5, 1.0]}, "beta1"),
])  # fmt: skip
def test_what_cannot_be_varied(name: str, values: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=r".*\.$") as caught:
        Batch(Optimizer(name, lr=0.1), **values)
    assert says in str(caught.value)


@pytest.mark.parametrize(("w0", "says"), [([1.0, 2.0], "needs 1 number on"), ([], "got 0"), ([float("inf")], "got inf")])
def test_a_start_that_does_not_fit(w0: list, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start_weights(w0, Quartic(1.0, 1.0))
    assert says in str(caught.value)
