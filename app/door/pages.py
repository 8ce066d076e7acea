"""The pages before the door, login and refusals: in the project's style, whole in one file, without any script."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from cflows_app.theme import FONT, css_variables
from cflows_core.palette import DARK, LIGHT

ASSETS = Path(__file__).parent.parent / "assets"
THEMES = ("light", "dark")


def door_page(
    title: str, sentence: str, theme: str | None = "", form: Mapping[str, str] | None = None, way: tuple[str, str] | None = None
) -> str:
    """A page with a sentence; a form for the password if one is given (its `action`, `xsrf` and `next`), or a way on: address and words."""
    template = _templates().get_template("door.html")
    shown = {"title": title, "sentence": sentence, "theme": theme if theme in THEMES else "", "form": form, "way": way}
    return template.render(shown, style=_style(), icon=_icon())


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True)


@cache
def _style() -> str:
    text = (ASSETS / "door.css").read_text(encoding="utf-8")
    return text.replace("FONT", FONT).replace("LIGHT", css_variables(LIGHT)).replace("DARK", css_variables(DARK))


@cache
def _icon() -> str:
    return "data:image/svg+xml;base64," + base64.b64encode((ASSETS / "icon.svg").read_bytes()).decode()
