"""The gate: one rule before all others of the server, which every request meets, whoever answers it, and which refuses with a sentence.

Bokeh asks for a login at its pages and websockets alone, not at static files, exports or metrics; here nothing is answered before it is
known who asks. What is refused is counted, logged, and answered as a page where a browser asked for one.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, RequestHandler, decode_signed_value

from cflows_app.door.hosting import Hosting
from cflows_app.door.limits import Counter, place
from cflows_app.door.login import DAYS, LOGIN, LOGOUT
from cflows_app.door.pages import door_page

logger = logging.getLogger("cflows")

HEALTH, METRICS = "/healthz", "/metrics"
OPEN = (LOGIN, LOGOUT, HEALTH, "/favicon.ico")  # answered before anyone has logged in
CLOSED = ("/autoload.js", "/metadata")  # of every page: ways into a session that the dashboard does not use
RETRY = "", "Try again"  # a way on from a refusal: "" is the same address
AGAIN = 30  # seconds after which it is worth trying again where nothing says when


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered.

    kind: for logs and metrics. after: seconds until it may be tried again. to: where to go instead. way: a link's address and words.
    """

    status: int
    kind: str
    title: str
    sentence: str
    after: float = 0.0
    to: str = ""
    way: tuple[str, str] | None = None


NOTHING = Refusal(404, "closed", "Not found", "There is nothing at this address.", way=("/", "To the first page"))


@dataclass(frozen=True)
class House:
    """What the gate must know of the server. All are called for every visitor, and are quick.

    pages: their paths. visitors: pages open now. connections: addresses of the open websockets. memory: megabytes of this process.
    """

    pages: Collection[str]
    visitors: Callable[[], int]
    connections: Callable[[], Collection[str]]
    memory: Callable[[], float]


class Gate(Matcher):
    """Matches the requests that are refused. closing: a sentence once the server is stopping. refused: called with every refusal."""

    def __init__(self, hosting: Hosting, names: Collection[str], house: House, refused: Callable[[Refusal], None] = lambda refusal: None):
        self.hosting, self.house = hosting, house
        self.closing = ""
        self._names = {_with_port(name) for name in names}
        self._refused = refused
        self._requests, self._visits = Counter(hosting.limits.requests), Counter(hosting.limits.visits)

    def stand_before(self, application: Application) -> None:
        """Be asked before anything else in `application`, and answer what nobody else does."""
        application.default_router.rules.insert(0, Rule(self, RefusalHandler))
        application.settings |= {"default_handler_class": RefusalHandler, "default_handler_args": {"refusal": NOTHING}}

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        refusal = self.judge(request)
        if refusal is None:
            return None
        if not refusal.to:
            logger.warning("refused: %s", refusal.kind, extra={"address": request.remote_ip, "path": request.path[:80]})
        self._refused(refusal)
        return {"target_kwargs": {"refusal": refusal}}

    def judge(self, request: HTTPServerRequest) -> Refusal | None:
        """Why a request is not answered; None: it is."""
        path = request.path
        if path == HEALTH:  # a container's own check knows no name
            return None
        if _with_port(request.host) not in self._names:
            said = f"This server does not go by the name {request.host[:80]!r}: its operator can add it by --origin."
            return Refusal(421, "name", "Unknown name", said)
        if request.method not in ("GET", "HEAD") and not (request.method == "POST" and path == LOGIN):
            return Refusal(405, "method", "Not so", "This server answers GET.")
        wait = self._requests.take(request.remote_ip or "")
        if wait:
            return _too_many("requests", "requests", wait)
        if path.endswith(CLOSED):
            return NOTHING
        return self._stranger(request) or self._crowd(request)

    def _stranger(self, request: HTTPServerRequest) -> Refusal | None:
        """Why someone who has not logged in is not let in."""
        if not self.hosting.login or request.path in OPEN or self.user(request):
            return None
        if request.path == METRICS and self._collects(request):
            return None
        there = f"{LOGIN}?{urlencode({'next': request.uri or '/'})}"
        if request.path in self.house.pages and "Upgrade" not in request.headers:
            return Refusal(302, "login", "Log in", "Log in first.", to=there)
        return Refusal(
            403, "login", "Log in first", "This server shows this to those who have logged in, at /login.", way=(there, "Log in")
        )

    def user(self, request: HTTPServerRequest) -> str:
        """Who has logged in, "" if nobody has, or may no longer come in."""
        cookie = request.cookies.get("user")
        value = None if cookie is None else decode_signed_value(self.hosting.secret, "user", cookie.value, max_age_days=DAYS)
        name = (value or b"").decode(errors="replace")
        return name if self.hosting.admits(name) else ""

    def _collects(self, request: HTTPServerRequest) -> bool:
        token, said = self.hosting.metrics_token, request.headers.get("Authorization", "")
        return bool(token) and hmac.compare_digest(said.encode("utf-8", "replace"), f"Bearer {token}".encode())

    def _crowd(self, request: HTTPServerRequest) -> Refusal | None:
        """Why one visitor more is not let in."""
        limits, address = self.hosting.limits, request.remote_ip or ""
        if request.path.endswith("/ws"):
            near = place(address)
            if limits.connections and sum(place(each) == near for each in self.house.connections()) >= limits.connections:
                return Refusal(
                    429, "connections", "Too many", "Too many pages are open from your address: close one first.", AGAIN, way=RETRY
                )
            return None
        if request.path not in self.house.pages:
            return None
        if self.closing:
            return Refusal(503, "stopping", "The server is stopping", self.closing, AGAIN, way=RETRY)
        wait = self._visits.take(address)
        if wait:
            return _too_many("visits", "pages", wait)
        if limits.visitors and self.house.visitors() >= limits.visitors:
            said = f"This server takes {limits.visitors} open pages at a time, and all are taken: close one of yours, or come back later."
            return Refusal(503, "full", "The server is full", said, AGAIN, way=RETRY)
        if limits.memory and self.house.memory() > limits.memory:
            said = "This server's memory is used up by those who are here: come back later."
            return Refusal(503, "memory", "The server is full", said, AGAIN, way=RETRY)
        return None


class RefusalHandler(RequestHandler):
    """Answers every method with a refusal: a page where a browser asks for one, a sentence otherwise."""

    SUPPORTED_METHODS = (*RequestHandler.SUPPORTED_METHODS, "TRACE", "CONNECT")

    def initialize(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that another site could want."""

    def prepare(self) -> None:
        refusal = self.refusal
        if refusal.to:
            self.redirect(refusal.to)
            return
        self.set_status(refusal.status)
        self.set_header("Cache-Control", "no-store")
        if refusal.after:
            self.set_header("Retry-After", str(int(refusal.after) + 1))
        if "text/html" in self.request.headers.get("Accept", ""):
            self.finish(door_page(refusal.title, refusal.sentence, self.get_cookie("cflows-theme", ""), way=refusal.way))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(refusal.sentence + "\n")


def _with_port(name: str) -> str:
    """As Bokeh compares names: a browser leaves out the usual port, behind TLS, too."""
    return (name if ":" in name else f"{name}:80").lower()


def _too_many(kind: str, what: str, wait: float) -> Refusal:
    seconds = int(wait) + 1
    return Refusal(
        429, kind, "Too many at once", f"Too many {what} were asked for from your address: try again in {seconds} s.", wait, way=RETRY
    )
