"""Command lines that take no time, and what a sentence is."""

from __future__ import annotations

import re
from collections.abc import Callable

# Small enough that twenty steps take well under a second.
TINY = ("--n-train", "30", "--width", "4", "--n-eigs", "2", "--observe", "test")
# Above the edge from the start: all the machinery moves.
EDGE = ("--lr", "0.3", "--flows", "central,rod")
# Far below the edge, where no flow has eigenvalues to follow.
FAST = ("--lr", "0.01", "--flows", "stable,central")
Cli = Callable[..., tuple[int, str, str]]


def is_a_sentence(text: str) -> bool:
    """One line, from us, with no traceback."""
    return bool(re.fullmatch(r"cflows: \S[^\n]*[.?]\n", text))
