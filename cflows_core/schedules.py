"""Schedules of the learning rate: a factor on η as a function of optimizer time, written as text so that a run can be shared.

constant            1
warmup(n)           (τ + 1)/n, up to 1
cosine(n, f)        from 1 down to f, by half a cosine over n steps, then f (f: 0 if left out)
step(n, f)          f to the power of the number of times that n steps have passed (f: 0.1 if left out)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from cflows_core.errors import ConfigError

Schedule = Callable[[float], float]

LEAST = 1e-12  # η must stay positive: P̃ divides by it
ROUNDING = 1e-6  # flows add τ up from substeps, three thirds of a step for example: a step a hair early is on time
_FORM = re.compile(r"\s*([a-z]+)\s*(?:\(\s*([^()]*?)\s*\))?\s*")


def schedule_from(text: str) -> Schedule:
    """The factor on η at time τ in steps. Raises `ConfigError` for a text that describes none.

    >>> schedule_from("cosine(100, 0.1)")(50)
    0.55
    """
    match = _FORM.fullmatch(text)
    name, numbers = (match.group(1), match.group(2)) if match else ("", None)
    if name not in _MAKERS:
        raise ConfigError(f"`schedule` must be one of {', '.join(EXAMPLES)}, got {text!r}.")
    make, defaults = _MAKERS[name]
    try:
        given = [float(number) for number in numbers.split(",")] if numbers else []
    except ValueError:
        raise ConfigError(f"`schedule` takes numbers in its brackets, as in {_example(name)}, got {text!r}.") from None
    least = sum(default is None for default in defaults)
    if not least <= len(given) <= len(defaults) or not all(map(math.isfinite, given)):
        raise ConfigError(f"`schedule` must be written like {_example(name)}, got {text!r}.")
    values = [*given, *(default for default in defaults[len(given) :] if default is not None)]
    if values and (values[0] < 1 or not values[0].is_integer()):
        raise ConfigError(f"`schedule` counts in whole steps, at least 1, got {values[0]:.12g} in {text!r}.")
    if len(values) > 1 and not 0 <= values[1] <= 1:
        raise ConfigError(f"`schedule` lowers the learning rate by a factor from 0 to 1, got {values[1]:g} in {text!r}.")
    schedule = make(*values)
    return lambda tau: max(schedule(tau), LEAST)


def _warmup(n: float) -> Schedule:
    return lambda tau: min(1.0, (tau + 1) / n)


def _cosine(n: float, final: float) -> Schedule:
    return lambda tau: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(max(tau / n, 0.0), 1.0)))


def _step(n: float, factor: float) -> Schedule:
    return lambda tau: factor ** math.floor((max(tau, 0.0) + ROUNDING) / n)


# Name -> how to make it, and the defaults of its numbers (None: must be given).
_MAKERS: dict[str, tuple[Callable[..., Schedule], tuple[float | None, ...]]] = {
    "constant": (lambda: lambda tau: 1.0, ()),
    "warmup": (_warmup, (None,)),
    "cosine": (_cosine, (None, 0.0)),
    "step": (_step, (None, 0.1)),
}
EXAMPLES = ("constant", "warmup(50)", "cosine(300, 0.1)", "step(100, 0.5)")


def _example(name: str) -> str:
    return next(example for example in EXAMPLES if example.startswith(name))
