"""Share, Export and Code as a visitor meets them: an address that opens the same run, files that arrive, code that is copied."""

from __future__ import annotations

import csv
import zipfile

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SMALL = "preset=digits-mlp&n_train=60&width=6&n_eigs=2&warm_start=0&steps=40"
COPYING = {"permissions": ["clipboard-read", "clipboard-write"]}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def loss(visit) -> list[float]:
    return visit.model("table", "Array.from(model.data['discrete.loss'] ?? model.data['discrete.loss.raw'])")


@pytest.mark.parametrize("visit", [COPYING], indirect=True)
def test_a_run_changed_while_running_opens_again_from_its_address(visit):
    visit.open(SMALL)
    assert "Press Run" in visit.page.locator(".sentence").inner_text()
    for _ in range(3):
        last = visit.last_step
        visit.button("Step").click()
        visit.wait(f"table.step.length && table.step[table.step.length - 1] > {last}")
    field = visit.page.get_by_label("Learning rate η (step size)", exact=True)
    field.fill("0.125")
    field.press("Enter")
    visit.page.get_by_text("Learning rate η: 0.125 from step 3").wait_for(timeout=30_000)
    visit.run(steps=37)
    visit.page.get_by_text("finished", exact=True).wait_for(timeout=60_000)
    step, sentence = visit.last_step, visit.page.locator(".sentence").inner_text()
    visit.button("Share").click()
    visit.page.get_by_text("Copied. This address opens the same run").wait_for()
    address = visit.page.evaluate("navigator.clipboard.readText()")
    assert address == visit.page.get_by_label("Address of this run").input_value()
    assert address == f"{visit.server.url}?preset=digits-mlp&width=6&n_train=60&steps=40&warm_start=0&n_eigs=2&changes=3:lr=0.125"
    drawn = loss(visit)
    visit.page.goto(address)
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
    assert field.input_value() == "0.25"  # what the run begins with
    visit.run(steps=40)
    visit.page.get_by_text("finished", exact=True).wait_for(timeout=60_000)
    assert (visit.last_step, visit.page.locator(".sentence").inner_text()) == (step, sentence)
    assert loss(visit) == drawn
    assert field.input_value() == "0.125"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("lrr=0.1&width=12", ["no field `lrr`", "did you mean lr"]),
        ("lr=-1&width=13", ["must be positive, got -1"]),
        ("preset=nothing&width=14", ["no preset 'nothing'"]),
        ("changes=never&width=15", ["STEP:FIELD=VALUE"]),
        ("lr=%3Cb%3E%00%ff&width=16", ["must be positive", "<b>"]),
        ("width=17&changes=" + "1:lr=0.1,," * 2500, ["at most 12,000 characters"]),
    ],
)
def test_a_wrong_address_opens_the_page_with_a_sentence(visit, query, words):
    visit.open(query)
    told = visit.page.locator(".banner").inner_text()
    assert all(word.replace("`", "") in told for word in words), told
    if len(query) < 12_000:
        assert f"width={visit.page.get_by_label('Width', exact=True).input_value()}" in query
    visit.page.get_by_role("button", name="Dismiss").click()
    visit.page.locator(".banner").wait_for(state="hidden")
    visit.run()


def test_the_files_arrive_and_an_unstarted_run_says_why_there_is_none(visit, tmp_path):
    visit.open()
    visit.button("Export").click()
    for label, ending in (("CSV", ".csv"), ("NetCDF", ".nc"), ("Zarr", ".zarr.zip")):
        with visit.page.expect_download(timeout=60_000) as arriving:
            visit.page.get_by_role("button", name=label).click()
        path = tmp_path / arriving.value.suggested_filename
        assert path.name.endswith(ending)
        arriving.value.save_as(path)
        visit.page.get_by_text(f"Saved {path.name}.").wait_for()
        if label == "CSV":
            assert list(csv.DictReader(path.read_text().splitlines()))[-1]["step"] == str(visit.last_step)
        if label == "Zarr":
            assert any(name.endswith("/zarr.json") for name in zipfile.ZipFile(path).namelist())
    visit.open(SMALL)
    visit.button("Export").click()
    visit.page.get_by_text("There is nothing to save before the first step: press Run.").wait_for()
    assert visit.page.get_by_role("button", name="CSV").is_disabled()
    assert visit.server.health()["loop"]["busiest_ms"] < 1500


def test_without_a_clipboard_the_text_is_selected(visit):
    visit.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    visit.open()
    visit.button("Share").click()
    visit.page.get_by_text("The browser does not let this page copy.").wait_for()
    assert visit.page.get_by_label("Address of this run").evaluate(
        "field => [field.selectionStart, field.selectionEnd === field.value.length]"
    ) == [0, True]
    visit.button("Code").click()
    visit.page.get_by_role("button", name="Copy the command line").click()
    text = visit.page.get_by_role("textbox", name="Command line")
    assert text.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)").startswith(
        "cflows run --preset digits-mlp"
    )


@pytest.mark.parametrize("visit", [COPYING], indirect=True)
def test_the_foot_by_keyboard(visit):
    visit.open()
    code = visit.button("Code")
    code.focus()
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("dialog", name="Code").wait_for()
    assert code.get_attribute("aria-expanded") == "true"
    visit.page.keyboard.press("Tab")  # the popover follows its button
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("Copied.", exact=True).wait_for()
    assert visit.page.evaluate("navigator.clipboard.readText()").startswith("import cflows_core as cf\n")
    visit.page.keyboard.press("Escape")
    visit.page.get_by_role("dialog", name="Code").wait_for(state="hidden")
    assert code.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_popovers_fit_a_phone_and_escape_leaves_the_drawer_open(visit):
    visit.open()
    visit.page.locator("#menu").click()
    for name in ("Share", "Export", "Code"):
        visit.button(name).click()
        box = visit.page.get_by_role("dialog", name=name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] >= 0
        visit.page.keyboard.press("Escape")
        visit.page.get_by_role("dialog", name=name).wait_for(state="hidden")
    assert visit.page.locator(".app").evaluate("app => app.classList.contains('open')")
