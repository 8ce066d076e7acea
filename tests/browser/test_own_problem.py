"""`cflows app --problem FILE.py`: a problem of one's own among the data sets, computed in the workers."""

from __future__ import annotations

import pytest

from tests.browser.conftest import dashboard, visiting
from tests.core.problems.test_files import GOOD

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_problem_of_ones_own_runs_with_any_optimizer(browser, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD, encoding="utf-8")
    with dashboard(tmp_path / "log", "--problem", path) as server:
        path.unlink()  # workers execute what was read at the start
        with visiting(browser, server) as visit:
            visit.open()
            field = visit.page.locator("[data-field=n_train]")
            assert field.is_visible()
            visit.page.get_by_label("Data", exact=True).select_option(label="mine.py")
            visit.page.get_by_text("13 weights to train. The file decides").wait_for(timeout=30_000)
            for name in ("n_train", "architecture", "width", "criterion", "dtype", "device", "classes"):
                assert not visit.page.locator(f"[data-field={name}]").is_visible(), name
            for label in ("Adam", "GD"):
                visit.page.get_by_role("radio", name=label, exact=True).check(force=True)
                visit.wait("table.step.length == 0")
                visit.run(5)
                assert visit.page.locator(".refused:visible, .banner:visible").count() == 0
            visit.page.get_by_label("Data", exact=True).select_option("digits")
            field.wait_for(timeout=30_000)
            visit.wait("table.step.length == 0")
