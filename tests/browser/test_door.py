"""The door before a real browser, and the stop of a real server."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Server, artefacts, dashboard, visiting

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

WORD = "correct horse battery"


def public(log: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    monkeypatch.setenv("CFLOWS_PASSWORD", WORD)
    return dashboard(log, "--public", "--origin", "127.0.0.1", "--plain-http", "--log-json", *options, check="healthz?live")


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_password_opens_every_page(browser, tmp_path, monkeypatch, theme):
    with public(tmp_path / "log", monkeypatch) as server:
        for path in ("static/js/bokeh.min.js", "export/abc/csv", "metrics", "ws"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(server.url + path)
            assert refused.value.code == 403
        with visiting(browser, server, color_scheme=theme) as visit:
            page = visit.page
            page.goto(server.url + "toylab?loss=valley")
            assert "/login" in page.url
            page.screenshot(path=artefacts("door") / f"login-{theme}.png")
            page.fill("#password", "not the password")
            page.keyboard.press("Enter")
            page.get_by_text("This is not the password").wait_for()
            visit.complaints.clear()  # of the answer's status
            page.screenshot(path=artefacts("door") / f"wrong-{theme}.png")
            page.fill("#password", WORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            assert page.url == server.url + "toylab?loss=valley" or "loss=valley" in page.url
            for path in ("compare", "lessons", "gallery", ""):
                page.goto(server.url + path)
                page.wait_for_selector("html[data-ready]", timeout=60_000)
            visit.run(5)
            # What someone might write into a page does not run.
            page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.hacked=1>')")
            page.evaluate("const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)")
            page.wait_for_timeout(500)
            assert page.evaluate("window.hacked") is None
            visit.complaints.clear()
        said = {line["message"] for line in lines(server)}
        assert {"logged in", "wrong password", "a page was opened", "a run began"} <= said
        assert WORD not in server.log.read_text()


def test_a_full_server_says_so(browser, tmp_path, monkeypatch):
    with dashboard(tmp_path / "log", "--limit", "visitors=1") as server, visiting(browser, server) as first:
        first.open()
        with visiting(browser, server) as second:
            second.page.goto(server.url)
            second.page.get_by_text("The server is full").wait_for()
            second.page.screenshot(path=artefacts("door") / "full.png")
            second.complaints.clear()


def test_a_stopping_server_tells_its_pages_and_ends(browser, tmp_path):
    with dashboard(tmp_path / "log", "--log-json", "--log-level", "info") as server, visiting(browser, server) as visit:
        visit.open()
        visit.run(5)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        visit.page.get_by_text("The server is stopping", exact=False).first.wait_for(timeout=10_000)
        server.process.wait(timeout=40)
        print(f"\nstopped in {time.monotonic() - begin:.1f} s")
        assert server.process.returncode == 0
        assert lines(server)[-1]["message"] == "the server has stopped"
        visit.complaints.clear()  # of the connection that is gone


def test_a_second_signal_ends_the_server_at_once(tmp_path):
    with dashboard(tmp_path / "log") as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(server.process.pid, number)
            time.sleep(0.05)
        assert server.process.wait(timeout=5) == 128 + signal.SIGINT
