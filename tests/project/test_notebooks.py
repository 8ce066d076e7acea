"""Notebooks ask one question, stay short, come without outputs, and end in a checked claim. (`make test-notebooks` executes them.)"""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from nbformat.validator import iter_validate

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
MOST_CELLS, MOST_LINES = 15, 25
READABLE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
OF_A_MACHINE = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|mnt|opt|usr)/|[A-Z]:\\")
ADDRESS = re.compile(r"https?://")
OVER_THE_NETWORK = {"urllib", "requests", "httpx", "aiohttp", "socket", "http", "ftplib", "pooch", "subprocess"}

Notebook = dict[str, Any]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def faults(notebook: Notebook) -> list[str]:
    """What is wrong with a notebook, one sentence each."""
    cells, found = notebook["cells"], []
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    found += [f"it is no valid notebook: {error.message}" for error in iter_validate(notebook)]
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        found.append(f"its format is {notebook['nbformat']}.{notebook['nbformat_minor']}, not 4.5")
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    if len(cells) > MOST_CELLS:
        found.append(f"it has {len(cells)} cells, more than {MOST_CELLS}")
    first = text(cells[0])
    if cells[0]["cell_type"] != "markdown" or not first.startswith("# ") or first.count("?") != 1:
        found.append("its first cell is not a title and one question")
    names = [cell.get("id", "") for cell in cells]
    found += [
        f"the cell id {name!r} is not readable" for name in names if not READABLE.fullmatch(name) or re.fullmatch(r"[0-9a-f]{8}", name)
    ]
    if len(set(names)) < len(names):
        found.append("two cells have one id")
    for cell in code:
        name, lines = cell.get("id"), text(cell).splitlines()
        if len(lines) > MOST_LINES:
            found.append(f"{name} has {len(lines)} lines, more than {MOST_LINES}")
        if cell["outputs"] or cell["execution_count"] is not None:
            found.append(f"{name} was committed with its output")
        found += [f"{name} imports {module}" for module in imported(text(cell)) & OVER_THE_NETWORK]
    for cell in cells:
        if OF_A_MACHINE.search(text(cell)) or ADDRESS.search(text(cell)):
            found.append(f"{cell.get('id')} names a path of a machine, or an address")
    if not any(re.search(r"(?m)^#+ Exercise", text(cell)) for cell in cells if cell["cell_type"] == "markdown"):
        found.append("it has no exercise")
    if not any(cell["metadata"].get("jupyter", {}).get("source_hidden") is True for cell in code):
        found.append("it has no folded solution")
    if 'hv.extension("bokeh", inline=True' not in text(code[0]):
        found.append("its first code cell does not take Bokeh from the package (hv.extension with inline=True)")
    if not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text(code[-1])))):
        found.append("its last cell checks no claim")
    return found


def imported(source: str) -> set[str]:
    """The packages that a cell imports."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
    return modules


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_to_the_rules(path: Path) -> None:
    assert faults(json.loads(path.read_text())) == []


def test_notebooks_are_numbered_and_listed(repository: Path) -> None:
    assert NOTEBOOKS
    listed = (repository / "notebooks" / "README.md").read_text()
    for path in NOTEBOOKS:
        assert re.fullmatch(r"0[1-9]_[a-z0-9_]+\.ipynb", path.name)
        assert f"({path.name})" in listed, f"{path.name} is missing in notebooks/README.md"


def _set(where: str, value: Any) -> Any:
    """A change of a notebook: the place `a/0/b` becomes `value`."""

    def change(notebook: Notebook) -> None:
        *parents, last = [int(key) if re.fullmatch(r"-?\d+", key) else key for key in where.split("/")]
        place: Any = notebook
        for key in parents:
            place = place[key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set("nbformat_minor", 4), "format"),
        (_set("metadata/kernelspec/name", "julia"), "kernel"),
        (lambda notebook: notebook["cells"].extend(copy.deepcopy(notebook["cells"])), "more than 15"),
        (lambda notebook: notebook["cells"].append(copy.deepcopy(notebook["cells"][-1])), "one id"),
        (_set("cells/0/cell_type", "prose"), "no valid notebook"),
        (_set("cells/0/source", "# A title\n\nNo question."), "one question"),
        (_set("cells/0/source", "# A title\n\nOne? Two?"), "one question"),
        (_set("cells/0/id", "3f9a01bc"), "not readable"),
        (_set("cells/1/source", "\n" * 25 + "x = 1"), "26 lines"),
        (_set("cells/1/execution_count", 1), "with its output"),
        (_set("cells/1/outputs", [{"output_type": "stream", "name": "stdout", "text": "x"}]), "with its output"),
        (_set("cells/1/source", "from urllib.request import urlopen"), "imports urllib"),
        (_set("cells/1/source", 'import holoviews as hv\nhv.extension("bokeh")'), "inline=True"),
        (_set("cells/2/source", "open('/home/someone/data')"), "path of a machine"),
        (_set("cells/2/source", "see https://example.org"), "an address"),
        (_set("cells/-1/source", "print('all is well')"), "checks no claim"),
    ],
)
def test_a_broken_rule_is_found(change: Any, complaint: str) -> None:
    notebook = json.loads(NOTEBOOKS[0].read_text())
    change(notebook)
    assert any(complaint in fault for fault in faults(notebook)), faults(notebook)


@pytest.mark.parametrize("kind", ["exercise", "solution"])
def test_a_notebook_without_its_exercise_is_found(kind: str) -> None:
    notebook = json.loads(NOTEBOOKS[0].read_text())
    for cell in notebook["cells"]:
        if kind == "solution":
            cell["metadata"].pop("jupyter", None)
        elif cell["cell_type"] == "markdown":
            cell["source"] = text(cell).replace("## Exercise", "## Task")
    assert [fault for fault in faults(notebook) if kind in fault]
