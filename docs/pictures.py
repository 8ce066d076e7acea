"""Takes the documentation's pictures of the dashboard: python docs/pictures.py (needs the extra `dev` and Chromium)."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LESSON = "lessons?lesson=adaptive-optimizers&step=4"
# name: address, width, height, colour scheme
PICTURES = {
    "first-screen": ("", 1440, 900, "light"),
    "first-screen-dark": ("", 1440, 900, "dark"),
    "first-screen-narrow": ("", 390, 844, "light"),
    "lesson": (LESSON, 1440, 900, "light"),
    "toy-lab": ("toylab?loss=quartic&optimizer=gd&lr=3.26", 1440, 900, "light"),
    "gallery": ("gallery", 1440, 900, "light"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen([sys.executable, "-m", "cflows_core", "app", "--port", str(port)])
    try:
        wait_for(url + "healthz?live")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            for name, (address, width, height, scheme) in PICTURES.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(url + address, timeout=180_000)
                page.wait_for_selector("html[data-ready]", timeout=180_000)
                page.wait_for_timeout(1500)
                if name == "toy-lab":
                    page.locator(".forms tbody tr").first.wait_for(timeout=120_000)
                page.screenshot(path=IMAGES / f"{name}.png", full_page=width < 600)
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=30)


if __name__ == "__main__":
    main()
