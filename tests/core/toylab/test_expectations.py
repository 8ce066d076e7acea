"""What theory expects agrees with what is measured; and a wrong expectation would not."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cflows_core import Optimizer
from cflows_core.problems.formula import Formula
from cflows_core.problems.toy import Linear, Quadratic, Quartic, Valley
from cflows_core.toylab import expectations
from tests.oracles import NINE

LR = 0.5


def matrix(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


def claims(loss, optimizer: Optimizer, w0: list) -> dict:
    found = expectations(loss, optimizer, w0)
    assert len({claim.name for claim in found}) == len(found)
    for claim in found:
        assert claim.agrees, claim
        assert claim.source
        assert claim.formula
    return {claim.name: claim for claim in found}


@pytest.mark.parametrize("name", NINE)
def test_linear(name: str) -> None:
    found = claims(Linear(torch.tensor([-0.3], dtype=torch.float64)), Optimizer(name, lr=LR, eps=0.0), [0.0])
    assert {"steady velocity", "rod, half its length"} <= set(found)


@pytest.mark.parametrize("share", [0.9, 1.1])
@pytest.mark.parametrize("name", NINE[:3])
def test_quadratic(name: str, share: float) -> None:
    optimizer = Optimizer(name, lr=LR)
    found = claims(Quadratic(matrix(share * optimizer.threshold / LR)), optimizer, [1.0])
    assert found["rod from the 2-cycle's direction"].expected == ("decays" if share < 1 else "grows")
    assert ("second eigenvalue at S = c/η" in found) == (name != "gd")


@pytest.mark.parametrize("name", NINE[3:])
def test_adaptive_quadratic(name: str) -> None:
    found = claims(Quadratic(matrix(3.0)), Optimizer(name, lr=LR, eps=0.0), [1.0])
    assert found["2-cycle of the iterates"].expected == ("unstable" if name in ("adam", "scalar_adam") else "stable")
    assert "root mean square of the swings" in found


@pytest.mark.parametrize("share", [0.9, 1.2, 1.6])
@pytest.mark.parametrize("name", NINE[:3])
def test_quartic(name: str, share: float) -> None:
    optimizer = Optimizer(name, lr=LR)
    found = claims(Quartic(share * optimizer.threshold / LR, 1.0), optimizer, [0.1])
    if share > 1:
        assert found["2-cycle of the iterates"].measured == ("stable" if share < 1.5 else "unstable")
    assert ("2-cycle of the iterate" in found) == (name == "nesterov" and share > 1)
    assert ("gradient point, Nesterov against Dozat's form" in found) == (name == "nesterov")


def test_valley() -> None:
    loss = Valley(1.0, torch.tensor([0.8], dtype=torch.float64), 0.2, torch.tensor([4.0], dtype=torch.float64), bend=0.5)
    found = claims(loss, Optimizer("gd", lr=LR), [0.1, 2.5])
    assert len(found) == 4


@pytest.mark.parametrize("name", ["heavy_ball", "rmsprop", "adam"])
def test_a_formula_about_its_minimum(name: str) -> None:
    found = claims(Formula.read("2*log(cosh(x - 1))"), Optimizer(name, lr=0.1), [0.5])
    assert ("swings grow from η" in found) == (name == "heavy_ball")
    if name == "heavy_ball":
        assert found["swings grow from η"].expected == pytest.approx(38 / 2, rel=1e-6)


def test_a_formula_without_a_minimum_has_no_claims() -> None:
    assert expectations(Formula.read("x^3 + x"), Optimizer("gd", lr=0.1), [0.5]) == []


def test_agreement_is_by_the_stated_tolerance() -> None:
    claim = expectations(Linear(torch.tensor([1.0], dtype=torch.float64)), Optimizer("gd", lr=LR), [0.0])[0]
    assert not dataclasses.replace(claim, expected=claim.expected * (1 + 3 * claim.tolerance)).agrees
    assert not dataclasses.replace(claim, expected="stable", measured="unstable").agrees
    assert not dataclasses.replace(claim, measured=float("nan")).agrees
