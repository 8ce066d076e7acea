"""The web server: Panel's, with the gate before it, the headers on every answer, and limits on what it takes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
from bokeh.settings import settings as bokeh_settings
from panel.io.server import Server
from tornado.web import RequestHandler

from cflows_app import turnstile
from cflows_app.door.gate import Gate, House
from cflows_app.door.headers import Headers
from cflows_app.door.hosting import Hosting
from cflows_app.door.login import Passwords
from cflows_app.operation.metrics import memory

IDLE_SECONDS, BODY_SECONDS = 120, 30  # until a silent connection is closed, and until a request must have come whole
MEGABYTE = 2**20
UNLIMITED = 2**30
COOKIES = ["cflows-theme", turnstile.COOKIE]  # what of a visitor's cookies a page hears of; the others would stand in its source

Handlers = Sequence[tuple[str, type[RequestHandler], dict[str, Any]]]


def open_server(
    pages: dict[str, Callable[[], pn.Template]],
    handlers: Handlers,
    hosting: Hosting,
    port: int,
    address: str,
    names: Sequence[str],
    refused: Callable[[str], None],
) -> tuple[Server, Gate]:
    """The server, listening but not started, and its gate. names: this machine's, HOST:PORT. refused: called with the kind of a refusal."""
    bokeh_settings.perform_document_validation = False  # half as long again for every page; the tests validate it
    turnstile.install()
    names = [*names, *hosting.names(port)]
    largest = hosting.limits.message * MEGABYTE or UNLIMITED
    server = pn.serve(
        pages,
        port=port,
        address=address,
        show=False,
        start=False,
        title="cflows",
        location=False,
        verbose=False,
        websocket_origin=names,
        extra_patterns=list(handlers),
        transforms=[Headers],
        include_cookies=COOKIES,
        exclude_headers=["Cookie", "Authorization"],
        websocket_max_message_size=largest,
        http_server_kwargs={"max_body_size": largest, "idle_connection_timeout": IDLE_SECONDS, "body_timeout": BODY_SECONDS},
        use_xheaders=hosting.proxied,
        **_tls(hosting),
        **_login(hosting),
    )
    application = server._tornado

    def connections() -> list[str]:
        return [client._socket.request.remote_ip or "" for client in application._clients]

    gate = Gate(hosting, names, House(tuple(pages), lambda: len(server.get_sessions()), connections, memory), lambda why: refused(why.kind))
    gate.stand_before(application)
    if hosting.login:
        application.settings["user"] = gate.user  # a page is not told its visitor's cookie, so Panel cannot tell it who they are
    return server, gate


def _tls(hosting: Hosting) -> dict[str, Any]:
    return {"ssl_certfile": hosting.certificate, "ssl_keyfile": hosting.key} if hosting.certificate else {}


def _login(hosting: Hosting) -> dict[str, Any]:
    """What keeps others from speaking for a visitor, and the login itself."""
    if not hosting.public:
        return {}
    cookie = {"samesite": "Lax", "secure": hosting.encrypted, "httponly": True}
    signed = {"sign_sessions": True, "secret_key": hosting.secret.encode(), "cookie_secret": hosting.secret}
    signed |= {"xsrf_cookies": True, "xsrf_cookie_kwargs": cookie}
    if hosting.oauth:
        return signed | {"oauth_provider": hosting.oauth, "oauth_key": hosting.oauth_key, "oauth_secret": hosting.oauth_secret}
    return signed | ({"auth_provider": Passwords(hosting)} if hosting.password else {})
