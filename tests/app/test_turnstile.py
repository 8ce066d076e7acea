"""Visitors who come at once: their pages are made in turns, and the server does something else in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from bokeh.server.urls import per_app_patterns
from panel.io.server import DocHandler

from cflows_app import turnstile


def test_pages_are_made_one_after_another_with_time_between_them(monkeypatch):
    seen: list[Any] = []

    async def make(self, name: str) -> None:
        seen.append(f"{name} begins")
        await asyncio.sleep(0.05)
        seen.append(f"{name} is made")
        if name == "second":
            raise ValueError

    async def news() -> None:
        while True:
            await asyncio.sleep(0.005)
            if seen and seen[-1].endswith("made"):
                seen.append("news")

    async def whole() -> list[Any]:
        application = SimpleNamespace(settings={})
        handlers = [turnstile.Turnstile.__new__(turnstile.Turnstile) for _ in range(3)]
        for handler in handlers:
            handler.application, handler.request = application, SimpleNamespace(cookies={}, protocol="http")
        others = asyncio.ensure_future(news())
        try:
            names = ("first", "second", "third")
            return await asyncio.gather(*(h.get(n) for h, n in zip(handlers, names, strict=True)), return_exceptions=True)
        finally:
            others.cancel()

    monkeypatch.setattr(DocHandler, "get", make)
    results = asyncio.run(whole())
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]  # one that fails holds nobody up
    made = [line for line in seen if line != "news"]
    assert made == [f"{name} {what}" for name in ("first", "second", "third") for what in ("begins", "is made")]
    assert seen[2] == "news"


def test_every_page_has_a_turnstile(monkeypatch):
    monkeypatch.setattr("cflows_app.turnstile.per_app_patterns", patterns := list(per_app_patterns))
    for _ in range(2):
        turnstile.install()
        assert [entry[1] for entry in patterns].count(turnstile.Turnstile) == 1
        assert DocHandler not in [entry[1] for entry in patterns]
