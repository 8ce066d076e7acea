"""Formulas as MathML, which browsers draw by themselves, from LaTeX in which signs may also be written as they are (η, ∇, ⪯)."""

from __future__ import annotations

import functools
import re
import unicodedata
from html import escape, unescape
from html.parser import HTMLParser

from latex2mathml.converter import convert

_LETTERS = "∇∂∞ℓ"  # signs that stand as letters do, without room around them
_ELEMENTS = {"S": "mo", "P": "mo", "N": "mn"}  # first letter of a sign's Unicode category -> what it is
_NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # known to browsers
# What a formula may be made of: latex2mathml takes over what stands in \\text{…} as it is, and knows \\href and \\style.
_TAGS = {"math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "mstyle", "mpadded", "mphantom", "menclose", "mfrac", "msqrt", "mroot"}
_TAGS |= {"msub", "msup", "msubsup", "mover", "munder", "munderover", "mmultiscripts", "mprescripts", "none", "mtable", "mtr", "mtd"}
_UNSAFE = {"style", "class", "id", "href", "src", "xlink:href", "actiontype"}


@functools.lru_cache(maxsize=1024)
def mathml(formula: str, display: bool = True) -> str:
    """A formula as a `<math>` element of its own line, or within one. Raises ValueError for what it cannot read.

    >>> mathml("a_1")
    '<math display="block"><mrow><msub><mi>a</mi><mn>1</mn></msub></mrow></math>'
    """
    try:
        made = convert(formula, display="block" if display else "inline")
    except Exception as problem:  # of many kinds, one for each mistake that can be made
        raise ValueError(f"The formula {formula!r} cannot be read ({type(problem).__name__}).") from None
    if formula.count("{") != formula.count("}"):
        raise ValueError(f"The braces of {formula!r} do not pair.")
    if unknown := re.search(r"\\[A-Za-z]+", made):
        raise ValueError(f"{unknown[0]} is not known, in {formula!r}.")
    _Maths(formula).check(made)
    return re.sub(r"<mi>(&#x[0-9A-F]+;|.)</mi>", _sign, made.replace(_NAMESPACE, ""))


def _sign(name: re.Match[str]) -> str:
    """A variable's name that is a sign, as the sign that it is: latex2mathml takes for a name what it does not know."""
    sign = unescape(name[1])
    element = "mi" if sign in _LETTERS else _ELEMENTS.get(unicodedata.category(sign)[0], "mi")
    return f"<{element}>{escape(sign)}</{element}>"


class _Maths(HTMLParser):
    """Raises ValueError at anything that is no mathematics: other elements, links, styles, scripts, comments, tags that do not pair."""

    def __init__(self, formula: str):
        super().__init__(convert_charrefs=True)
        self._formula, self._open = formula, []

    def check(self, made: str) -> None:
        self.feed(made)
        self.close()
        self._must(not self._open and not re.search("<[!?]", made))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._must(tag in _TAGS and not any(name in _UNSAFE or name.startswith("on") for name, _ in attrs))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._must(bool(self._open) and self._open.pop() == tag)

    def _must(self, holds: bool) -> None:
        if not holds:
            raise ValueError(f"The formula {self._formula!r} holds something that is no mathematics: leave it out.")
