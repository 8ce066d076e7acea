"""What inputs are made of: the grammars of what is read, with something evil among it, and sound files damaged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from cflows_app import components
from cflows_core import presets
from cflows_core.config import RunConfig
from cflows_core.problems.formula import FUNCTIONS

EVIL = st.sampled_from(
    [
        *("", "\0", "'", '"', "<script>", "../../etc/passwd", "..\\..", "%2e%2e", "a" * 5000, "9" * 400, "-0", "1e999", "nan", "inf"),
        *("٣", "²", "__import__('os')", "x.__class__", "{{7*7}}", "${1}", "\u202e", "\ud800", "💥", "(" * 300, "[" * 300, "true", "null"),
        *("1_000", "0x10", "1j", ",", "=", "javascript:alert(1)"),
    ]
)


@st.composite
def mostly(draw: st.DrawFn, sound: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> Any:
    """Nine times out of ten from the first."""
    return draw(sound if draw(st.integers(0, 9)) else other)


SMALL = st.one_of(st.integers(-3, 50).map(str), st.floats().map(repr), EVIL, st.text(max_size=12))
FIELDS = st.sampled_from(RunConfig.fields())
OBJECTS = sorted({str(each) for name in RunConfig.fields() for each in getattr(RunConfig.param[name], "objects", None) or []})
VALUES = st.one_of(SMALL, st.sampled_from(OBJECTS), st.lists(st.sampled_from(OBJECTS), max_size=4).map(",".join))
LIVE = st.builds("{}:{}={}".format, st.integers(0, 900), st.sampled_from(RunConfig.LIVE), st.sampled_from(["0.1", "0.9", "2", "-1"]))
CHANGE = st.builds("{}:{}={}".format, SMALL, st.one_of(FIELDS, SMALL), SMALL)
CHANGES = st.one_of(
    st.lists(LIVE, max_size=4).map(",".join),
    st.lists(CHANGE, max_size=4).map(",".join),
)
KINDS = mostly(st.sampled_from(["constant", "warmup", "cosine", "step"]), SMALL)
PARTS = mostly(st.sampled_from(["0.1", "50", "1", "300", "0", "-1"]), SMALL)
SCHEDULES = st.builds("{}({})".format, KINDS, st.lists(PARTS, max_size=3).map(",".join))
NUMBERS = st.one_of(st.integers(-2, 2000), st.floats(0, 2), st.integers(), st.floats())
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), SMALL, VALUES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(SMALL, inner, max_size=4)),
    max_leaves=8,
)


def arguments(names: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, list[bytes]]]:
    """What tornado makes of an address's query."""
    value = st.one_of(values.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=20))
    return st.dictionaries(st.one_of(names, SMALL), st.lists(value, max_size=3), max_size=6)


@st.composite
def damaged(draw: st.DrawFn, whole: Callable[[], bytes]) -> bytes:
    """Bytes of a sound file with some of them changed, left out, doubled, or moved."""
    data, dice = bytearray(whole()), random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 6))):
        at, length = dice.randrange(len(data) + 1), dice.choice((1, 1, 2, 8, 64, 1000))
        piece = bytes(data[at : at + length])
        kind = dice.randrange(5)
        if kind == 0:
            data[at : at + length] = bytes(dice.randrange(256) for _ in piece)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = piece * dice.choice((1, 3, 50))
        elif kind == 3:
            data[at : at + len(piece)] = dice.choice((b"\0", b"\xff", b"9", b"-", b"{", b'"')) * len(piece)
        else:
            del data[at:]
    return bytes(data)


@st.composite
def bent(draw: st.DrawFn, whole: Callable[[], Any]) -> Any:
    """A sound JSON document with some of its values, or keys, replaced by others."""
    document = json.loads(json.dumps(whole()))
    for _ in range(draw(st.integers(1, 3))):
        node = document
        while isinstance(node, (dict, list)) and node:
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not (isinstance(node[key], (dict, list)) and node[key]) or draw(st.integers(0, 5)) == 0:
                node[key] = draw(JSON)
                break
            node = node[key]
    return document


