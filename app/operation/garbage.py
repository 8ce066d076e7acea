"""When the server looks for garbage among all that lives: some time after visitors have left, and otherwise seldom.

A page is some ten thousand objects, and a look through fifty of them holds the event loop up for 0.7 s. Python looks whenever a quarter as
many are new, and Bokeh whenever a visitor leaves. So what lives is set aside as soon as a page is there, and their looks find young objects
only; what visitors leave behind is found here.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

LOOK = 1.0  # seconds between looks at who has come
APART = 60.0  # seconds between two looks for garbage, at least, when visitors have left
SELDOM = 600.0  # seconds between them when nobody has


def keep() -> None:
    """Look through all that lives, and set it aside: no look comes back to it before the next call."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def watch(came: Callable[[], int], left: Callable[[], int]) -> None:
    """Until cancelled. came, left: how many visitors have so far."""
    looked, known, here = time.monotonic(), left(), came()
    while True:
        await asyncio.sleep(LOOK)
        since = time.monotonic() - looked
        if since > SELDOM or (since > APART and left() != known):
            known = left()
            keep()
            looked = time.monotonic()
        elif came() != here:
            gc.freeze()
        here = came()
