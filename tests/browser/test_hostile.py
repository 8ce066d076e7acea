"""Clumsy visitors in a real browser: what only the page itself can get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import dashboard, visiting

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_keep_answers_every_click_once(browser, tmp_path: Path):
    with dashboard(tmp_path / "log", "--runs", tmp_path / "runs") as server, visiting(browser, server) as visit:
        visit.open()
        visit.button("Keep").click()
        said, name, keep = visit.page.locator("#pop-keep [role=status]"), visit.page.locator("#keep-name"), visit.button("Keep it")
        name.fill("twice")
        keep.dblclick()
        visit.until(lambda: said.inner_text() != "Storing …")
        visit.page.wait_for_timeout(1000)  # in which a second refusal would arrive
        assert said.inner_text().startswith("Kept as twice")
        for _ in range(2):  # the same refusal twice is said twice
            keep.click()
            visit.until(lambda: said.inner_text() != "Storing …")
            assert "There is a run called" in said.inner_text()
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["twice.zarr"]
