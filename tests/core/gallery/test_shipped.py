"""The gallery that ships: every figure is drawn from the run it names, and what the index says was measured is what the runs give."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cflows_core.errors import ConfigError
from cflows_core.gallery import FIGURES, Figure, get, making
from cflows_core.gallery.figure import VERDICTS
from cflows_core.presets import PRESETS
from cflows_core.problems.datasets import find_cifar10
from cflows_core.store.packed import ENDING

FOLDER = Path(__file__).parents[3] / "app" / "assets" / "gallery"
LARGEST = 500_000  # bytes of a stored run: a few hundred kilobytes
WORDS = ("title", "caption", "theirs", "ours")

each = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)


@each
def test_it_is_drawn_and_measured_from_what_is_stored(figure: Figure) -> None:
    data = making.stored(figure, [FOLDER])
    assert data is not None
    panels = figure.panels(data)
    assert 1 <= len(panels) <= 9
    for panel in panels:
        assert panel.curves, panel.title
        assert any(np.isfinite(curve.ys).sum() > 1 for curve in panel.curves), panel.title
        for curve in panel.curves:
            assert np.shape(curve.xs) == np.shape(curve.ys), (panel.title, curve.label)
    findings = figure.findings(data)
    entry = making.index(FOLDER)[figure.name]
    assert entry["verdict"] == figure.verdict(findings)
    assert entry["verdict"] in VERDICTS
    assert entry["findings"] == [[finding.number, finding.holds] for finding in findings]
    assert entry["sketch"]
    assert all(re.search(r"\d", finding.number) for finding in findings)


@each
def test_its_words(figure: Figure) -> None:
    assert figure.claims
    for text in (*(getattr(figure, name) for name in WORDS), *(claim.text for claim in figure.claims)):
        assert text.strip() == text
        assert text
    for sentence in (figure.caption, figure.theirs, figure.ours, *(claim.text for claim in figure.claims)):
        assert sentence.endswith((".", ")")), sentence
    assert len(figure.title) <= 80
    if figure.runs:
        assert figure.preset in PRESETS
    if figure.paper:
        assert figure.paper.keys() == figure.runs.keys()
        assert figure.paper != figure.runs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means over no steps, which then hold nothing
@pytest.mark.parametrize("figure", [figure for figure in FIGURES.values() if figure.paper], ids=lambda figure: figure.name)
def test_the_papers_scale_is_drawn_and_measured_too(figure: Figure, tmp_path: Path) -> None:
    """On runs that are the paper's but for their size: in so few steps hardly anything that is claimed happens, which is told."""
    if find_cifar10() is None:
        pytest.skip("CIFAR-10 was not found")
    small = {
        label: replace(run, config=run.config.replace(n_train=12, width=8, warm_start=min(run.config.warm_start, 2), steps=6, threads=1))
        for label, run in figure.paper.items()
        if run not in figure.runs.values()
    }
    assert small
    data = making.collect(replace(figure, paper=figure.paper | small), [tmp_path, FOLDER], paper_scale=True)
    assert figure.panels(data)
    assert len(figure.findings(data)) == len(figure.claims)


def test_one_name_is_one_run() -> None:
    configs = {}
    for figure in FIGURES.values():
        for stored in (*figure.runs.values(), *figure.paper.values()):
            assert configs.setdefault(stored.name, stored.config) == stored.config, stored.name


def test_nothing_is_stored_that_no_figure_is_drawn_from() -> None:
    wanted = {stored.name + ENDING for figure in FIGURES.values() for stored in figure.runs.values()}
    wanted |= {f"{study.name}.json" for figure in FIGURES.values() for study in figure.studies.values()}
    assert {path.name for path in FOLDER.iterdir()} == wanted | {making.INDEX}
    assert max(path.stat().st_size for path in FOLDER.iterdir() if path.name != making.INDEX) < LARGEST
    assert making.index(FOLDER).keys() == FIGURES.keys()


def test_a_figure_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"There is no figure 'cf-33?': did you mean cf-3"):
        get("cf-33")
    with pytest.raises(ConfigError, match="`cflows figure` lists them"):
        get("nonsense")
