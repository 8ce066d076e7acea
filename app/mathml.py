"""Formulas as MathML, which browsers draw by themselves, from a small part of TeX's notation with the signs written as they are."""

from __future__ import annotations

import re
from html import escape

_TOKEN = re.compile(r"\\[a-z]+|[0-9]+(?:\.[0-9]+)?|\S")
_LETTERS = "∇∂ℓ∞"  # signs that stand as letters do, without room around them
_OVER = {"\\bar": "¯", "\\hat": "^", "\\dot": "˙", "\\tilde": "~"}
_WORDS = {"\\op": "mi", "\\text": "mtext"}


def mathml(formula: str) -> str:
    """A formula as a `<math>` element: scripts `_` and `^`, groups, \\frac, \\sqrt, accents, \\op{name}, \\text{words}.

    Raises ValueError for what it cannot read.

    >>> mathml("a_1")
    '<math display="block"><msub><mi>a</mi><mn>1</mn></msub></math>'
    """
    reader = _Reader(formula)
    inside = reader.row("")
    return f'<math display="block">{inside}</math>'


class _Reader:
    def __init__(self, formula: str):
        # Words within \text{} and \op{} keep their spaces.
        parts = re.split(r"(\\(?:text|op)\{[^}]*\})", formula)
        self._formula = formula
        self._tokens = [token for i, part in enumerate(parts) for token in ([part] if i % 2 else _TOKEN.findall(part))]

    def row(self, end: str) -> str:
        """Everything up to `end`, or to the end of the formula for ""."""
        parts: list[str] = []
        while self._tokens and self._tokens[0] != end:
            parts.append(self._scripted())
        if end:
            self._take(end)
        return "".join(parts)

    def _scripted(self) -> str:
        base, scripts = self._atom(), {}
        while self._tokens and self._tokens[0] in ("_", "^"):
            sign = self._take()
            scripts[sign] = self._atom()
        if len(scripts) == 2:
            return f"<msubsup>{base}{scripts['_']}{scripts['^']}</msubsup>"
        for sign, name in (("_", "msub"), ("^", "msup")):
            if sign in scripts:
                return f"<{name}>{base}{scripts[sign]}</{name}>"
        return base

    def _atom(self) -> str:
        token = self._take()
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>"
        if token == "\\frac":
            return f"<mfrac>{self._atom()}{self._atom()}</mfrac>"
        if token == "\\sqrt":
            return f"<msqrt>{self._atom()}</msqrt>"
        if token in _OVER:
            return f'<mover accent="true">{self._atom()}<mo>{_OVER[token]}</mo></mover>'
        if token.startswith("\\"):
            word, _, inside = token.partition("{")
            if word in _WORDS and inside:
                words = escape(inside[:-1]).replace(" ", "\N{NO-BREAK SPACE}")  # others are cut off at the ends
                return f"<{_WORDS[word]}>{words}</{_WORDS[word]}>"
            raise ValueError(f"{token} is not known, in {self._formula!r}")
        if token[0].isnumeric():
            return f"<mn>{token}</mn>"
        if token.isalpha() or token in _LETTERS:
            return f"<mi>{token}</mi>"
        if token in "}_^":
            raise ValueError(f"{token} stands alone in {self._formula!r}")
        return f"<mo>{escape(token)}</mo>"

    def _take(self, expected: str = "") -> str:
        if not self._tokens or (expected and self._tokens[0] != expected):
            raise ValueError(f"{expected or 'more'} is missing in {self._formula!r}")
        return self._tokens.pop(0)
