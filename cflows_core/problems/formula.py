"""A loss that a user typed, such as `x**4/4 - x**2 + 0.3*y**2`: read by a grammar of its own, never run as code.

The text is parsed into Python's syntax tree and the tree walked against a list of what may be in it: numbers, x, y, pi, e, + - * / **,
brackets and the functions in `FUNCTIONS`; ^ is a power. What comes out is made of PyTorch operations, so that it takes many points at
once and has all derivatives. Nothing in the text is ever looked up, called or compiled.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cflows_core.errors import ConfigError

LONGEST, DEEPEST, LARGEST = 200, 40, 120  # characters, levels of nesting, and operations with numbers and variables
LARGEST_PRODUCT = 16  # whole powers up to this one are products: faster than a general power, and smooth at 0
_PARSING = threading.Lock()  # CPython 3.11 counts a tree's depth in one place for all threads, and fails where two make one at a time
PROBE = 41  # points a side, from −4 to 4, of which one at least must have a finite loss
EXAMPLE = "x**4/4 - x**2"

# Of a number or of a variable: a branch of the formula, given the variables [...] by name.
Branch = float | Callable[[dict[str, Tensor]], Tensor]


def _softplus(u: Tensor) -> Tensor:
    return torch.logaddexp(u, torch.zeros_like(u))  # PyTorch's own softplus is a straight line from 20 on


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "atan": torch.atan,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "softplus": _softplus,
    "abs": torch.abs,
}
CONSTANTS = {"pi": math.pi, "e": math.e}
VARIABLES = ("x", "y")
_ALLOWED = re.compile(r"[A-Za-z0-9_.+\-*/^(), ]")
_NUMBER_THEN_NAME = re.compile(r"(?<![A-Za-z_0-9.])((?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?+)([A-Za-z_]\w*)")
_OPERATIONS: dict[type, Callable[..., Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Formula:
    """L(w) of w = x or (x, y), as `read` from a text.

    >>> formula = Formula.read("x^4/4 - x^2 + y^2")
    >>> formula.variables, float(formula.loss(torch.tensor([2.0, 1.0])))
    (('x', 'y'), 1.0)
    """

    text: str
    variables: tuple[str, ...]
    _value: Callable[[dict[str, Tensor]], Tensor] = field(compare=False, repr=False)

    @property
    def n_params(self) -> int:
        return len(self.variables)

    def loss(self, w: Tensor) -> Tensor:
        """w [..., n_params] -> [...]."""
        return self._value({name: w[..., i] for i, name in enumerate(self.variables)})

    @classmethod
    def read(cls, text: str) -> Formula:
        """The loss that a text describes. Raises `ConfigError`: one sentence with what is wrong and what to write instead."""
        tree = _tree(text)
        value = _Walk().branch(tree, 0)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(VARIABLES)
        if not callable(value) or not names:
            raise ConfigError(
                f"A formula must contain the variable x (and may contain y), got {_shown(text)}: write one such as {EXAMPLE}."
            )
        if names == {"y"}:
            raise ConfigError(f"A formula of one variable is written in x, got y alone in {_shown(text)}: put x in its place.")
        formula = cls(text.strip(), VARIABLES[: len(names)], value)
        grid = torch.linspace(-4, 4, PROBE, dtype=torch.float64)
        points = torch.cartesian_prod(*[grid] * len(names)).reshape(-1, len(names))
        if not bool(torch.isfinite(formula.loss(points)).any()):
            raise ConfigError(
                f"A formula must have a finite value somewhere between -4 and 4, got none for {_shown(text)}: avoid dividing by zero, and "
                "roots and logarithms of negative numbers."
            )
        return formula


def _tree(text: str) -> ast.expr:
    """The syntax tree of a text that has nothing in it but numbers, names, operators and brackets."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"A formula is empty: write one such as {EXAMPLE}.")
    if len(text) > LONGEST:
        raise ConfigError(f"A formula may have {LONGEST} characters, got {len(text):,}: shorten it.")
    strange = next((character for character in text if not _ALLOWED.fullmatch(character)), None)
    if strange is not None:
        raise ConfigError(
            f"A formula is made of numbers, x, y, + - * / **, brackets and functions such as sin, got {strange!a} at character "
            f"{text.index(strange) + 1}: remove it."
        )
    joined = _NUMBER_THEN_NAME.search(text)
    if joined:
        raise ConfigError(f"A product needs its sign, got {joined[0]!r}: write {joined[1]}*{joined[2]}.")
    try:
        with _PARSING:
            return ast.parse(text.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ConfigError(f"A formula must be complete, got {_shown(text)}: check its brackets and operators, as in {EXAMPLE}.") from None


class _Walk:
    """From a syntax tree to PyTorch operations, refusing all that is not in the grammar."""

    def __init__(self) -> None:
        self._count = 0

    def branch(self, node: ast.expr, depth: int) -> Branch:
        self._count += 1
        if depth > DEEPEST:
            raise ConfigError(f"A formula may nest {DEEPEST} levels, got more: simplify it.")
        if self._count > LARGEST:
            raise ConfigError(f"A formula may have {LARGEST} numbers, variables and operations, got more: simplify it.")
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return _finite(float(number), node)
            case ast.Name(id=name) if name in VARIABLES:
                return lambda at: at[name]
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.UnaryOp(op=ast.USub()):
                return _applied(torch.neg, node, self.branch(node.operand, depth + 1))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.branch(node.operand, depth + 1)
            case ast.BinOp(op=ast.Pow()):
                return _power(node, self.branch(node.left, depth + 1), self.branch(node.right, depth + 1))
            case ast.BinOp() if type(node.op) in _OPERATIONS:
                operation = _OPERATIONS[type(node.op)]
                return _applied(operation, node, self.branch(node.left, depth + 1), self.branch(node.right, depth + 1))
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
                    raise ConfigError(f"A function takes one value in its brackets, got {_unparsed(node)}: write {name}(x).")
                return _applied(FUNCTIONS[name], node, self.branch(node.args[0], depth + 1))
        raise ConfigError(_refusal(node))


def _refusal(node: ast.expr) -> str:
    """What is wrong with a part of a formula that the grammar does not have."""
    functions = ", ".join(FUNCTIONS)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in (*VARIABLES, *CONSTANTS):
        return f"A formula may call {functions}, got {_unparsed(node.func)}: use one of these."
    if isinstance(node, ast.Call):
        return f"A product needs its sign, got {_unparsed(node)}: write * before the bracket."
    if isinstance(node, ast.Name) and node.id in FUNCTIONS:
        return f"A function needs its brackets, got {node.id} alone: write {node.id}(x)."
    if isinstance(node, ast.Name):
        return f"A formula may name x, y, pi, e and the functions {functions}, got {_unparsed(node)}: use one of these."
    return f"A formula is made of numbers, x, y, + - * / **, brackets and functions such as sin, got {_unparsed(node)}: remove that part."


def _applied(operation: Callable[..., Tensor], node: ast.expr, *branches: Branch) -> Branch:
    """An operation on branches: done at once where all of them are numbers."""
    numbers = [branch for branch in branches if not callable(branch)]
    if len(numbers) == len(branches):
        return _finite(float(operation(*(torch.tensor(number, dtype=torch.float64) for number in numbers))), node)
    return lambda at: operation(*(branch(at) if callable(branch) else branch for branch in branches))


def _power(node: ast.expr, base: Branch, exponent: Branch) -> Branch:
    if callable(base) and not callable(exponent) and float(exponent).is_integer() and 2 <= exponent <= LARGEST_PRODUCT:
        power = int(exponent)
        return lambda at: _product(base(at), power)
    return _applied(operator.pow, node, base, exponent)


def _product(value: Tensor, power: int) -> Tensor:
    """value^power, power ≥ 1, by squaring."""
    if power == 1:
        return value
    half = _product(value, power // 2)
    return half * half * value if power % 2 else half * half


def _finite(value: float, node: ast.expr) -> float:
    if not math.isfinite(value):
        raise ConfigError(f"A formula must have finite numbers, got {_unparsed(node)}: write a smaller or a defined one.")
    return value


def _unparsed(node: ast.expr) -> str:
    return _shown(ast.unparse(node))


def _shown(text: str) -> str:
    text = text.strip()
    return ascii(text if len(text) <= 60 else text[:57] + "...")
