"""A sweep's file: grids against numpy and itertools, and one sentence for everything that is wrong."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cflows_core import presets, sweep
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.sweep.specification import MOST

pytest.importorskip("yaml", reason="PyYAML is missing: pip install 'cflows[app]'")


def written(folder: Path, text: str | bytes, name: str = "rates.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_axes_are_crossed_in_row_major_order() -> None:
    lists = {"optimizer": ["gd", "adam"], "seed": [0, 1, 2], "beta2": [0.9, 0.99]}
    found = sweep.from_plain({"base": {"steps": 7}, "axes": lists})
    expected = [RunConfig(steps=7, **dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]
    assert [case.config for case in found.cases] == expected
    assert found.shape == (2, 3, 2)
    assert found.gridded
    assert [np.ravel_multi_index(case.at, found.shape) for case in found.cases] == list(range(12))


def test_ranges_are_numpys() -> None:
    found = sweep.from_plain(
        {"axes": {"lr": {"log": {"from": 0.01, "to": 1, "points": 8}}, "beta2": {"linear": {"from": 0.5, "to": 0.9, "points": 5}}}}
    )
    assert np.array_equal(found.axes[0].coordinates, np.geomspace(0.01, 1, 8))
    assert np.array_equal(found.axes[1].coordinates, np.linspace(0.5, 0.9, 5))
    assert [case.config.lr for case in found.cases][::5] == np.geomspace(0.01, 1, 8).tolist()


def test_fields_that_change_together_are_one_axis() -> None:
    found = sweep.from_plain({"axes": {"optimizer, lr": [["gd", 0.3], ["adam", 0.002]], "seed": [0, 1]}})
    assert [(case.config.optimizer, case.config.lr, case.config.seed) for case in found.cases] == [
        ("gd", 0.3, 0), ("gd", 0.3, 1), ("adam", 0.002, 0), ("adam", 0.002, 1),
    ]  # fmt: skip
    assert found.axes[0].coordinates.tolist() == ["gd, 0.3", "adam, 0.002"]
    assert found.columns == ("optimizer", "lr", "seed")


def test_factors_multiply_what_the_preset_has() -> None:
    names = ["digits-mlp", "rmsprop"]
    found = sweep.from_plain({"axes": {"preset": names, "lr": {"times": [0.5, 2]}}})
    expected = [presets.get(name).config.replace(lr=factor * presets.get(name).config.lr) for name in names for factor in (0.5, 2)]
    assert [case.config for case in found.cases] == expected
    assert [case.values["lr"] for case in found.cases] == [config.lr for config in expected]
    assert found.axes[1].name == "lr ×"


def test_single_configurations_stand_beside_the_grid_and_equal_ones_run_once() -> None:
    found = sweep.from_plain(
        {"axes": {"lr": [0.1, 0.2, 0.1]}, "configs": [{"lr": 0.2}, {"optimizer": "adam"}, {"preset": presets.DEFAULT}]}
    )
    assert len(found.cases) == 6
    assert not found.gridded
    assert list(found.configs.values()) == [
        RunConfig(lr=0.1),
        RunConfig(lr=0.2),
        RunConfig(optimizer="adam"),
        presets.get(presets.DEFAULT).config,
    ]
    assert all(name == config.hash for name, config in found.configs.items())


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    plain = {
        "preset": presets.DEFAULT,
        "base": {"bias_correction": "on", "eps": 1e-3},
        "axes": {"lr": [1e-1, 0.2], "flows": [["rod"], ["central", "rod"]]},
    }
    text = f"preset: {presets.DEFAULT}\nbase: {{bias_correction: on, eps: 1e-3}}\n"
    text += "axes:\n  lr: [1e-1, .2]\n  flows:\n  - [rod]\n  - [central, rod]\n"
    from_json = sweep.read(written(tmp_path, json.dumps(plain), "rates.json"))
    from_yaml = sweep.read(written(tmp_path, text))
    assert from_json == from_yaml == sweep.from_plain(plain, "rates")
    assert from_yaml.cases[0].config.bias_correction == "on"  # YAML 1.1 reads true


WRONG = {
    "unknown key": ("axis: {lr: [1]}", "did you mean axes?"),
    "unknown field": ("axes: {lrr: [1]}", "did you mean lr?"),
    "unknown field in base": ("base: {step: 3}\naxes: {lr: [1]}", "`base` has the unknown key 'step': did you mean steps or"),
    "out of bounds": ("axes: {lr: [0.1, -1]}", "`lr` must be positive, got -1.0"),
    "out of bounds in a range": ("axes: {beta2: {linear: {from: 0, to: 2, points: 3}}}", "`beta2` must be a number from 0 to 1.0, got 2.0"),
    "together impossible": ("axes: {targets: [signed]}", "`axes` at targets 'signed'"),
    "no preset": ("axes: {preset: [mlpgd]}", "There is no preset 'mlpgd'"),
    "log of zero": ("axes: {lr: {log: {from: 0, to: 1, points: 3}}}", "above 0"),
    "range without points": ("axes: {lr: {log: {from: 1, to: 2}}}", "needs the numbers from, to, points"),
    "many points": ("axes: {lr: {log: {from: 1, to: 2, points: 1000000000}}}", "`points` must be"),
    "half a point": ("axes: {lr: {log: {from: 1, to: 2, points: 2.5}}}", "`points` must be"),
    "infinite": ("axes: {lr: {log: {from: 1, to: 1e999, points: 2}}}", "needs the numbers"),
    "rows too short": ("axes: {'optimizer, lr': [[gd]]}", "a list of 2 values"),
    "factors of a word": ("axes: {optimizer: {times: [2]}}", "which optimizer is not"),
    "negative factor": ("axes: {lr: {times: [-2]}}", "positive factors"),
    "field twice": ("axes: {lr: [1], 'lr, seed': [[1, 2]]}", "on two axes"),
    "key twice": ("axes: {lr: [1], lr: [2]}", "stands there twice"),
    "too many": ("axes: {seed: {times: [" + "1," * 999 + "1]}, n_train: {linear: {from: 1, to: 9, points: 1000}}}", "1,000,000"),
    "nothing": ("name: x", "neither `axes` nor `configs`"),
    "empty": ("", "must be a mapping"),
    "a list": ("- 1", "must be a mapping"),
    "alias": ("base: &a {lr: 1}\naxes: *a", "`*a` repeats another part"),
    "laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "repeats another part"),
    "deep": ("[" * 50 + "]" * 50, "levels deep"),
    "very deep": ("{a: " * 30_000, "levels deep"),
    "code": ("!!python/object/apply:os.system ['touch x']", "could not determine a constructor"),
    "key of a list": ("? [1, 2]\n: 3", "a list or a mapping stands where a key should"),
    "not yaml": ("axes: {lr: [1", "it is not YAML in line 1"),
    "two documents": ("a: 1\n---\nb: 2", "it is not YAML in line 2"),
    "control characters": ("a: \x01", "not allowed"),
    "not text": (b"\xff\xfe\xfa", "UTF-8"),
    "long number": ("axes: {seed: [" + "9" * 9000 + "]}", "cannot be read as YAML"),
    "large": ("#" * 200_000, "larger than 128 KiB"),
    "name of another folder": ("name: ../../x\naxes: {lr: [1]}", "`name` must be"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_in_a_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    path = written(tmp_path, text)
    begin = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        sweep.read(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "levels deep"),
        ('{"axes": {"lr": [1], "lr": [2]}}', "stands there twice"),
        ("{", "cannot be read as JSON"),
        ('{"axes": {"lr": [NaN]}}', "finite"),
        ("{" + ",".join(f'"{at}":0' for at in range(12_000)) + "}", "unknown key '0'"),
    ],
)
def test_hostile_json(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        sweep.read(written(tmp_path, text, "rates.json"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        sweep.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="ends in"):
        sweep.read(tmp_path / "none.toml")


def test_the_most_configurations_are_read_soon() -> None:
    begin = time.perf_counter()
    found = sweep.from_plain({"axes": {"seed": {"linear": {"from": 0, "to": MOST - 1, "points": MOST}}}})
    assert len(found.configs) == MOST
    assert time.perf_counter() - begin < 20


WORDS = st.sampled_from(["lr", "gd", "lr, seed", "optimizer", "preset", "log", "times", "from", "to", "points"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def read_or_sentence(read: Callable[[], sweep.Sweep]) -> str:
    """What is wrong, "" if nothing is."""
    try:
        assert read().cases
    except ConfigError as error:
        return str(error)
    return ""


@given(st.dictionaries(st.sampled_from(["name", "preset", "base", "axes", "configs", "z"]), VALUES, max_size=4))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_values_a_file_has_it_is_a_sweep_or_a_sentence(plain: dict[str, Any]) -> None:
    assert "\n" not in read_or_sentence(lambda: sweep.from_plain(plain))


@given(st.text(alphabet=st.sampled_from("[]{}:,-&*!|>?%@`'\"# \nab01.e~<"), max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_text_a_file_has_it_is_a_sweep_or_a_sentence(tmp_path: Path, text: str) -> None:
    assert "\n" not in read_or_sentence(lambda: sweep.read(written(tmp_path, text)))
