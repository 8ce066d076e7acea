"""The headers of every answer, also of Bokeh's and Panel's own handlers: a tornado output transform, through which every answer passes.

The page's scripts are the server's own files, and inline ones that carry a random number ("nonce") of their page alone: what someone
might write into a page does not run. 'unsafe-eval' is needed, measured: Bokeh compiles the code of tickers, formatters and callbacks
(CustomJS) by `new Function`, and without it no plot is drawn. Inline styles are needed, since Bokeh and Panel put them into every shadow
root and on every element. blob: is where Panel loads a component's script from, which the page was sent as data.
"""

from __future__ import annotations

import re
import secrets

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

_NONCE = re.compile(rb'<script nonce="([A-Za-z0-9_-]{22})">')
_HEAD = 2**14  # bytes of a page among which its number stands, before anything that a visitor could have said
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TLS = {"Strict-Transport-Security": "max-age=31536000"}


def nonce() -> str:
    """A page's number: 128 random bits."""
    return secrets.token_urlsafe(16)


class Headers(OutputTransform):
    """Adds the headers to an answer."""

    def __init__(self, request: HTTPServerRequest):
        self._tls = request.protocol == "https"

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        page = headers.get("Content-Type", "").startswith("text/html")
        number = _NONCE.search(chunk[:_HEAD]) if page else None
        scripts = f"'self' blob: 'unsafe-eval' 'nonce-{number[1].decode()}'" if number else "'none'" if page else "'self'"
        for name, value in ({"Content-Security-Policy": POLICY.format(scripts=scripts)} | HEADERS | (TLS if self._tls else {})).items():
            headers[name] = value
        headers.pop("Server", None)
        if page:
            headers["Cache-Control"] = "no-store"
        return status_code, headers, chunk
