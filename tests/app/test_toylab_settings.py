"""Settings of the toy lab, their fields and their addresses, and what cannot be one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cflows_app.toylab.setting import FIELDS, FIRST, LONGEST, Setting, read
from cflows_core.errors import ConfigError
from tests.app.toys import HOSTILE, arguments, at


def value_of(name: str) -> st.SearchStrategy:
    parameter = FIELDS[name]
    if name == "formula":
        return st.sampled_from(["x^2", "1 - cos(x)", "x^4/4 + y^2 - x*y", "log(cosh(3*x))"])
    if hasattr(parameter, "objects"):
        return st.sampled_from(list(parameter.objects))
    low, high = parameter.bounds
    values = st.floats(low, 1e3 if high is None else high, exclude_min=name == "lr", exclude_max=name == "beta1")
    return values.map(lambda value: value + 0.0)  # 0 for −0, which nobody types


@given(st.fixed_dictionaries({name: value_of(name) for name in FIELDS}))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_setting_comes_back_from_its_address(fields):
    setting = Setting(**fields)
    found, problems = read(arguments(setting.query))
    assert problems == []
    assert {name: getattr(found, name) for name in ("loss", "optimizer", "lr", *setting.asked)} == {
        name: getattr(setting, name) for name in ("loss", "optimizer", "lr", *setting.asked)
    }
    assert found.query == setting.query
    assert len(setting.query) < LONGEST


@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(list(FIELDS)), st.lists(st.binary(max_size=30), max_size=2)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_an_address_says_gives_a_setting(given_arguments):
    setting, problems = read(given_arguments)
    assert all(0 < len(problem) < 700 for problem in problems)
    for name in FIELDS:
        assert Setting.check(name, getattr(setting, name)) == getattr(setting, name)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("lr=0", "`lr` must be positive, got 0"),
        ("lr=many", "`lr` must be positive, got 'many'"),
        ("loss=cubic", "`loss` must be one of linear, quadratic, quartic, valley, formula, got 'cubic'"),
        ("beta1=1.5", "`beta1` must be a number from 0 to 1.0, got 1.5"),
        ("wrong=1", "The toy lab has no field `wrong`"),
        ("x=nan", "`x` must be a finite number"),
        ("loss=formula&formula=x.y", ""),
        ("formula=" + 3000 * "x", "An address of the toy lab has at most 2,000 characters"),
    ],
)
def test_a_part_of_an_address_that_cannot_be_taken_is_told(query, told):
    setting, problems = read(arguments(query))
    assert len(problems) == 1
    assert told in problems[0]
    assert setting.lr > 0


@pytest.mark.parametrize("formula", HOSTILE)
def test_a_formula_that_is_none_is_refused_in_a_sentence(formula):
    with pytest.raises(ConfigError) as refusal:
        FIRST.changed("formula", formula)
    sentence = str(refusal.value)
    assert 20 < len(sentence) < 400
    assert sentence.rstrip().endswith((".", ")", "?"))
    assert "\n" not in sentence


def test_another_loss_or_optimizer_keeps_the_distance_from_the_edge():
    setting = at(lr=2.5)
    for name, value in (("sharpness", 4.0), ("optimizer", "heavy_ball"), ("loss", "quadratic"), ("optimizer", "nesterov")):
        setting = setting.changed(name, value)
        assert setting.edge == pytest.approx(1.25, rel=1e-3)
    assert setting.changed("beta1", 0.5).lr == setting.lr
    assert setting.changed("optimizer", "adam").edge is None
    assert setting.changed("loss", "linear").edge is None


def test_the_curvature_of_a_formula_is_that_of_its_minimum():
    setting = at(loss="formula", formula="3*(x-2)^2 + cos(0*x)", x=0.5)
    assert setting.curvature == pytest.approx(6.0, abs=1e-6)
    assert at(loss="formula", formula="x").curvature == 0.0
    assert at(loss="formula", formula="x^2 + 4*y^2").curvature == pytest.approx(8.0, abs=1e-6)
