"""The page's frame: one small template of our own, with its style and script inside, so that nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.document import Document
from jinja2 import Environment, FileSystemLoader
from panel.io.resources import LOCAL_DIST

from cflows_app.door.headers import nonce
from cflows_app.glossary import plain, term_of
from cflows_app.pages.page import Page
from cflows_app.theme import FONT, css_variables
from cflows_app.views.base import View
from cflows_core.palette import DARK, LIGHT

ASSETS = Path(__file__).parent / "assets"
PAGES = {"Explore": "./", "Compare": "./compare", "Lessons": "./lessons", "Toy lab": "./toylab", "Gallery": "./gallery"}  # name -> address
_TEMPLATES = Environment(loader=FileSystemLoader(ASSETS), trim_blocks=True, lstrip_blocks=True)

_INLINE = re.compile(r'<script( type="text/javascript")?>')  # how Bokeh begins a script of its own in the page

MANY = 4  # values of a choice, beyond which it is a list to open (legend.js)


class _Frame(pn.Template):
    """Adds all parts of the page to a document at once: one by one, Bokeh would look through all models for each.

    Figures are roots of their own, without a Panel pane around them, which would wrap each in a layout.
    """

    page: Page

    def server_doc(self, doc: Document | None = None, title: str | None = None, location: Any = True) -> Document:
        doc = doc or pn.state.curdoc or Document()
        # Panel learns from the browser's request that its style sheets are here, too; a page that is made
        # again, because its browser came back later than the server waited, has no request.
        doc.template_variables["dist_url"] = LOCAL_DIST
        with doc.models.freeze():
            super().server_doc(doc, title, location)
            for name, plot in self.page.figures.items():
                plot.name = name
                doc.add_root(plot)
        return doc

    def __repr__(self) -> str:  # Panel's own names every part, whenever one is added
        return "a page of cflows"


def page_template(page: Page, theme: str, login: bool = False) -> pn.Template:
    """A page in its frame, opened in `theme`. login: its visitor has logged in, and can log out."""
    page.paint(theme)
    template = _Frame(_TEMPLATES.get_template(f"{_slug(page)}.html"))
    template.page = page
    for name, part in page.components.items():
        template.add_panel(name, part)
    views = [
        {
            "key": view.key,
            "title": view.title,
            "caption": view.caption,
            "room": _room(view),
            "term": term_of(view.key, "title"),
            "shown": page.all_panels,
        }
        for view in page.views
    ]
    number = nonce()
    cards = json.dumps(plain(), ensure_ascii=False).replace("</", "<\\/")
    for name, value in {
        "name": page.name,
        "slug": _slug(page),
        "description": page.description,
        "pages": PAGES,
        "views": views,
        "cards": cards,
        "theme": theme,
        "login": login,
        "style": _style(),
        "script": ";\n".join(map(_text, ("page.js", "card.js", "figure.js"))),
        "icon": _icon(),
        "nonce": number,
        "signed": partial(_signed, number),
    }.items():
        template.add_variable(name, value)
    return template


def _signed(number: str, scripts: str) -> str:
    """Bokeh's scripts with the page's number, without which a browser would not run them (door/headers.py)."""
    return _INLINE.sub(f'<script nonce="{number}">', scripts)


def _slug(page: Page) -> str:
    """The page's name in one small word."""
    return page.name.lower().replace(" ", "")


def _room(view: View) -> int:
    """Pixels that a panel's choices take at the right of its title."""
    rows = [[len(label) for label in values.values()] for values in view.options.values()]
    return 10 + sum(24 + 6 * row[0] if len(row) > MANY else sum(13 + 7 * length for length in row) for row in rows)


def _text(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _style() -> str:
    return _text("style.css").replace("FONT", FONT).replace("LIGHT", css_variables(LIGHT)).replace("DARK", css_variables(DARK))


def _icon() -> str:
    return "data:image/svg+xml;base64," + base64.b64encode((ASSETS / "icon.svg").read_bytes()).decode()
