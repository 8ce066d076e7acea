"""`cflows figure`: what is drawn, what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cflows_core.cli import gallery
from cflows_core.gallery import FIGURES, making
from tests.project.cli.lines import Cli, is_a_sentence

SHIPPED = Path(__file__).parents[3] / "app" / "assets" / "gallery"


def test_figures_are_listed_with_what_was_found(cflows: Cli, tmp_path: Path) -> None:
    code, out, _ = cflows("figure", "--runs", SHIPPED)
    assert code == 0
    lines = out.splitlines()
    for name, figure in FIGURES.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert figure.source in line
        assert line.rstrip().endswith(making.index(SHIPPED)[name]["verdict"])


def test_a_figure_is_measured_and_drawn_in_one_file(cflows: Cli, tmp_path: Path) -> None:
    code, out, _ = cflows("figure", "cf-3", "--runs", tmp_path / "runs", "--out", tmp_path / "drawn" / "three.html")
    assert code == 0
    assert out.startswith("[CF] Figure 3. Gradient descent on a quadratic function: reproduced\n  ✓ ")
    page = (tmp_path / "drawn" / "three.html").read_text(encoding="utf-8")
    assert "Gradient descent on a quadratic function" in page
    assert "<script src=" not in page  # nothing is loaded from elsewhere
    assert "cdn." not in page.split("</style>")[0]
    assert making.index(tmp_path / "runs")["cf-3"]["verdict"] == "reproduced"


def test_several_figures_go_into_a_folder(cflows: Cli, tmp_path: Path) -> None:
    code, out, _ = cflows("figure", "cf-3", "cf-3", "--runs", tmp_path, "--out", tmp_path / "drawn", "--quiet")
    assert (code, out) == (0, "")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["cf-3.html"]


def test_the_table_of_all_figures_is_the_documentations(cflows: Cli) -> None:
    code, out, _ = cflows("figure", "--markdown", "--runs", SHIPPED)
    assert code == 0
    assert out.strip() in (Path(__file__).parents[3] / "docs" / "gallery.md").read_text(encoding="utf-8")
    for figure in FIGURES.values():
        for claim in figure.claims:
            assert claim.text.replace("|", r"\|") in out


def test_a_table_of_what_was_not_computed_yet(cflows: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "folders", lambda first: [first])
    code, _, err = cflows("figure", "--markdown", "--runs", tmp_path)
    assert code == 2
    assert "was not computed yet: run `cflows figure " in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cf-33"], "There is no figure 'cf-33'"),
        (["cf-3", "--paper-scale"], "leave out --paper-scale"),
        (["cf-3", "--device", "tpu"], "`device` must be one of"),
        (["cf-3", "cf-3", "--out", "one.html"], "is one file for several figures: name a folder"),
        (["--all", "--nonsense"], "does not know --nonsense"),
    ],
)
def test_nonsense(cflows: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cflows("figure", *words)
    assert code == 2
    assert told in err
    is_a_sentence(err)


def test_runs_that_are_a_file(cflows: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = cflows("figure", "cf-3", "--runs", tmp_path / "file")
    assert code == 2
    assert "`--runs` must name a folder" in err
