"""What the tests of the toy lab share: losses, hostile formulas, settings, and a page that is waited for."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from cflows_app.pages.toylab import ToyLabPage
from cflows_app.toylab.setting import FIRST, Setting

LOSSES = ("linear", "quadratic", "quartic", "valley", "formula")
# What no loss is, though some of it is Python, or would be harmful as such.
HOSTILE = [
    "",
    " ",
    "__import__('os').system('ls')",
    "().__class__.__bases__",
    "x.__class__",
    "x[0]",
    "x = 3",
    "x := 3",
    "x; x",
    "lambda: x",
    "[x for x in y]",
    "{x}",
    "{'x': 1}",
    "f'{x}'",
    "'x'",
    "x if x else y",
    "x and y",
    "x < y",
    "not x",
    "True",
    "1j",
    "9**9**9**9",
    "((((" * 40 + "x" + "))))" * 40,
    "x" * 10_000,
    "x\0",
    "ｘ",
    "exec(x)",
    "exp(x, y)",
    "exp(x=1)",
    "exp(*x)",
    "z + 1",
    "0/0",
    "x +",
    "<b>x</b>",
]


def arguments(text: str) -> dict[str, list[bytes]]:
    """A query as the web server gives it."""
    return {name: [value.encode() for value in values] for name, values in parse_qs(text, keep_blank_values=True).items()}


def at(**fields: object) -> Setting:
    """A setting of these fields, in the order in which they are given."""
    setting = FIRST
    for name, value in fields.items():
        setting = setting.changed(name, value)
    return setting


async def settled(page: ToyLabPage) -> None:
    """Let everything that is asked for be computed and drawn."""
    while True:
        page.tick()
        lanes = (page._walks, page._diagrams, page._flows, page._tables)
        if not page._tasks and not any(lane.waits or lane.done for lane in lanes):
            return
        await asyncio.gather(*page._tasks)
