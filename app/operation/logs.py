"""The server's log on standard error: lines for people, or one JSON object a line for machines.

What is logged: start and stop, who logs in, pages opened and left, runs begun, ended and failed, and what was refused. Of a visitor it
holds the address of their connection, and nothing else: no name, no password, no query and no cookie.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

# What a record has by itself; anything else was given to it by `extra`.
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_QUIET = ("bokeh", "panel", "distributed", "tornado.access", "asyncio")  # their news is ours in other words
_LONGEST = 2000  # characters of a message: what visitors send may be in it


class Human(logging.Formatter):
    """`2026-01-31 12:00:00 INFO a page was opened (address 192.0.2.7, page /)`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in _facts(record).items())
        return _line(super().formatMessage(record)) + (f" ({_line(facts)})" if facts else "")


class Json(logging.Formatter):
    """One object a line: time (UTC, ISO), level, logger, message, what `extra` gave, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        said = {"time": at, "level": record.levelname.lower(), "logger": record.name, "message": _line(record.getMessage())}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said | _facts(record) | said, ensure_ascii=False, default=str)


def begin(as_json: bool = False, level: str = "info", stream: TextIO | None = None) -> logging.Handler:
    """Log from here on; the handler that does."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if as_json else Human())
    handler.addFilter(_wanted)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(max(logging.INFO, logging.getLevelName(level.upper())))  # others' details are never wanted
    logging.getLogger("cflows").setLevel(level.upper())
    return handler


def _wanted(record: logging.LogRecord) -> bool:
    """Libraries set their loggers' levels when they are imported: so this is asked of every record."""
    least = logging.ERROR if record.name == "tornado.access" else logging.WARNING  # refusals have lines of their own
    return record.levelno >= least or not record.name.startswith(_QUIET)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _line(text: str) -> str:
    """On one line, without control characters: a visitor's text cannot pass for a line of the log."""
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return "".join(sign if sign.isprintable() else " " for sign in text)
