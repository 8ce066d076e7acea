"""The login by password: Panel's provider of a login by cookie, with a page of our own that loads nothing and compares in constant time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from typing import Any

from panel.auth import BasicAuthProvider
from panel.config import config
from tornado.web import RequestHandler

from cflows_app.door.hosting import Hosting
from cflows_app.door.limits import Counter
from cflows_app.door.pages import door_page

logger = logging.getLogger("cflows")

VISITOR = "visitor"  # the one name that a password gives
LOGIN, LOGOUT = "/login", "/logout"
DAYS = 1.0  # until a visitor logs in again
LONGEST = 1000  # characters of a password that is tried
_INSIDE = re.compile(r"/(?![/\\])[^\\\s]{0,12000}")  # a place on this server, and on no other


class Passwords(BasicAuthProvider):
    """Bokeh asks it who a visitor is: one with a cookie that this server signed."""

    def __init__(self, hosting: Hosting):
        self._login = type("Login", (LoginHandler,), {"hosting": hosting, "wrong": Counter(hosting.limits.logins)})
        super().__init__(login_endpoint=LOGIN, logout_endpoint=LOGOUT)
        config.oauth_expiry = DAYS

    @property
    def login_handler(self) -> type[RequestHandler]:
        return self._login

    @property
    def logout_handler(self) -> type[RequestHandler]:
        return LogoutHandler


class LoginHandler(RequestHandler):
    """GET `/login`: the form. POST: the cookie, and on to where the visitor wanted to go."""

    hosting: Hosting
    wrong: Counter

    def get(self) -> None:
        self._show("")

    def post(self) -> None:
        address = self.request.remote_ip or ""
        wait = self.wrong.wait(address)
        if wait:
            self.set_header("Retry-After", str(int(wait) + 1))
            logger.warning("login refused: too many wrong passwords", extra={"address": address})
            return self._show(f"Too many wrong passwords came from your address: try again in {int(wait) + 1} s.", 429)
        if not _same(self.get_body_argument("password", "")[:LONGEST], self.hosting.password):
            self.wrong.take(address)
            logger.warning("wrong password", extra={"address": address})
            return self._show("This is not the password: try again.", 403)
        self.set_signed_cookie("user", VISITOR, expires_days=DAYS, httponly=True, secure=self.hosting.encrypted, samesite="Lax")
        logger.info("logged in", extra={"address": address})
        return self.redirect(inside(self.get_body_argument("next", "/")))

    def _show(self, sentence: str, status: int = 200) -> None:
        self.set_status(status)
        form = {"action": LOGIN, "xsrf": self.xsrf_token.decode(), "next": inside(self.get_argument("next", "/"))}
        self.finish(door_page("Log in", sentence, self.get_cookie("cflows-theme", ""), form))


class LogoutHandler(RequestHandler):
    """GET `/logout`: forgets the cookie."""

    def get(self) -> None:
        for name in ("user", "id_token", "access_token", "refresh_token", "oauth_expiry"):
            self.clear_cookie(name)
        self.redirect(LOGIN)


def inside(address: str) -> str:
    """The address if it is one on this server, else its first page: a login must not send anyone elsewhere."""
    return address if _INSIDE.fullmatch(address) else "/"


def _same(given: str, wanted: str) -> bool:
    """Whether two texts are equal, in a time that says nothing of how far they are."""
    digests: list[Any] = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, wanted)]
    return hmac.compare_digest(*digests)
