"""What an edit of one field makes of a configuration, and of the controls beside it."""

from __future__ import annotations

import pytest

from cflows_app import form, texts
from cflows_app.editing import fitting, present
from cflows_app.session import Session
from cflows_core.config import RunConfig
from cflows_core.problems import files
from tests.app.conftest import play


def test_the_present_value_of_a_field_is_the_last_change():
    assert present(RunConfig(lr=0.3, changes=[(2, "lr", 0.1), (5, "lr", 0.2)]), "lr", 5) == 0.2
    assert present(RunConfig(lr=0.3, changes=[(2, "lr", 0.1), (5, "lr", 0.2)]), "lr", 4) == 0.1
    assert present(RunConfig(lr=0.3), "lr", 5) == 0.3


@pytest.mark.parametrize(
    ("before", "chosen", "after"),
    [
        ({}, {"dataset": "sorting"}, {"architecture": "lstm"}),
        ({}, {"architecture": "mamba"}, {"dataset": "digits"}),
        ({"dataset": "sorting", "architecture": "mamba"}, {"architecture": "vit"}, {"dataset": "digits"}),
        ({"dataset": "sorting", "architecture": "mamba"}, {"architecture": "transformer"}, {"dataset": "sorting"}),
        ({"criterion": "cross_entropy"}, {"dataset": "chebyshev"}, {"architecture": "mlp", "criterion": "mse"}),
        ({"targets": "signed", "classes": 2}, {"dataset": "sorting"}, {"architecture": "lstm", "targets": "onehot"}),
        ({"width": 10}, {"architecture": "resnet"}, {"width": 12}),
    ],
)
def test_data_and_model_follow_one_another(before: dict, chosen: dict, after: dict) -> None:
    """Every choice in a control is taken; what does not go with it changes, and nothing else."""
    former = RunConfig(**before)
    assert fitting(former, **chosen) == former.replace(**chosen, **after)


def test_a_width_that_the_model_cannot_take_is_refused_beside_its_control(fake_engine) -> None:
    async def scene(session: Session) -> None:
        session.edit("architecture", "vit")
        session.edit("width", "10")
        assert session.errors["width"].startswith("`width` must be a multiple of 4")
        assert session.config.width == 16

    play(fake_engine, scene)


def test_a_problem_file_takes_the_place_of_data_and_model(stored, fake_engine, monkeypatch):
    file = files.ProblemFile("mine", "mine.py", b"", parameters=5)
    monkeypatch.setattr(files, "_known", {file.dataset: file})
    assert [file.dataset, "mine.py"] in form.field("dataset")["choices"]

    async def scene(session: Session):
        session.edit("width", "8")
        session.edit("dtype", "float32")
        session.edit("dataset", file.dataset)
        assert session.errors == {}
        assert (session.config.dataset, session.config.width, session.config.dtype) == (file.dataset, RunConfig().width, "auto")
        assert texts.problem_hint(session.config).startswith("5 weights to train.")
        session.edit("optimizer", "adam")
        await session.do(session.run)
        assert (session.runner.config.dataset, session.runner.config.optimizer) == (file.dataset, "adam")
        session.edit("dataset", "digits")
        assert (session.errors, session.config.dataset) == ({}, "digits")

    play(fake_engine, scene)


def test_a_problem_file_that_the_server_was_not_given_is_a_sentence(stored, fake_engine):
    async def scene(session: Session):
        before, name = session.config, "file:other@0123456789abcdef"
        session.edit("dataset", name)
        assert "--problem other.py" in session.errors["dataset"]
        assert session.config == before
        assert "--problem other.py" in texts.problem_hint(RunConfig(dataset=name))  # a configuration from elsewhere

    play(fake_engine, scene)
