"""What many viewers of one run are shown is computed once, for the first of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary

from cflows_core.history import History

T = TypeVar("T")

KEPT = 64  # results of a history: viewers come round to its newest rows at different moments, and so ask for different ones
_results: WeakKeyDictionary[History, OrderedDict[Hashable, object]] = WeakKeyDictionary()


def once(history: History, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, or what it gave for this `key` before; with the history's length it must decide the result, which nobody may change."""
    results = _results.setdefault(history, OrderedDict())
    key = (len(history), key)
    if key not in results:
        results[key] = make()
        if len(results) > KEPT:
            results.popitem(last=False)
    return results[key]  # type: ignore[return-value]