KEYS = sorted({key for name in vars(components).values() for key in getattr(name, "takes", ())} | {"sent"})
ACTS = st.sampled_from(["run", "pause", "step", "reset", "fork", "drop"])
MESSAGES = st.one_of(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.one_of(JSON, VALUES, FIELDS, st.integers(-(10**6), 10**6), st.floats(), st.booleans(), ACTS),
        max_size=3,
    ),
    JSON,
)
NAMES_OF_PAGES = st.sampled_from(["explore", "compare", "lessons", "gallery", "toylab"])
FORMULA = st.recursive(
    mostly(st.sampled_from(["x", "x", "y", "pi", "e", "2", "0.5", "1e3", "3.", ".1", "1e400"]), SMALL),
    lambda inner: st.one_of(
        st.builds("{}{}{}".format, inner, st.sampled_from([*"+-*/^" * 3, "**", "//", "@", " "]), inner),
        st.builds("{}({})".format, mostly(st.sampled_from(sorted(FUNCTIONS)), SMALL), inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=12,
)
SHOWN = st.one_of(FIELDS, st.sampled_from(["run", "beside", "runs", "preset", "panels", "curves", "from", "until", "loss.hide"]))
WRITTEN = st.one_of(
    SMALL,
    st.sampled_from(
        [
            "\\frac",
            "{" * 50,
            "\\sqrt{",
            "\\begin{matrix}",
            "^^",
            "\\href{javascript:alert(1)}{x}",
            "\\text{</mtext><img src=x onerror=alert(1)>}",
        ]
    ),
)
MARKS = ["# A title", "## A step", "---", "- [ ] no", "- [x] yes", "```show", "```", "$x^2$", "$$\\frac{1}{", "<script>alert(1)</script>"]
LINES = st.one_of(
    st.sampled_from(MARKS),
    st.builds("{}: {}".format, SHOWN, VALUES),
    st.builds("[{}]({})".format, SMALL, SMALL),
    st.builds("${}$".format, WRITTEN),
    SMALL,
)
HEAD = st.sampled_from([(), ("# A title", "## A step"), ("# A title", "", "## A step", "")])
LESSONS = st.builds(lambda head, lines, end: end.join((*head, *lines)), HEAD, st.lists(LINES, max_size=12), st.sampled_from(["\n", "\n\n"]))


ASKED = st.one_of(FIELDS, st.sampled_from(["preset", "run", "lesson", "step", "figure"]))
STEMS = st.sampled_from(sorted(presets.PRESETS)).map(lambda name: presets.get(name).config.to_dict())
CONFIGURATIONS = st.one_of(
    st.dictionaries(st.one_of(FIELDS, SMALL), st.one_of(JSON, VALUES, CHANGES), max_size=5),
    st.builds(lambda stem, others: stem | others, STEMS, st.dictionaries(FIELDS, st.one_of(JSON, NUMBERS, VALUES), max_size=2)),
    st.builds(lambda stem, other: stem | {name: other[name] for name in sorted(other)[::3]}, STEMS, STEMS),
)
WRITTEN_CONFIGURATIONS = st.one_of(bent(lambda: presets.get(presets.DEFAULT).config.to_dict()), JSON).map(json.dumps)
LIMITS = st.builds("{}={}".format, st.one_of(st.sampled_from(["visitors", "memory"]), SMALL), SMALL)

SHORT = st.one_of(st.integers(-2, 8), st.floats(0.001, 2), st.sampled_from(["gd", "adam", "rmsprop", "narrow-gd"]), NUMBERS, SMALL, JSON)
RANGES = st.dictionaries(
    mostly(st.sampled_from(["linear", "log", "times"]), SMALL),
    st.one_of(
        st.fixed_dictionaries({"from": NUMBERS, "to": NUMBERS, "points": st.one_of(st.integers(0, 30), NUMBERS, JSON)}),
        st.lists(NUMBERS, max_size=3),
        JSON,
    ),
    min_size=1,
    max_size=2,
)
SOUND_AXES = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.one_of(st.lists(st.floats(1e-4, 1), min_size=1, max_size=4), st.just({"log": {"from": 0.01, "to": 1, "points": 4}})),
        "optimizer, beta2": st.just([["gd", 0.9], ["adam", 0.99]]),
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3),
        "width": st.just({"times": [1, 2]}),
        "preset": st.lists(st.sampled_from(sorted(presets.PRESETS)), min_size=1, max_size=2),
    },
)
SWEPT = st.sampled_from(["lr", "optimizer", "seed", "width", "beta2", "steps", "preset", "optimizer, lr", "lr,lr"])
AXES = st.dictionaries(
    st.one_of(SWEPT, FIELDS, SMALL),
    st.one_of(st.lists(SHORT, max_size=4), RANGES, st.lists(st.lists(SHORT, max_size=2), max_size=3)),
    max_size=3,
)
SWEEPS = st.one_of(
    st.fixed_dictionaries(
        {"axes": st.one_of(SOUND_AXES, SOUND_AXES, AXES)},
        optional={
            "name": mostly(st.just("rates"), st.one_of(SMALL, JSON)),
            "preset": mostly(st.sampled_from(sorted(presets.PRESETS)), SMALL),
            "base": mostly(
                st.just({"steps": 50, "threads": 1}), st.one_of(st.dictionaries(FIELDS, st.one_of(NUMBERS, VALUES, JSON)), JSON)
            ),
            "configs": mostly(
                st.lists(st.fixed_dictionaries({"lr": st.floats(1e-3, 1)}), max_size=3),
                st.one_of(st.lists(st.dictionaries(FIELDS, st.one_of(NUMBERS, VALUES), max_size=2), max_size=3), JSON),
            ),
        },
    ),
    st.dictionaries(st.one_of(st.sampled_from(["axes", "configs", "base", "preset", "name"]), SMALL), JSON, max_size=4),
    JSON,
)
SOUND_SWEEP = """name: rates
preset: digits-mlp   # what to start from
base: {steps: 200, threads: 1}
axes:
  optimizer, lr:
    - [gd, 0.3]
    - [adam, 2e-3]
  beta2: [0.9, 0.99]
  head_scale: {log: {from: 0.1, to: 1, points: 4}}
  width: {times: [1, 2]}
configs:
  - {optimizer: gd, lr: 0.5}
"""
YAML = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("&a [*a]", "*a", "<<: *a", "!!python/object/apply:os.system [id]", "!!python/name:os.system", "--- ", "...", "%YAML 1.1"),
                *(
                    "? [a]\n: b",
                    "a: &x {b: *x}",
                    "- - - - -",
                    "|\n  x",
                    ">-",
                    "!!binary aGk=",
                    "2001-01-01",
                    "1:30",
                    "0o17",
                    "0b1",
                    "\t- x",
                ),
                *("axes:", "  lr: [0.1, 0.2]", "  lr: {log: {from: 1e-3, to: 1, points: 1e9}}", "base: {steps: 5}", "{" * 200, "[" * 20000),
            ]
        ),
        st.builds("{}: {}".format, st.one_of(FIELDS, SMALL), st.one_of(VALUES, SMALL)),
        SMALL,
    ),
    max_size=6,
).map("\n".join)
SWEEPS_FILES = st.one_of(
    st.tuples(
        st.sampled_from([".yaml", ".yml"]), st.one_of(damaged(SOUND_SWEEP.encode), YAML.map(lambda text: text.encode("utf-8", "replace")))
    ),
    st.tuples(st.sampled_from([".json", ".yaml"]), SWEEPS.map(lambda plain: json.dumps(plain).encode())),
    st.tuples(st.just(".json"), damaged(lambda: json.dumps({"base": {"steps": 5}, "axes": {"lr": [0.1, 0.2], "seed": [0, 1]}}).encode())),
    st.tuples(st.sampled_from([".json", ".yaml", ".JSON", ".txt"]), st.binary(max_size=60)),
)
FLAGS = st.one_of(
    FIELDS.map(lambda field: "--" + field.replace("_", "-")),
    st.sampled_from(
        ["--out", "--until", "--quiet", "--preset", "--help", "--version", "--workers", "--port", "--public", "--origin", "--limit", "--of"]
    ),
    SMALL,
)
COMMANDS = st.builds(
    lambda command, words: [command, *words],
    mostly(st.sampled_from(["run", "run", "run", "app", "sweep", "resume", "check", "table", "figure", "presets", "doctor"]), SMALL),
    st.lists(st.one_of(FLAGS, VALUES, CHANGES, st.builds("{}={}".format, FLAGS, VALUES)), max_size=6),
)
HOSTINGS = st.fixed_dictionaries(
    {},
    optional={
        "address": mostly(st.sampled_from(["localhost", "127.0.0.1", "0.0.0.0", "::"]), SMALL),
        "public": st.booleans(),
        "no_login": st.booleans(),
        "password_file": st.one_of(st.none(), SMALL),
        "origins": st.lists(mostly(st.sampled_from(["cflows.test", "cflows.test:443"]), SMALL), max_size=2),
        "proxied": st.booleans(),
        "plain_http": st.booleans(),
        "certificate": st.one_of(st.none(), SMALL),
        "key": st.one_of(st.none(), SMALL),
        "limits": st.lists(LIMITS, max_size=2),
        "environment": st.dictionaries(
            st.sampled_from(["CFLOWS_PASSWORD", "CFLOWS_SECRET", "CFLOWS_METRICS_TOKEN", "CFLOWS_OAUTH_USERS", "PANEL_OAUTH_PROVIDER"]),
            st.one_of(SMALL, st.just("a long password of no use" * 2)),
            max_size=3,
        ),
    },
)
PATCHED = st.sampled_from(
    ["start", "end", "data", "state", "spec", "renderers", "x_range", "visible", "tags", "name", "children", "rangesupdate"]
)
PATCHES = st.tuples(
    NAMES_OF_PAGES,
    st.sampled_from(
        ["ModelChanged"] * 5
        + ["ColumnDataChanged", "ColumnsStreamed", "ColumnsPatched", "RootAdded", "RootRemoved", "TitleChanged"]
        + ["MessageSent"] * 2
    ),
    st.integers(0, 10**6),
    st.one_of(st.just(""), PATCHED, st.sampled_from(["rangesupdate", "reset", "document_ready", "tap"]), SMALL),
    st.one_of(JSON, NUMBERS, st.dictionaries(st.sampled_from(["x", "step", "loss"]), st.lists(NUMBERS, max_size=3), max_size=2)),
)
