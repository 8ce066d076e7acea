"""Addresses: every configuration comes back from its own to the bit, and whatever else an address says ends in sentences."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cflows_app.session as session_module
from cflows_app.pages.explore import ExplorePage
from cflows_app.session import CUSTOM
from cflows_app.share import LONGEST, query, read
from cflows_app.stored import Stored, first_config
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError
from cflows_core.presets import DEFAULT, PRESETS
from cflows_core.written import from_text, to_text
from tests.app.conftest import done, play_page


def arguments(text: str) -> dict[str, list[bytes]]:
    """A query as the web server gives it."""
    return {name: [value.encode() for value in values] for name, values in parse_qs(text, keep_blank_values=True).items()}


def value_of(name: str) -> st.SearchStrategy:
    """Values that a field's own bounds allow."""
    parameter = RunConfig.param[name]
    if name == "changes":
        live = st.sampled_from(RunConfig.LIVE).flatmap(lambda field: st.tuples(st.integers(0, 10**7), st.just(field), value_of(field)))
        return st.lists(live, max_size=20)
    if name == "schedule":
        return st.sampled_from(["constant", "warmup(50)", "cosine(300, 0.1)", "step(100, 0.5)"])
    kind = type(parameter).__name__
    if kind == "ListSelector":
        return st.lists(st.sampled_from(parameter.objects), unique=True)
    if kind in ("Selector", "DataSelector"):
        return st.sampled_from(parameter.objects)
    low, high = parameter.bounds
    if kind == "Integer":
        return st.integers(low, high)
    return st.floats(low, 1e300 if high is None else high, exclude_min=not parameter.inclusive_bounds[0]).filter(
        lambda x: x < (high or 2e300)
    )


@st.composite
def configurations(draw) -> RunConfig:
    """Configurations near any preset: what does not go together with the rest is left as it was."""
    config = PRESETS[draw(st.sampled_from(list(PRESETS)))].config
    for name in draw(st.lists(st.sampled_from(RunConfig.fields()), unique=True, max_size=12)):
        try:
            config = config.replace(**{name: draw(value_of(name))})
        except ConfigError:
            continue
    return config


@given(configurations())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_configuration_comes_back_from_its_address(config):
    address = query(config)
    assert len(address) <= LONGEST
    asked = read(arguments(address))
    assert asked.problems == ()
    assert asked.config == config
    assert asked.config.hash == config.hash  # equal to the bit, not only by ==
    assert {name: from_text(name, to_text(name, value)) for name, value in config.to_dict().items() if isinstance(value, (int, float))} == {
        name: value for name, value in config.to_dict().items() if isinstance(value, (int, float))
    }


@given(
    st.dictionaries(st.text(max_size=12) | st.sampled_from([*RunConfig.fields(), "preset"]), st.lists(st.binary(max_size=30), max_size=2))
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_an_address_says_gives_a_configuration(given_arguments):
    asked = read(given_arguments)
    assert asked is None or isinstance(asked.config, RunConfig)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_name(name):
    assert read(arguments(f"preset={name}")).config == first_config(name)
    assert read(arguments(query(first_config(name)))).config == first_config(name)


def test_an_address_is_short_and_readable():
    config = first_config(DEFAULT).replace(lr=0.2, changes=[(400, "lr", 0.1), (600, "lr", 0.05)])
    assert query(config) == f"preset={DEFAULT}&lr=0.2&changes=400:lr=0.1,600:lr=0.05"


def test_an_address_without_a_preset_begins_from_the_first():
    assert read(arguments("lr=0.125")).config == first_config(DEFAULT).replace(lr=0.125)
    assert read({}) is None
    assert read({"bokeh-session-id": [b"x"]}) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("lrr=0.1", ["no field `lrr`", "did you mean lr"]),
        ("lr=-1", ["`lr` must be positive", "-1", "Typical"]),
        ("lr=fast", ["`lr` must be positive", "'fast'"]),
        ("lr=", ["`lr`", "''"]),
        ("width=nan", ["`width`", "nan"]),
        ("preset=digit-mlp", ["no preset 'digit-mlp'", "did you mean"]),
        ("changes=400", ["STEP:FIELD=VALUE", "'400'"]),
        ("changes=400:width=3", ["'width'", "start a new run"]),
        ("changes=400:lr=-1", ["`lr` must be positive"]),
        ("flows=discrete,spiral", ["`flows` must be chosen from", "'spiral'"]),
        ("lr=0.1&lr=0.2", ["once", "`lr` 2 times"]),
        ("architecture=resnet&width=17", ["width", "17"]),
        ("name=x", ["no field `name`"]),
        ("lr=" + "9" * 5000, ["`lr` must be a finite number"]),
        ("lr=" + "x" * (LONGEST + 1), ["at most 12,000 characters"]),
        ("lr=%ff%fe", ["`lr` must be positive"]),
    ],
)
def test_what_is_wrong_is_one_sentence_and_the_rest_holds(address, words):
    asked = read(arguments(address if len(address) > LONGEST else address + "&seed=7"))
    told = " ".join(asked.problems)
    assert all(word in told for word in words), told
    assert len(told) < 700
    if len(address) <= LONGEST:
        assert asked.config.seed == 7
        assert f"Shown is the preset {DEFAULT}, with what else the address says." in told


