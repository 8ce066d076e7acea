"""The schema: immutability, round trips, hashing, and one sentence for every value that no run can have."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cflows_core import ConfigError, RunConfig


def test_fields_and_groups_agree() -> None:
    declared = set(RunConfig.param) - {"name"}
    assert set(RunConfig.fields()) == declared
    assert len(RunConfig.fields()) == len(declared)
    assert set(RunConfig.LIVE) <= declared
    assert set(RunConfig.UNITS) <= declared
    for name in declared:
        assert RunConfig.param[name].doc.endswith("."), name
        assert RunConfig.param[name].label, name
        assert RunConfig.param[name].constant, name


def test_round_trip_and_hash() -> None:
    config = RunConfig(lr=0.15, flows=("rod", "central"), changes=[(100, "lr", 0.2)], seed=3)
    assert RunConfig.from_json(config.to_json()) == config
    assert RunConfig.from_dict(config.to_dict()).hash == config.hash
    assert config.replace(seed=4).hash != config.hash
    assert config.replace(changes=()).hash != config.hash
    assert config.flows == ["discrete", "central", "rod"]  # in their own order, and the optimizer always runs
    assert RunConfig(lr=1).hash == RunConfig(lr=1.0).hash
    assert "seed=3" in repr(config)
    assert len({config, RunConfig.from_json(config.to_json())}) == 1


def test_immutable() -> None:
    with pytest.raises(TypeError, match="cannot be modified"):
        RunConfig().lr = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lr": -0.1}, "`lr` must be positive, got -0.1. Typical: 0.01 to 2."),
        ({"lr": 0}, "`lr` must be positive, got 0.0."),
        ({"lr": float("nan")}, "`lr` must be a finite number, got nan."),
        ({"lr": "fast"}, "`lr` must be positive, got 'fast'."),
        ({"width": 2.5}, "`width` must be a whole number from 1 to 4,096, got 2.5."),
        ({"steps": True}, "`steps` must be a whole number from 1 to 10,000,000, got True."),
        ({"dataset": "mnist"}, "`dataset` must be one of digits, cifar10, sorting, chebyshev, got 'mnist'."),
        ({"flows": "central,rodd"}, "modified, stationary, stationary_limit, got 'rodd'."),
        ({"learning_rate": 1}, "A run has no field `learning_rate`"),
        ({"seeds": 1}, "did you mean seed"),
        ({"targets": "signed"}, "needs two classes"),
        ({"changes": [(3, "seed", 1)]}, "can change lr"),
        ({"changes": [(3, "lr", -1)]}, "`lr` must be positive"),
        ({"changes": [(-3, "lr", 1)]}, "a step of 0 or more"),
    ],
)
def test_nonsense_is_one_sentence(fields: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig(**fields)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1]", '{"lr": }', "null", '{"changes": 3}', '{"flows": 3}'])
def test_broken_json_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig.from_json(text)
    assert "\n" not in str(error.value)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # on a busy machine
@given(
    st.dictionaries(
        st.sampled_from(RunConfig.fields()),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)),
    )
)
def test_any_value_gives_a_config_or_a_sentence(fields: dict) -> None:
    try:
        config = RunConfig(**fields)
    except ConfigError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert RunConfig.from_json(config.to_json()) == config
    assert "\n" not in sentence
