"""The real dashboard in a process of its own, and a real Chromium in front of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser.tour import Tour

HERE = Path(__file__).parent
STARTS_WITHIN = 90.0  # seconds; a quiet machine needs three
SIZES = {1440: 900, 1024: 768, 390: 844}  # a desktop, a small window, a phone
THEMES = ("light", "dark")
SCREENS = [(theme, width) for theme in THEMES for width in SIZES]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass
class Server:
    url: str
    log: Path
    process: subprocess.Popen

    def health(self, forget: bool = False) -> dict[str, dict[str, float]]:
        """How late the server's event loop was, and how many runs are watched."""
        with urllib.request.urlopen(f"{self.url}health{'?forget' if forget else ''}", timeout=20) as answer:
            return json.load(answer)


@dataclass
class Visit:
    """A page, and everything that it asked for and complained about."""

    page: Any
    server: Server
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> float:
        """Open the dashboard, at an address if one is given; the seconds until it is drawn."""
        begin = time.perf_counter()
        self.page.goto(f"{self.server.url}?{query}" if query else self.server.url)
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)
        return time.perf_counter() - begin

    def model(self, name: str, expression: str) -> Any:
        """A JavaScript expression of `model`, the Bokeh model of that name in the page."""
        return self.page.evaluate(f"(() => {{ const model = Bokeh.documents[0].get_model_by_name({name!r}); return {expression} }})()")

    @property
    def points(self) -> int:
        return self.model("table", "model.data.step.length")

    @property
    def last_step(self) -> int:
        """The newest step that is drawn, -1 if there is none."""
        return self.model("table", "model.data.step.length ? model.data.step[model.data.step.length - 1] : -1")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def wait(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression of `table`, the step plots' data, holds."""
        self.page.wait_for_function(
            f"(() => {{ const table = Bokeh.documents[0].get_model_by_name('table').data; return {condition} }})()",
            timeout=1e3 * seconds,
            polling=10,
        )

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something holds that only this side can tell."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"still not so after {seconds:.0f} s"
            self.page.wait_for_timeout(50)

    def open_drawer(self) -> None:
        """Open the configuration of a small screen, and wait until it stands still."""
        self.page.locator("#menu").click()
        self.page.wait_for_function("document.querySelector('.app').matches('.open') && !document.getAnimations().length")

    @contextmanager
    def sidebar(self) -> Iterator[None]:
        """With the configuration in reach: on a small screen its drawer is opened, and closed at the end."""
        drawer = self.page.locator("#menu").is_visible()
        if drawer:
            self.open_drawer()
        yield
        if drawer:
            self.page.keyboard.press("Escape")
            self.page.locator("#side").wait_for(state="hidden", timeout=30_000)

    def pan(self) -> None:
        """Drag a plot until the page has seen it: a drag that falls into a redraw of a busy machine is lost, as it is for a person."""
        from playwright.sync_api import TimeoutError as TooLong

        plot = self.page.locator("#distance .plot")
        for _ in range(5):
            plot.scroll_into_view_if_needed()
            box = plot.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            self.page.mouse.move(x, y)
            self.page.mouse.down()
            self.page.mouse.move(x + 80, y, steps=6)
            self.page.mouse.up()
            with suppress(TooLong):
                return self.button("Follow").wait_for(timeout=12_000)
        raise AssertionError("Five drags did not end the following.")

    def run(self, steps: int = 2, seconds: float = 90.0) -> None:
        """Click Run, and wait for some new steps."""
        last = self.last_step
        self.button("Run").click()
        self.wait(f"table.step.length && table.step[table.step.length - 1] >= {last + steps}", seconds)

    def pause(self) -> int:
        """Click Pause, wait until the steps being computed have arrived; the newest step."""
        self.button("Pause").click()
        self.page.get_by_text("paused", exact=True).wait_for(timeout=30_000)
        last, quiet = self.last_step, time.monotonic()
        while time.monotonic() < quiet + 2:  # a slice takes 80 ms, or as long as a step does
            time.sleep(0.1)
            if self.last_step != last:
                last, quiet = self.last_step, time.monotonic()
        return last


@contextmanager
def dashboard(log: Path, *options: str | Path, check: str = "health") -> Iterator[Server]:
    """`cflows app` with these options on a free port of this machine; its runs lie beside the log. check: what answers once it is up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cflows_core", "app", "--port", str(port), "--runs", str(log.parent / "runs"), *map(str, options)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}/", log, process)
    try:
        _wait_for(server, check)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One dashboard for a module's tests."""
    with dashboard(tmp_path_factory.mktemp("dashboard") / "log") as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A dashboard that a test may stop."""
    with dashboard(tmp_path / "log") as server:
        yield server


def _wait_for(server: Server, check: str) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        assert server.process.poll() is None, server.log.read_text()
        try:
            urllib.request.urlopen(server.url + check, timeout=20).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the dashboard did not start within {STARTS_WITHIN:.0f} s: {server.log.read_text()}")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install 'cflows[dev]'")
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, server: Server, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visitor's page, 1440 x 900 or as the test's parameters say."""
    with visiting(browser, server, **getattr(request, "param", {})) as visit:
        yield visit


@pytest.fixture(params=SCREENS, ids=lambda screen: "{}-{}".format(*screen))
def everywhere(browser: Any, server: Server, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visitor in either theme on each size of screen."""
    theme, width = request.param
    size = {"width": width, "height": SIZES[width]}
    with visiting(browser, server, viewport=size, color_scheme=theme, has_touch=width < 500) as visit:
        yield visit


def artefacts(name: str) -> Path:
    """The folder of that name in which pictures are kept: in $CFLOWS_ARTEFACTS, or beside the tests."""
    folder = Path(os.environ.get("CFLOWS_ARTEFACTS") or HERE / "artefacts") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def tour(everywhere: Visit, request: pytest.FixtureRequest) -> Tour:
    """A visitor whose every step is looked at."""
    folder = artefacts(request.node.callspec.id)
    everywhere.page.add_init_script(path=HERE / "controls.js")
    return Tour(everywhere, folder)


@pytest.fixture
def own_visit(browser: Any, own_server: Server) -> Iterator[Visit]:
    """A visitor of a dashboard that a test may harm."""
    with visiting(browser, own_server) as visit:
        yield visit


@contextmanager
def visiting(browser: Any, server: Server, **options: Any) -> Iterator[Visit]:
    """A page in a browser of its own; at the end it has complained of nothing and asked no one else."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    page = context.new_page()
    visit = Visit(page, server)
    page.on("request", lambda asked: visit.requests.append(asked.url))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("console", lambda told: visit.complaints.append(told.text) if told.type in ("error", "warning") else None)
    try:
        yield visit
    finally:
        context.close()
    assert visit.complaints == []
    elsewhere = [url for url in visit.requests if not url.startswith((server.url, "data:", f"blob:{server.url}"))]
    assert elsewhere == []