def test_fields_that_hold_only_together_are_taken_together():
    asked = read(arguments("preset=digits-mlp&dataset=sorting&architecture=transformer&criterion=cross_entropy&lrr=1"))
    assert (asked.config.dataset, asked.config.architecture) == ("sorting", "transformer")
    assert len(asked.problems) == 2  # the field that does not exist, and what is shown


def test_too_many_changes_have_no_address():
    assert query(RunConfig(changes=[(step, "lr", 0.1 + step / 1e5) for step in range(2000)])) == ""


# Opening an address


@pytest.fixture
def stored(monkeypatch, make_history):
    """The first preset has its stored run."""
    run = Stored(session_module.stored_run(DEFAULT).path, first_config(DEFAULT), make_history(300))
    monkeypatch.setattr(session_module, "stored_run", lambda name: run if name == DEFAULT else None)


def play_address(engine, address, scene):
    """A page that is opened with an address."""

    async def opened(page: ExplorePage) -> None:
        page.session.open(read(arguments(address)))
        page.tick()
        await scene(page)

    play_page(engine, opened)


def test_the_address_of_the_first_screen_shows_the_stored_run(stored, fake_engine):
    async def scene(page):
        assert (page.session.status, page.session.preset, page.session.error) == ("stored", DEFAULT, "")

    play_address(fake_engine, query(first_config(DEFAULT)), scene)


def test_an_address_gives_the_run_it_was_made_from(stored, fake_engine):
    config = first_config(DEFAULT).replace(lr=0.4, width=8, changes=[(3, "lr", 0.1)])

    async def scene(page):
        session = page.session
        assert (session.status, session.preset) == ("new", CUSTOM)
        assert page.form.state["values"]["lr"] == "0.4"  # what the first step takes
        assert page.form.state["changes"] == ["Learning rate η: 0.1 from step 3"]
        page._on_transport({"action": "run"})
        await done(page)
        assert session.runner.config == config  # nothing was set on the way
        session.runner.play(2)
        page.tick()
        assert page.form.state["values"]["lr"] == "0.4"
        session.runner.play(1)
        page.tick()
        assert page.form.state["values"]["lr"] == "0.1"  # from step 3 on
        assert query(session.shared) == query(config)
        session.edit("lr", "0.4")  # what the run began with: a change all the same
        await done(page)
        assert session.runner.config.changes == ((3, "lr", 0.1), (3, "lr", 0.4))
        assert page.form.state["values"]["lr"] == "0.4"
        session.edit("width", "9")  # a new run begins with what the controls show
        assert (session.config.lr, session.config.changes) == (0.4, ())

    play_address(fake_engine, query(config), scene)


def test_a_live_change_is_in_the_address_and_one_not_made_yet_too(stored, fake_engine):
    async def scene(page):
        session = page.session
        session.edit("lr", "0.1")
        await done(page)
        assert session.shared.changes == ((300, "lr", 0.1),)
        page._on_transport({"action": "run"})
        await done(page)
        assert session.shared == session.runner.config
        assert session.shared.changes == ((300, "lr", 0.1),)

    play_address(fake_engine, query(first_config(DEFAULT)), scene)


def test_a_wrong_address_is_told_in_the_page_until_dismissed(stored, fake_engine):
    async def scene(page):
        assert "no field `lrr`" in page.status.state["problem"]
        assert page.session.status == "stored"
        page._on_status({"dismiss": True})
        page.tick()
        assert page.status.state["problem"] == ""

    play_address(fake_engine, "lrr=0.1", scene)
