"""The benchmarks import, and what they compute with the times is right; the times themselves are nobody's expectation."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bokeh.document import Document
from bokeh.protocol import Protocol

from cflows_core.problems.objective import Objective
from cflows_core.simulation import Simulation
from cflows_core.store import Run

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A benchmark as a module; none of them stays imported."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in SCRIPTS:
            del sys.modules[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_imports(load, name: str) -> None:
    if name in ("live", "load", "stay", "visit", "visits"):
        pytest.importorskip("playwright", reason="needs Playwright")
    assert isinstance(load(name), ModuleType)


def test_make_bench_runs_scripts_that_exist() -> None:
    makefile = (FOLDER.parent / "Makefile").read_text()
    listed = makefile.split("for name in ")[1].split(";")[0].split()
    assert set(listed) <= set(SCRIPTS)
    assert set(SCRIPTS) - set(listed) == {
        "clocked", "compare", "faults", "fuzz", "gpu", "load", "shortcuts", "stay", "stored", "sweep", "timing", "victims",
        "viewer", "visit", "visits",
    }  # fmt: skip


def test_a_row_has_the_median_and_the_range(load) -> None:
    row = load("timing").row("work", "GE", [4.0, 5.0, 7.0], aim=3)
    assert (row.measured, row.least, row.spread, row.aim) == (5.0, 4.0, 0.6, 3)
    once = load("timing").row("work", "GE", [4.0])
    assert (once.measured, once.least, once.spread) == (4.0, None, None)


def test_exponent_of_a_power_law(load) -> None:
    sizes = [1, 2, 4, 10]
    assert load("timing").exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    growth = load("cost").growth
    assert growth("growth", [0, 1], [1.0, 2.0]) == []  # nothing held: no exponent
    assert growth("growth", [1, 2], [1.0, 2.0])[0].measured == pytest.approx(1)


def test_rows_are_kept_with_machine_and_versions(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = load("timing")
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "results")
    timing.keep("some", [timing.row("work", "GE", [1.0, 2.0])])
    kept = json.loads((tmp_path / "results" / "some.json").read_text())
    assert kept["rows"][0]["measured"] == 1.5
    assert kept["versions"]["torch"] == torch.__version__
    assert {"cpu", "cores", "threads"} <= set(kept["machine"])


def test_compare_marks_what_changed_by_more_than_the_spread(load) -> None:
    def line(name: str, measured: float, spread: float | None) -> dict:
        return {"name": name, "unit": "GE", "measured": measured, "spread": spread}

    old = [line("steady", 10, 0.2), line("faster", 10, 0.2), line("once", 10, None), line("gone", 1, 0.1), line("slower", 10, 0.0)]
    new = [line("steady", 11, 0.1), line("faster", 5, 0.2), line("once", 12, None), line("slower", 11, 0.0), line("added", 1, 0.1)]
    found = {change.name: change for change in load("compare").changes(old, new)}
    assert {name: change.mark for name, change in found.items()} == {
        "steady": "", "faster": "less", "once": "", "gone": "gone", "slower": "more", "added": "added",
    }  # fmt: skip
    assert found["faster"].ratio == 0.5
    assert found["gone"].ratio is None
    assert list(found)[-1] == "gone"


def quadratic() -> Objective:
    H = torch.diag(torch.arange(1.0, 5.0, dtype=torch.float64))
    return Objective.from_function(lambda w: 0.5 * w @ H @ w, 4, derivatives="differences")


def test_meter_divides_a_call_by_its_points_and_puts_everything_back(load) -> None:
    shares, objective = load("shares"), quadratic()
    import cflows_core.flows.base as base

    track, w, V = base.track, torch.ones(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[:, :3]
    plain = objective.expand(w, V)
    with shares.metered(objective) as meter:
        assert base.track is not track
        meter.restart()
        metered = objective.expand(w, V)
        expanded = dict(meter.seconds)
        objective.hvp(w, V)
        objective.curvature_gradient(w, V, torch.ones(3, dtype=torch.float64))
        total = meter.total()
    assert base.track is track
    assert not {"hvp", "expand", "loss_and_grad"} & set(objective.__dict__)
    assert all(torch.equal(a, b) for a, b in zip(plain, metered, strict=True))
    assert expanded[shares.PRODUCTS] == pytest.approx(3 * expanded[shares.GRADIENTS])  # three products, one gradient
    assert meter.seconds[shares.PRODUCTS] > expanded[shares.PRODUCTS]
    assert meter.seconds[shares.THIRDS] > 0
    assert meter.seconds[shares.GRADIENTS] == expanded[shares.GRADIENTS]  # those inside belong to who asked
    assert sum(meter.seconds.values()) == pytest.approx(total)
    assert set(meter.seconds) <= set(shares.KINDS)


def test_points_beyond_gradients_and_products_are_third_derivatives(load) -> None:
    shares = load("shares")
    w, V = torch.ones(4), torch.ones(4, 2)
    mix = shares.expanded(quadratic(), 9.0, w, V, torch.ones(3, 4))
    assert mix == {shares.GRADIENTS: 4, shares.PRODUCTS: 2, shares.THIRDS: 3}


def test_shortcuts_name_what_exists_and_are_switched_back(load) -> None:
    shortcuts = load("shortcuts")
    from cflows_core.config import RunConfig
    from cflows_core.flows import central

    fields = [shortcut for shortcut in shortcuts.SHORTCUTS if ":" not in shortcut.where]
    RunConfig(**{shortcut.where: shortcut.exact for shortcut in fields})
    refresh = central.REFRESH
    with shortcuts.switched_off(shortcuts.SHORTCUTS):
        assert central.REFRESH == 1
    assert refresh == central.REFRESH
    titles = [title for title, _, _ in shortcuts.variants(shortcuts.SHORTCUTS)]
    assert len(titles) == len(set(titles)) == len(shortcuts.SHORTCUTS) + 3


def test_deviation_counts_what_both_know(load) -> None:
    deviation = load("shortcuts").deviation
    exact = np.array([[2.0, math.nan], [4.0, 1.0], [0.0, 1.0]])
    other = np.array([[2.2, 5.0], [4.0, math.nan], [1.0, 1.0]])
    assert deviation(exact, other) == pytest.approx((0.1, 0.1 / 3))
    assert all(map(math.isnan, deviation(np.zeros(3), np.ones(3))))


def test_a_copy_is_no_kernel(load) -> None:
    is_kernel = load("gpu").is_kernel
    assert is_kernel("void gemm<float>")
    assert not is_kernel("Memcpy HtoD (Pageable -> Device)")


def test_without_a_gpu_one_sentence(load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    load("gpu").main()
    assert capsys.readouterr().out.startswith("No CUDA GPU was found")


def test_growth_is_that_since_the_caches_are_full(load) -> None:
    pytest.importorskip("playwright", reason="needs Playwright")
    stay = load("stay")
    looks = [dict.fromkeys(stay.UNITS, value) for value in (1.0, 8.0, 10.0, 11.0)]
    rows = {row.name: row for row in stay.rows_of(looks, settled=3)}
    assert rows["server RSS: growth from minute 3 to 4"].measured == pytest.approx(10)
    assert rows["server RSS"].measured == 9.0
    assert not any("growth" in row.name for row in stay.rows_of(looks[:3], settled=3))


def test_a_stored_run_of_many_steps_goes_on_from_its_end(load, tmp_path: Path) -> None:
    path = load("stored").make(tmp_path, 600)
    run = Run.open(path)
    assert run.steps.tolist() == list(range(601))
    assert np.isfinite(run.series("discrete", "loss")).all()
    simulation = Simulation.load(run.checkpoint_path)
    assert next(simulation).step == 601
    assert load("stored").size(path) > 601 * 8


def test_a_viewer_finds_its_models_in_the_page_and_keeps_the_steps(load) -> None:
    viewer = load("viewer")
    from cflows_app.pages.explore import ExplorePage
    from cflows_app.session import Session
    from cflows_app.shell import page_template

    async def no_engine() -> None: ...

    page, document = ExplorePage(Session(no_engine)), Document()
    page_template(page, "light").server_doc(document)
    pulled: Any = Protocol().create("PULL-DOC-REPLY", "1", document)
    parts = viewer.Parts.of(pulled.content["doc"])
    assert document.get_model_by_id(parts.table) is page.canvas.table.source
    transport: Any = document.get_model_by_id(parts.transport)
    assert transport.data is document.get_model_by_id(parts.state)

    changes: list[Any] = []
    document.on_change(changes.append)
    source, watching = page.canvas.table.source, viewer.Viewer("")
    watching.steps = source.data["step"].astype(int).tolist()
    newest = watching.steps[-1]
    source.stream({name: [newest + 1.0, newest + 2.0] for name in source.data})
    source.data = {name: np.arange(newest + 5.0) for name in source.data}
    sent: Any = Protocol().create("PATCH-DOC", changes)
    for change, at in zip(sent.content["events"], (7.0, 8.0), strict=True):
        watching.take(change, sent.buffers, at)
    assert watching.arrivals == {newest + 1: 7.0, newest + 2: 7.0, newest + 3: 8.0, newest + 4: 8.0}
    assert watching.steps == list(range(newest + 5))
    assert watching.failures == []
    watching.take(sent.content["events"][0], sent.buffers, 9.0)  # once more: behind what is there
    assert len(watching.failures) == 1

    heard: list[Any] = []
    page.transport._answer = heard.append
    told = viewer.told(parts.transport, action="run", sent=1)
    document.apply_json_patch({"events": [told]})
    assert heard == [{"action": "run"}]


def test_delays_are_those_of_steps_computed_while_a_viewer_watched(load, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs Playwright")
    load_ = load("load")
    lines = [f"5 0 {step} {100 + step}\n" for step in range(6)]
    (tmp_path / "steps-1.txt").write_text("".join(lines) + "5 0 6 10")  # killed while it wrote
    clock = load_.Clock(tmp_path)
    arrivals = {0: 102.5, 1: 102.5, 2: 102.5, 3: 103.2, 4: 104.4, 5: 105.9, 9: 106.0}
    np.testing.assert_allclose(clock.delays(5, arrivals), [0.2, 0.4, 0.9])  # what was there at the beginning is no news
    np.testing.assert_allclose(clock.delays(5, arrivals, since=103.5), [0.4, 0.9])
    assert len(clock.delays(6, arrivals)) == len(clock.delays(5, {})) == 0
    assert clock.simulations == {("5", "steps-1", "0")}
    viewer = load("viewer").Viewer
    quiet, gone, late = viewer("", arrivals={1: 10.0}), viewer("", failures=["gone"]), viewer("")
    assert load_.failures([1, 2, 3], [quiet, gone, late], 11.0) == ["seed 2: gone", "seed 3: no point came at all"]
    assert load_.failures([1], [quiet], 20.0) == ["seed 1: no point came for 10.0 s"]


def test_the_clock_notes_each_step_and_leaves_the_recording_as_it_was(load, tmp_path: Path) -> None:
    clocked = load("clocked")
    recorded: list[Any] = []
    record = clocked.clocked(lambda host, frame: recorded.append(frame.step), tmp_path)
    hosts = [SimpleNamespace(simulation=SimpleNamespace(config=SimpleNamespace(seed=seed))) for seed in (3, 4)]
    for step in range(2):
        for host in hosts:
            record(host, SimpleNamespace(step=step))
    assert recorded == [0, 0, 1, 1]
    [path] = tmp_path.glob("steps-*.txt")
    written = [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()]
    assert written == ["3 0 0", "4 1 0", "3 0 1", "4 1 1"]
    for host in hosts:
        host.lines.close()
    assert clocked.census()["threads"] >= 1


def test_a_third_of_the_visits_press_run_and_all_pages_are_visited(load) -> None:
    pytest.importorskip("playwright", reason="needs Playwright")
    visits = load("visits")
    planned = list(itertools.islice(visits.visits(), 60))
    assert sum(runs for _, runs in planned) == 20
    assert {address for address, runs in planned if not runs} == set(visits.PAGES)
    assert {bool(address) for address, runs in planned if runs} == {True, False}
