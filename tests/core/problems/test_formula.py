"""Formulas: what is none ends in a sentence and nothing else; what is one has the values and derivatives of the same written out."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cflows_core.errors import ConfigError
from cflows_core.problems.formula import FUNCTIONS, LONGEST, Formula

HOSTILE = [
    "",
    "   ",
    "__import__('os').system('echo x')",
    "__import__",
    "().__class__.__bases__",
    "x.__class__",
    "x.y",
    "x[0]",
    "eval(x)",
    "open(x)",
    "print(x)",
    "lambda: x",
    "lambda x: x",
    "[x for x in y]",
    "{x}",
    "f'{x}'",
    '"a" * x',
    "'a'",
    "9**9**9**9 + x",
    "9^9^9^9 + x",
    "x**9**9**9**9",
    "(" * 150 + "x" + ")" * 150,
    "-" * 190 + "x",
    "x+" * 95 + "x",
    "exp(" * 45 + "x" + ")" * 45,
    "x" * 10_000,
    "x + " * 2_500,
    "x\0",
    "\0",
    "ｘ + 1",  # full width
    "х + 1",  # Cyrillic
    "x − 1",
    "𝐱",
    "x := 3",
    "(x := 3)",
    "x; y",
    "x\ny",
    "import os",
    "x = 3",
    "x == 3",
    "x < y",
    "x if x else y",
    "x and y",
    "not x",
    "x in y",
    "x is y",
    "True",
    "True * x",
    "None + x",
    "1j * x",
    "2x",
    "2(x)",
    "x(3)",
    "(x)(y)",
    "0x10 * x",
    "1_000 * x",
    "01 * x",
    "exp",
    "exp()",
    "exp(x, y)",
    "exp(x=1)",
    "exp(*x)",
    "*x",
    "x, y",
    "x @ y",
    "x // 2",
    "x % 2",
    "~x",
    "x & y",
    "x | y",
    "x << 2",
    "await x",
    "yield x",
    "...",
    "x...",
    "0/0 + x",
    "0/0",
    "1/(2-2) * x",
    "x/(x-x)",
    "log(0-1) + x",
    "sqrt(-1) * x",
    "log(-1 - x^2)",
    "1e999 * x",
    "9" * 190 + "**9 * x",
    "nan * x",
    "inf",
    "z",
    "y",
    "3",
    "pi + e",
    "sin x",
    "x +",
    ")x(",
    "#x",
    "x # y",
    "\\x",
    "${x}",
    "{{x}}",
    "<script>alert(1)</script>",
    "'; DROP TABLE runs; --",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_formula_gives_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Formula.read(text)
    message = str(caught.value)
    assert message.isascii()
    assert message.startswith("A ")
    assert message.endswith(".")
    assert len(message) < 330
    assert "\n" not in message


def test_nothing_of_it_is_ever_evaluated() -> None:
    """Python's own audit: while formulas are read nothing is executed, imported or opened; the parser alone sees the text."""
    seen: list[str] = []
    listening = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listening:
            seen.append(event)

    sys.addaudithook(hook)
    for listening in (False, True):  # noqa: B007 - what PyTorch loads at a function's first call is not what is tested
        outcomes = []
        for text in [*HOSTILE, "x^2 + sin(y)"]:
            try:
                outcomes.append(Formula.read(text))
            except ConfigError as error:
                outcomes.append(error)
    listening = False
    assert isinstance(outcomes[-1], Formula)
    assert "compile" in seen  # ast.parse
    assert set(seen) <= {"compile", "object.__getattr__", "sys._getframe"}


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("xye0123456789.+-*/^() ,_pisncoexplgqrtahbu\"'[]{}:;=<>\\\0\n"), max_size=LONGEST + 5) | st.text(max_size=40)
)
def test_any_text_is_a_formula_or_a_sentence(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            formula = Formula.read(text)
        except ConfigError as error:
            formula = str(error)
    if isinstance(formula, str):
        assert formula.endswith(".")
        return
    assert formula.variables in (("x",), ("x", "y"))
    assert formula.loss(torch.ones(3, formula.n_params, dtype=torch.float64)).shape == (3,)


@pytest.mark.parametrize(("text", "written"), [
    ("x^4/4 - x^2", lambda x, y: x**4 / 4 - x**2),
    ("2*x^2", lambda x, y: 2 * x**2),
    ("-x^2", lambda x, y: -(x**2)),
    ("x**-1 + .5", lambda x, y: 1 / x + 0.5),
    ("2^x + 3/x - 1e-1", lambda x, y: 2**x + 3 / x - 0.1),
    ("+x*pi - e", lambda x, y: x * math.pi - math.e),
    ("1/2/x", lambda x, y: 0.5 / x),
    ("x^2^2", lambda x, y: x**4),
    ("(x^2 + y - 11)^2 + (x + y^2 - 7)^2", lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
    ("x^y", lambda x, y: x**y),
    ("x^13 - x^16 + x^17 + x^0.5", lambda x, y: x**13 - x**16 + x**17 + np.sqrt(x)),
    ("(" * 90 + "x" + ")" * 90, lambda x, y: x),
    ("abs(x - 2) * exp(-x^2/2)", lambda x, y: np.abs(x - 2) * np.exp(-(x**2) / 2)),
])  # fmt: skip
def test_values(text: str, written) -> None:
    """In NumPy, with Python's own precedence; many points at once as one by one."""
    formula = Formula.read(text)
    w = torch.rand(5, 4, formula.n_params, dtype=torch.float64) + 0.3
    x, y = w[..., 0].numpy(), w[..., -1].numpy()
    np.testing.assert_allclose(formula.loss(w).numpy(), written(x, y), rtol=1e-12)
    assert float(formula.loss(w[1, 2])) == pytest.approx(float(written(x, y)[1, 2]), rel=1e-12)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_three_derivatives_of_every_function(name: str) -> None:
    """Each against the central difference of the one before: error h²/6 times the third derivative beyond it, 1e-8 here, and rounding."""
    formula, x = Formula.read(f"{name}(x)*x^3"), torch.tensor([[0.3], [0.7], [1.1]], dtype=torch.float64)
    h = 1e-4

    def derivative(order: int, at: torch.Tensor) -> torch.Tensor:
        leaf = at.clone().requires_grad_()
        value = formula.loss(leaf)
        for _ in range(order):
            value = torch.autograd.grad(value.sum(), leaf, create_graph=True)[0][..., 0]
        return value.detach()

    for order in (1, 2, 3):
        difference = (derivative(order - 1, x + h) - derivative(order - 1, x - h)) / (2 * h)
        torch.testing.assert_close(derivative(order, x), difference, rtol=2e-5, atol=2e-6)


def test_powers_are_smooth_at_zero() -> None:
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    third = Formula.read("x^3/6 + x^4").loss(w)
    for _ in range(3):
        (third,) = torch.autograd.grad(third.sum(), w, create_graph=True)
    assert float(third.detach()) == 1.0


def test_a_softplus_has_no_straight_part() -> None:
    x = torch.tensor([[25.0]], dtype=torch.float64)
    assert float(Formula.read("softplus(x) - x").loss(x)) == pytest.approx(math.log1p(math.exp(-25)), rel=1e-3)


def test_equal_texts_are_equal_formulas() -> None:
    assert Formula.read("x^2") == Formula.read(" x^2 ")
    assert hash(Formula.read("x^2")) == hash(Formula.read("x^2"))
    assert Formula.read("x^2") != Formula.read("x^4")
