"""The benchmarks import, and what they compute with the times is right; the times themselves are nobody's expectation."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

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
    if name in ("live", "stay", "visit"):
        pytest.importorskip("playwright", reason="needs Playwright")
    assert isinstance(load(name), ModuleType)


def test_make_bench_runs_scripts_that_exist() -> None:
    makefile = (FOLDER.parent / "Makefile").read_text()
    listed = makefile.split("for name in ")[1].split(";")[0].split()
    assert set(listed) <= set(SCRIPTS)
    assert set(SCRIPTS) - set(listed) == {"compare", "fuzz", "gpu", "shortcuts", "stay", "stored", "timing", "visit"}


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
