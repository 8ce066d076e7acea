"""Who may come in: what the operator may say, the gate's judgement, limits, and what a stranger gets of a real server: nothing."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import Mock

import panel as pn
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import RequestHandler, create_signed_value
from tornado.websocket import websocket_connect

from cflows_app import turnstile
from cflows_app.door.gate import Gate, House
from cflows_app.door.headers import HEADERS
from cflows_app.door.hosting import METRICS, OAUTH, OAUTH_KEY, OAUTH_SECRET, PASSWORD, SECRET, USERS, Hosting
from cflows_app.door.limits import ADDRESSES, Counter, Limits, place
from cflows_app.door.login import inside
from cflows_app.door.server import open_server
from cflows_core.errors import ConfigError

WORD = "a long password"
OPEN = {"public": True, "origins": ["cflows.test"]}


def hosting(environment: dict[str, str] | None = None, **given: Any) -> Hosting:
    return Hosting.read(given.pop("address", "127.0.0.1"), environment={} if environment is None else environment, **given)


# -- what the operator says ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "given", "words"),
    [
        ({}, {"address": "0.0.0.0"}, ["--address 0.0.0.0", "--public"]),
        ({}, {"no_login": True}, ["--no-login", "--public"]),
        ({}, {"public": True, "no_login": True}, ["--origin"]),
        ({}, OPEN, ["needs a login", "CFLOWS_PASSWORD", "--no-login"]),
        ({PASSWORD: "short"}, OPEN | {"plain_http": True}, ["12 characters", "got 5"]),
        ({PASSWORD: WORD}, OPEN, ["in the open", "--proxied", "--plain-http"]),
        ({PASSWORD: WORD, OAUTH: "github"}, OPEN | {"proxied": True}, ["by a password or by OAuth"]),
        ({OAUTH: "github", OAUTH_KEY: "k"}, OPEN | {"proxied": True}, [OAUTH_SECRET, USERS]),
        ({PASSWORD: WORD}, OPEN | {"certificate": "c.pem"}, ["--certificate-key"]),
        ({PASSWORD: WORD}, OPEN | {"certificate": "c.pem", "key": "k.pem"}, ["c.pem", "check the path"]),
        ({PASSWORD: WORD}, {"public": True, "origins": ["https://cflows.test/"]}, ["--origin", "without https://"]),
        ({PASSWORD: WORD, SECRET: "abc"}, OPEN | {"proxied": True}, [SECRET, "32"]),
        ({PASSWORD: WORD}, OPEN | {"proxied": True, "limits": ["visitors=many"]}, ["visitors", "whole number", "many"]),
        ({PASSWORD: WORD}, OPEN | {"proxied": True, "limits": ["people=3"]}, ["visitors", "people=3"]),
    ],
)
def test_what_would_let_someone_in_who_should_not_be_is_refused(environment, given, words):
    with pytest.raises(ConfigError) as refused:
        hosting(environment, **given)
    assert all(word in str(refused.value) for word in words)
    assert WORD not in str(refused.value)


def test_secrets_are_taken_out_of_the_environment_and_never_shown():
    environment = {PASSWORD: WORD, SECRET: "s" * 40, METRICS: "token", "PATH": "/bin"}
    said = hosting(environment, **OPEN, proxied=True)
    assert environment == {"PATH": "/bin"}
    assert (said.password, said.secret, said.encrypted, said.login) == (WORD, "s" * 40, True, True)
    assert not {WORD, "s" * 40, "token"} & set(re.findall(r"'([^']*)'", repr(said)))


def test_a_password_file(tmp_path):
    (tmp_path / "word").write_text(WORD + "\n")
    assert hosting({}, **OPEN, proxied=True, password_file=str(tmp_path / "word")).password == WORD
    with pytest.raises(ConfigError, match="got both"):
        hosting({PASSWORD: WORD}, **OPEN, proxied=True, password_file=str(tmp_path / "word"))
    with pytest.raises(ConfigError, match="cannot be read"):
        hosting({}, **OPEN, proxied=True, password_file=str(tmp_path / "absent"))


def test_oauth_admits_those_who_are_listed():
    environment = {OAUTH: "google", OAUTH_KEY: "k", OAUTH_SECRET: "s", USERS: "Ada@example.org, @uni.test"}
    said = hosting(environment, **OPEN, proxied=True)
    assert [said.admits(user) for user in ("ada@example.org", "bob@uni.test", "bob@example.org", "eve@evil-uni.test", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


# -- limits -------------------------------------------------------------------------------------------------------------------------


def test_a_counter_lets_a_minutes_worth_in_at_once_and_then_at_that_rate():
    now = [0.0]
    counter = Counter(60, lambda: now[0])
    assert [counter.take("192.0.2.1") for _ in range(60)] == [0.0] * 60
    assert counter.take("192.0.2.1") == pytest.approx(1.0)
    assert counter.take("192.0.2.2") == 0.0  # another address is not kept from anything
    now[0] = 10.0
    assert [counter.take("192.0.2.1") for _ in range(10)] == [0.0] * 10
    assert counter.take("192.0.2.1") > 0


def test_a_counter_forgets_addresses_rather_than_fill_the_memory():
    counter = Counter(5)
    for n in range(ADDRESSES + 50):
        counter.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(counter._buckets) == ADDRESSES


def test_addresses_of_one_network_are_one_visitor():
    assert place("2001:db8:1:2::3") == place("2001:db8:1:2:ffff::9") != place("2001:db8:1:3::3")
    assert place("::ffff:192.0.2.1") == place("192.0.2.1")
    assert Limits.read(["memory=0"]) == Limits(memory=0)


# -- the gate -----------------------------------------------------------------------------------------------------------------------


def request(path: str, user: str | None = None, method: str = "GET", host: str = "cflows.test", **headers: str) -> HTTPServerRequest:
    cookie = {} if user is None else {"Cookie": f"user={user}"}
    line = RequestStartLine(method, path, "HTTP/1.1")
    asked = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": host} | cookie | headers), connection=Mock())
    asked.remote_ip = "192.0.2.1"
    return asked


def gate(said: Hosting, visitors: int = 0, connections: tuple[str, ...] = (), memory: float = 100.0) -> Gate:
    return Gate(said, said.names(5006), House(("/", "/compare"), lambda: visitors, lambda: connections, lambda: memory))


@pytest.fixture
def closed() -> Hosting:
    return hosting({PASSWORD: WORD, SECRET: "s" * 40, METRICS: "token"}, **OPEN, proxied=True)


def signed(name: str, secret: str = "s" * 40) -> str:
    return create_signed_value(secret, "user", name).decode()


@pytest.mark.parametrize("path", ["/compare", "/ws", "/static/js/bokeh.min.js", "/static/extensions/panel/panel.min.js", "/export/abc/csv"])
@pytest.mark.parametrize("user", [None, "visitor", signed("visitor", "t" * 40), signed("")], ids=["none", "plain", "forged", "empty"])
def test_strangers_are_let_into_nothing(closed, path, user):
    refusal = gate(closed).judge(request(path, user))
    assert refusal is not None
    assert refusal.kind == "login"
    assert gate(closed).judge(request(path, signed("visitor"))) is None


def test_a_stranger_is_led_to_the_login_and_back_to_this_server_alone(closed):
    assert gate(closed).judge(request("/compare?run=a")).to == "/login?next=%2Fcompare%3Frun%3Da"
    assert gate(closed).judge(request("/login")) is None
    assert [inside(address) for address in ("/compare?run=a", "//evil.test", "/\\evil.test", "https://evil.test", "evil", "")] == [
        "/compare?run=a",
        *["/"] * 5,
    ]


def test_a_collector_needs_its_token(closed):
    assert gate(closed).judge(request("/metrics")).status == 403
    assert gate(closed).judge(request("/metrics", Authorization="Bearer wrong")).status == 403
    assert gate(closed).judge(request("/metrics", Authorization="Bearer token")) is None


@pytest.mark.parametrize("host", ["evil.test", "cflows.test.evil.test", "cflows.test:99", "", "a:b:c", "[::1"])
def test_only_its_own_names_are_answered(closed, host):
    assert gate(closed).judge(request("/compare", signed("visitor"), host=host)).kind == "name"


def test_what_is_not_used_is_not_there():
    own = gate(hosting(origins=["cflows.test"]))
    assert [own.judge(request(path)).status for path in ("/autoload.js", "/compare/autoload.js", "/metadata", "/compare/metadata")] == [
        404
    ] * 4
    assert own.judge(request("/compare", method="POST")).status == 405
    assert own.judge(request("/compare")) is None


def test_a_full_server_says_so_and_when_to_come_again():
    own = hosting(origins=["cflows.test"], limits=["visitors=3", "visits=2", "connections=2", "memory=500"])
    assert gate(own, visitors=3).judge(request("/")).kind == "full"
    assert gate(own, memory=501.0).judge(request("/")).kind == "memory"
    assert gate(own, connections=("192.0.2.1", "192.0.2.1")).judge(request("/ws")).kind == "connections"
    assert gate(own, connections=("192.0.2.1", "192.0.2.9")).judge(request("/ws")) is None
    quick = gate(own)
    assert [getattr(quick.judge(request("/")), "kind", "") for _ in range(3)] == ["", "", "visits"]
    assert quick.judge(request("/static/a.js")) is None
    quick.closing = "The server is stopping."
    assert quick.judge(request("/")).status == 503


# -- a real server ------------------------------------------------------------------------------------------------------------------


class Whole(RequestHandler):
    def get(self) -> None:
        self.write("a file")


def serving(
    said: Hosting,
    scene: Callable[[Callable[..., Coroutine[Any, Any, HTTPResponse]], int], Coroutine[Any, Any, None]],
    made: Callable[[], object] = lambda: None,
) -> list[str]:
    """Play a scene before a server with one page; the kinds of what it refused. made: called whenever its page is."""

    def page() -> pn.pane.Markdown:
        made()
        return pn.pane.Markdown("the page")

    refused: list[str] = []

    async def whole() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server, _ = open_server(
            {"/": page},
            [("/export", Whole)],
            said,
            port,
            "127.0.0.1",
            [f"127.0.0.1:{port}"],
            refused.append,
        )
        server.start()

        async def ask(path: str, **options: Any) -> HTTPResponse:
            asked = HTTPRequest(f"http://127.0.0.1:{port}{path}", follow_redirects=False, **options)
            return await AsyncHTTPClient().fetch(asked, raise_error=False)

        try:
            await scene(ask, port)
        finally:
            server.stop()

    asyncio.run(whole())
    return refused


def test_headers_stand_on_every_answer_whoever_gives_it():
    async def scene(ask, port):
        for path in ("/", "/static/js/bokeh.min.js", "/export", "/absent", "/autoload.js", "/favicon.ico"):
            answer = await ask(path)
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "Server" not in answer.headers

    assert serving(hosting(), scene) == ["closed"]


@pytest.mark.parametrize("form", ["", "application/x-www-form-urlencoded"])
def test_the_password_opens_and_nothing_else_does(form):
    said = hosting({PASSWORD: WORD}, **OPEN, plain_http=True, limits=["logins=3"])

    async def scene(ask, port):
        for path in ("/", "/export", "/static/js/bokeh.min.js"):
            assert (await ask(path)).code in (302, 403)
        with pytest.raises(Exception, match="403"):
            await websocket_connect(f"ws://127.0.0.1:{port}/ws", subprotocols=["bokeh", "token"])
        shown = await ask("/login?next=//evil.test")
        xsrf = re.search(rb'name="_xsrf" value="([^"]+)"', shown.body)[1].decode()
        assert b'name="next" value="/"' in shown.body
        cookies = {"Cookie": "; ".join(line.split(";")[0] for line in shown.headers.get_list("Set-Cookie"))}

        async def try_word(word: str, number: str = xsrf) -> HTTPResponse:
            return await ask("/login", method="POST", headers=cookies, body=f"_xsrf={number}&password={word.replace(' ', '+')}")

        assert (await try_word(WORD, "another")).code == 403  # sent from another site
        assert (await try_word("not the password")).code == 403
        entered = await try_word(WORD)
        assert (entered.code, entered.headers["Location"]) == (302, "/")
        cookie = next(line for line in entered.headers.get_list("Set-Cookie") if line.startswith("user="))
        assert {"httponly", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
        inside_cookie = {"Cookie": cookie.split(";")[0]}
        assert [(await ask(path, headers=inside_cookie)).code for path in ("/", "/export", "/static/js/bokeh.min.js")] == [200] * 3
        page = await ask("/", headers=inside_cookie)
        assert cookie.split(";")[0].removeprefix("user=").encode() not in page.body  # nor in the token that the page carries
        for _ in range(3):
            await try_word("not the password")
        blocked = await try_word(WORD)
        assert blocked.code == 429
        assert int(blocked.headers["Retry-After"]) > 0

    assert "login" in serving(said, scene)


@pytest.mark.parametrize("login", [{PASSWORD: WORD}, {OAUTH: "github", OAUTH_KEY: "k", OAUTH_SECRET: "s", USERS: "*"}])
def test_a_page_knows_who_has_logged_in(login):
    said = hosting(login | {SECRET: "s" * 40}, **OPEN, plain_http=True)
    name = "visitor" if said.password else "ada@example.org"
    cookie = create_signed_value(said.secret, "user", name).decode()

    async def scene(ask, port):
        assert (await ask("/", headers={"Cookie": f"user={cookie}"})).code == 200
        assert seen == [name]

    seen: list[str] = []
    serving(said, scene, lambda: seen.append(turnstile.user.get()))


def test_a_browser_is_known_from_its_first_page_on():
    async def scene(ask, port):
        given = (await ask("/")).headers["Set-Cookie"].split(";")
        assert " HttpOnly" in given
        again = await ask("/", headers={"Cookie": given[0]})
        assert "Set-Cookie" not in again.headers
        await ask("/", headers={"Cookie": "cflows-visitor=another's"})
        assert given[0] == f"cflows-visitor={seen[0]}"
        assert seen[:2] == [seen[0]] * 2
        assert seen[2] not in (seen[0], "another's")

    seen: list[str] = []
    serving(hosting(), scene, lambda: seen.append(turnstile.browser.get()))


def test_a_refusal_shows_a_way_on():
    async def scene(ask, port):
        wanted = {"Accept": "text/html"}
        lost = await ask("/export?form=<b>", headers=wanted)
        assert (lost.code, b'href="/login?next=%2Fexport%3Fform%3D%3Cb%3E"' in lost.body) == (403, True)
        lost = await ask("/absent", headers=wanted | {"Cookie": f"user={create_signed_value(said.secret, 'user', 'visitor').decode()}"})
        assert (lost.code, b'href="/"' in lost.body) == (404, True)

    said = hosting({PASSWORD: WORD}, **OPEN, plain_http=True)
    serving(said, scene)


def test_a_body_too_large_is_not_taken():
    async def scene(ask, port):
        answer = await ask("/login", method="POST", body="x" * (2 * 2**20))
        assert answer.code in (400, 599)  # refused while it is being sent

    serving(hosting({PASSWORD: WORD}, **OPEN, plain_http=True), scene)
