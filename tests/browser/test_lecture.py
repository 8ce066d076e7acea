"""A lecture in real browsers: a lecturer, someone in the dark, someone with a phone."""

from __future__ import annotations

import pytest

from tests.browser.conftest import artefacts, visiting

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def test_everyone_follows_and_whoever_forks_goes_on(browser, server):
    folder = artefacts("lecture")
    phone = {"viewport": {"width": 390, "height": 844}}
    with (
        visiting(browser, server) as lecturer,
        visiting(browser, server, color_scheme="dark") as dark,
        visiting(browser, server, **phone) as small,
    ):
        lecturer.open("preset=digits-mlp&width=9&steps=3000")
        lecturer.button("Lecture").click()
        lecturer.button("Begin a lecture").click()
        link = lecturer.page.get_by_label("Link for the audience")
        link.wait_for()
        lecturer.page.screenshot(path=folder / "begun.png")
        query = link.input_value().split("?")[1]
        lecturer.page.keyboard.press("Escape")
        for visit in (dark, small):
            visit.open(query)
            visit.page.locator(".remark", has_text="You follow a lecture").wait_for()
        lecturer.run()
        for visit in (dark, small):
            visit.wait("table.step.length > 20", 120)
        assert dark.button("Run").get_attribute("aria-disabled") == dark.button("Pause").get_attribute("aria-disabled") == "true"
        assert dark.page.locator("form[inert]").count() == 1
        lecturer.page.locator(".remark", has_text="2 people see on its link").wait_for(timeout=30_000)
        lecturer.page.screenshot(path=folder / "lecturer.png")
        dark.page.screenshot(path=folder / "dark.png")
        small.page.screenshot(path=folder / "small.png")

        lecturer.page.reload()
        lecturer.page.wait_for_selector("html[data-ready]", timeout=60_000)
        lecturer.page.locator(".remark", has_text="2 people see on its link").wait_for(timeout=30_000)
        last = dark.last_step
        dark.wait(f"table.step[table.step.length - 1] > {last}", 120)

        dark.button("Fork here").click()
        dark.page.locator(".remark", has_text="You follow a lecture").wait_for(state="hidden", timeout=60_000)
        dark.page.wait_for_url(lambda url: "follow=" not in url and "width=9" in url, timeout=30_000)
        lecturer.button("Pause").click()
        lecturer.page.get_by_text("paused", exact=True).wait_for(timeout=60_000)
        last = dark.last_step
        dark.wait(f"table.step[table.step.length - 1] > {last + 5}", 120)

        lecturer.button("Lecture").click()
        lecturer.button("End the lecture").click()
        small.page.get_by_text("The lecture has ended: what was shown stays here, and is yours now.").wait_for(timeout=30_000)
        lecturer.page.wait_for_url(lambda url: "lecture=" not in url, timeout=30_000)
        small.run()
