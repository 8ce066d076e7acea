"""A problem of one's own in a file: what a configuration says of it, what is executed, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from cflows_core.config import RunConfig, problem_of_file
from cflows_core.engine import Engine
from cflows_core.errors import ConfigError, ModelError
from cflows_core.problems import files
from cflows_core.problems.build import build_problem, count_parameters
from cflows_core.problems.files import ProblemFile
from cflows_core.rules import BY_FILE
from cflows_core.simulation import Simulation

GOOD = """
import torch
import cflows_core as cf

def make_objective():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    return cf.Objective.from_module(model, torch.randn(6, 2), torch.randn(6, 1), dtype=torch.float64, check=False)
"""


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_known", {})


def written(folder: Path, text: str = GOOD, name: str = "mine.py") -> ProblemFile:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return ProblemFile.read(str(path))


def is_a_sentence(text: str) -> bool:
    return "\n" not in text and text.endswith(".")


def config_of(file: ProblemFile, **fields: object) -> RunConfig:
    return RunConfig(**problem_of_file(file.dataset), **{"lr": 0.1, "steps": 4, "n_eigs": 2, "observe": [], **fields})


def test_the_content_is_in_the_name(tmp_path: Path) -> None:
    first, same = written(tmp_path), written(tmp_path)
    other = written(tmp_path, GOOD + "# another\n")
    assert first.dataset == same.dataset
    assert config_of(first).hash == config_of(same).hash
    assert config_of(first).hash != config_of(other).hash
    assert RunConfig.from_json(config_of(first).to_json()) == config_of(first)


def test_any_path_gives_a_name_that_a_configuration_takes(tmp_path: Path) -> None:
    file = written(tmp_path, name="mein Netz (β).v2.py")
    assert config_of(file).dataset.startswith("file:mein-Netz----.v2@")


def test_equal_seeds_give_equal_problems(tmp_path: Path) -> None:
    file = written(tmp_path)
    files.use([file])
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (build_problem(config_of(file, seed=seed)).weights for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)  # whoever else draws is not disturbed


def test_the_number_of_weights_is_known_without_running_again(tmp_path: Path) -> None:
    files.use([written(tmp_path).checked()])
    assert count_parameters(config_of(written(tmp_path))) == 13


def test_what_is_executed_is_what_was_read(tmp_path: Path) -> None:
    file = written(tmp_path)
    written(tmp_path, "raise SystemExit('changed since')")
    assert file.checked().parameters == 13


def test_a_file_may_import_what_lies_beside_it_and_give_its_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("")  # the path is put back afterwards
    (tmp_path / "beside_it.py").write_text("SIZE = 3", encoding="utf-8")
    text = "import cflows_core as cf, torch\nfrom beside_it import SIZE\n"
    text += "def make_objective():\n    return cf.Objective.from_function(lambda w: (w**4).sum(), SIZE), torch.ones(SIZE)"
    objective, weights = written(tmp_path, text).make(0)
    assert (objective.n_params, weights.tolist(), weights.dtype) == (3, [1.0, 1.0, 1.0], objective.dtype)


def test_a_run_of_it_is_shared_stored_and_resumed(tmp_path: Path) -> None:
    file = written(tmp_path)

    async def scenario() -> None:
        async with Engine.in_process(1, problems=[file]) as engine:
            runner = await engine.start(config_of(file), tmp_path / "run.zarr")
            again = await engine.start(config_of(file), tmp_path / "run.zarr")
            assert runner is again
            await runner.step(3)
            assert runner.facts.parameters == 13
            await runner.release()
            await again.release()
            resumed = await engine.resume(tmp_path / "run.zarr")
            await resumed.step(2)
            losses = resumed.history.series("discrete", "loss").tolist()
            assert losses == [frame.flows["discrete"]["loss"] for frame in Simulation(config_of(file))]
            await resumed.release()

    asyncio.run(scenario())


def test_a_file_that_was_not_given_is_a_sentence_and_is_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    file = written(tmp_path, f"open({str(trace)!r}, 'w').close()\n{GOOD}")
    for start in (build_problem, count_parameters):
        with pytest.raises(ConfigError, match=r"started with --problem mine\.py|start with --problem mine\.py") as caught:
            start(config_of(file))
        assert is_a_sentence(str(caught.value))
    files.use([written(tmp_path)])
    with pytest.raises(ConfigError, match="the file given now has another"):
        build_problem(config_of(file))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["file:", "file:x", "file:../x@0123456789abcdef", "file:x@0123", "file:x@0123456789abcdeg"])
def test_other_names_are_no_data(name: str) -> None:
    with pytest.raises(ConfigError, match="`dataset` must be one of"):
        RunConfig(dataset=name)


@pytest.mark.parametrize("field", BY_FILE)
def test_what_the_file_decides_is_not_said_beside_it(tmp_path: Path, field: str) -> None:
    parameter = RunConfig.param[field]
    other = (
        parameter.objects[-1]
        if hasattr(parameter, "objects")
        else 0.5
        if isinstance(parameter.default, float)
        else 2 + (parameter.default == 2)
    )
    with pytest.raises(ConfigError, match=f"decides `{field}` itself"):
        config_of(written(tmp_path)).replace(**{field: other})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_package", ["line 1", "ModuleNotFoundError", "no_such_package"]),
        ("x = 1\ndef f(:\n", ["line 2", "SyntaxError"]),
        ("raise SystemExit(3)", ["line 1", "SystemExit"]),
        ("\xff", ["must run from top to bottom"]),
        ("x = 1", ["define make_objective()", "no such function"]),
        ("make_objective = 3", ["define make_objective()", "no such function"]),
        ("def make_objective():\n    return 3", ["returns an Objective", "int"]),
        ("def make_objective():\n    1 / 0", ["line 2", "ZeroDivisionError"]),
        ("def make_objective(config):\n    pass", ["TypeError", "config"]),
        (GOOD.replace("(2, 3)", "(5, 3)"), ["make_objective()", "line 7"]),
        (
            "import cflows_core as cf\ndef make_objective():\n    return cf.Objective.from_function(lambda w: w.sum(), 2)",
            ["(objective, weights)"],
        ),
        (GOOD.replace("torch.float64", "torch.float16"), ["make_objective()", "float16"]),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        written(tmp_path, text).checked()
    sentence = str(caught.value)
    assert is_a_sentence(sentence), sentence
    assert "mine.py" in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("name", ["absent.py", ""])
def test_no_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="must name a Python file"):
        ProblemFile.read(str(tmp_path / name))
