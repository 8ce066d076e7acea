"""Data flows one way, and so do imports; the core stays light; nothing that can execute a file is ever called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Left to right, as in the architecture: a module may import its own layer and those before it.
LAYERS: list[tuple[str, ...]] = [
    ("_version", "errors", "palette"),
    ("frames", "schedules", "measure", "facts"),
    ("fields",),
    ("rules",),
    ("config",),
    ("linalg",),
    ("problems",),
    ("optimizers",),
    ("flows",),
    ("valley",),
    ("observe",),
    ("simulation",),
    ("toylab",),
    ("store",),
    ("history", "phases", "panels", "presets", "running", "screen", "written"),
    ("figures", "engine", "gallery"),
    ("sweep",),
    ("", "cli", "__main__"),  # "": the package itself, which re-exports the public API
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Imported at the top of a core module: these alone, so that the core runs on a bare GPU machine.
LIGHT = {"torch", "numpy", "scipy", "param", "clarabel"}
# What the core may import where it is used.
LAZY = {
    "xarray": {"store", "measure", "sweep"},
    "zarr": {"store"},
    "sklearn": {"problems"},
    "pooch": {"problems"},
    "rich": {"cli", "running", "problems", "sweep"},
    "dask": {"engine"},
    "distributed": {"engine", "sweep"},
    "holoviews": {"figures", "screen"},
    "bokeh": {"figures", "screen"},
    "IPython": {"screen"},
    "yaml": {"sweep"},
}
DASHBOARD = {"panel", "bokeh", "holoviews"}


def modules(repository: Path) -> list[Path]:
    return sorted((repository / "cflows_core").rglob("*.py"))


def dotted(path: Path, repository: Path) -> str:
    parts = path.relative_to(repository).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, repository: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, at the top of the module?) of everything that a file imports; type-checking blocks do not count."""
    tree = ast.parse(path.read_text())
    lazy: set[ast.AST] = set()
    ignored: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            lazy.update(ast.walk(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            ignored.update(child for statement in node.body for child in ast.walk(statement))
    package = dotted(path, repository).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in lazy
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                # `from cflows_core import store` imports the module store; `from x import name` at least imports x.
                yield (f"{origin}.{alias.name}" if origin == "cflows_core" else origin), node not in lazy


def layer(name: str) -> str:
    """`cflows_core.flows.base` -> `flows`."""
    return [*name.split("."), ""][1]


def test_every_module_has_a_layer(repository: Path) -> None:
    unknown = {layer(dotted(path, repository)) for path in modules(repository)} - set(RANK)
    assert not unknown, f"name the layer of {sorted(unknown)} in LAYERS"


def test_imports_point_left_only(repository: Path) -> None:
    wrong = []
    for path in modules(repository):
        here = dotted(path, repository)
        for name, _ in imports(path, repository):
            if name.split(".")[0] != "cflows_core" or layer(name) not in RANK:
                continue
            if name == "cflows_core" and layer(here) != "":
                wrong.append(f"{here} imports the whole package")
            elif RANK[layer(name)] > RANK[layer(here)]:
                wrong.append(f"{here} imports {name}")
            elif RANK[layer(name)] == RANK[layer(here)] and layer(name) != layer(here) and layer(here) not in LAYERS[-1]:
                wrong.append(f"{here} imports {name}, its neighbour")
    assert not wrong, "\n".join(wrong)


def test_the_core_never_imports_the_dashboard(repository: Path) -> None:
    wrong = []
    for path in modules(repository):
        here = dotted(path, repository)
        for name, at_top in imports(path, repository):
            root = name.split(".")[0]
            allowed = root in ("holoviews", "bokeh") and layer(here) in ("figures", "screen") and not at_top
            # The command `cflows app` alone knows that there is a dashboard, and imports it when it is asked for.
            allowed |= root == "cflows_app" and layer(here) == "cli" and not at_top
            if (root in DASHBOARD or root == "cflows_app") and not allowed:
                wrong.append(f"{here} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_heavy_imports_are_lazy_and_where_they_belong(repository: Path) -> None:
    wrong = []
    for path in modules(repository):
        here = dotted(path, repository)
        for name, at_top in imports(path, repository):
            root = name.split(".")[0]
            if root in sys.stdlib_module_names or root in {"cflows_core", "cflows_app"}:
                continue
            if at_top:
                if root not in LIGHT:
                    wrong.append(f"{here} imports {name} at its top")
            elif root not in LIGHT and layer(here) not in LAZY.get(root, set()):
                wrong.append(f"{here} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_importing_the_core_loads_nothing_heavy() -> None:
    heavy = [*LAZY, *DASHBOARD, "matplotlib", "pandas", "cflows_app"]
    code = f"import sys, cflows_core; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == ""


def test_packages_are_listed_for_the_build(repository: Path) -> None:
    import tomllib

    listed = set(tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for root, name in (("cflows_core", "cflows_core"), ("app", "cflows_app")):
        for path in (repository / root).rglob("*.py"):
            folder = path.parent.relative_to(repository / root)
            assert folder.parts[:1] != ("assets",), f"{path} is code among the assets"
            found.add(".".join((name, *folder.parts)))
    assert listed == found


# A file that can execute code is never loaded: no pickles, no evaluated text, no unsafe YAML, tensors by weights_only.
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "subprocess", "pty"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
    "np.load",
    "numpy.load",
    "compile",
    "__import__",
}


@pytest.mark.parametrize("root", ["cflows_core", "app"])
def test_nothing_executes_what_it_loads(repository: Path, root: str) -> None:
    wrong = []
    for path in sorted((repository / root).rglob("*.py")):
        for name, _ in imports(path, repository):
            if name.split(".")[0] in FORBIDDEN_IMPORTS:
                wrong.append(f"{path.name} imports {name}")
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in FORBIDDEN_CALLS:
                wrong.append(f"{path.name}:{node.lineno} calls {called}")
            if called == "torch.load" and given.get("weights_only") != "True":
                wrong.append(f"{path.name}:{node.lineno} calls torch.load without weights_only=True")
            if given.get("allow_pickle", "False") != "False":
                wrong.append(f"{path.name}:{node.lineno} allows pickles")
            if given.get("shell", "False") != "False":
                wrong.append(f"{path.name}:{node.lineno} starts a shell")
    assert not wrong, "\n".join(wrong)


# Where a script puts HTML into the page: of lessons, which are Markdown without HTML, and MathML, both made by the server.
WRITES_HTML = {"card.js", "toyform.js", "story.js", "expectations.js"}


def test_scripts_of_the_page_write_no_html_but_the_servers(repository: Path) -> None:
    import re

    html = re.compile(r"\.(innerHTML|outerHTML)\s*=|insertAdjacentHTML|document\.write|createContextualFragment")
    code = re.compile(r"\beval\(|new Function|setTimeout\(\s*[\"'`]|javascript:")
    texts = {path.name: path.read_text() for path in (repository / "app" / "assets").glob("*.js")}
    assert {name for name, text in texts.items() if html.search(text)} == WRITES_HTML
    assert not {name for name, text in texts.items() if code.search(text)}
