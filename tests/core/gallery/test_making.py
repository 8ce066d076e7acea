"""A figure's runs are found where they lie, computed where they do not, and never mistaken for others."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cflows_core import panels
from cflows_core.config import RunConfig
from cflows_core.errors import ConfigError, StoreError
from cflows_core.gallery import making
from cflows_core.gallery.figure import Claim, Figure, Finding, Stored, Study
from cflows_core.gallery.sketch import HEIGHT, WIDTH, sketch

CONFIG = RunConfig(width=4, n_train=60, warm_start=1, steps=5, n_eigs=1, flows=["discrete"], observe=[])


def figure(config: RunConfig = CONFIG, **changes) -> Figure:
    told = {
        "name": "xx-1",
        "source": "[XX] Figure 1",
        "title": "A figure",
        "caption": "A caption.",
        "theirs": "Theirs.",
        "ours": "Ours.",
        "panels": lambda data: [panels.loss(data["run"])],
        "claims": (Claim("The loss falls.", lambda data: Finding(f"{data['run'].rows} rows", data["run"].rows == 7)),),
        "runs": {"run": Stored("small", config)},
        "studies": {"study": Study("numbers", lambda: {"a": np.array([1.0, np.nan]), "b": np.array(2.0)})},
    }
    return Figure(**(told | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery")
    told: list[str] = []
    making.collect(figure(), [path], tell=told.append)
    assert told == ["Computing small: 6 steps.", "Computing numbers."]
    return path


def test_what_was_computed_is_found_again(folder, tmp_path):
    told: list[str] = []
    data = making.collect(figure(), [tmp_path, folder], tell=told.append)
    assert not told
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(data["run"].steps, np.arange(7))
    np.testing.assert_array_equal(data.studies["study"]["a"], [1.0, np.nan])
    assert data.studies["study"]["b"] == 2.0
    assert sorted(path.name for path in folder.iterdir()) == ["numbers.json", "small.zarr.zip"]


def test_it_is_computed_again_when_asked(folder, tmp_path):
    told: list[str] = []
    data = making.collect(figure(), [tmp_path, folder], again=True, tell=told.append, threads=1)
    assert len(told) == 2
    assert data["run"].config.threads == 1
    assert making.stored(figure(), [tmp_path]) is not None


def test_nothing_is_computed_where_it_is_only_looked_for(tmp_path):
    assert making.stored(figure(), [tmp_path]) is None
    assert not list(tmp_path.iterdir())


def test_another_configuration_is_not_taken_for_the_figures(folder):
    with pytest.raises(StoreError, match="holds another configuration than the figure's: compute it again with --again"):
        making.stored(figure(CONFIG.replace(lr=0.2)), [folder])
    assert making.same_run(CONFIG, CONFIG.replace(threads=2, device="cpu"))
    assert not making.same_run(CONFIG, CONFIG.replace(seed=1))


def test_a_damaged_study_is_told(folder, tmp_path):
    (tmp_path / "small.zarr.zip").write_bytes((folder / "small.zarr.zip").read_bytes())
    for damage in ("{", "[1]", '{"a": "x"}'):
        (tmp_path / "numbers.json").write_text(damage)
        with pytest.raises(StoreError, match="is damaged: compute it again"):
            making.stored(figure(), [tmp_path])


def test_the_papers_scale_is_asked_of_a_figure_that_has_one(tmp_path):
    with pytest.raises(ConfigError, match=r"no setting of \[XX\] Figure 1"):
        making.collect(figure(), [tmp_path], paper_scale=True)
    large = figure(paper={"run": Stored("large", CONFIG.replace(steps=7))})
    assert making.collect(large, [tmp_path], paper_scale=True)["run"].rows == 9


def test_the_index_keeps_what_was_found(folder, tmp_path):
    data = making.collect(figure(), [folder])
    first, second = figure(), figure(name="xx-0", lacks="A panel.")
    for each in (first, second):
        making.note(each, each.findings(data), each.panels(data), tmp_path)
    index = making.index(tmp_path)
    assert list(index) == ["xx-0", "xx-1"]
    assert [entry["verdict"] for entry in index.values()] == ["partly", "reproduced"]
    assert index["xx-1"]["findings"] == [["7 rows", True]]
    (tmp_path / making.INDEX).write_text("{")
    assert making.index(tmp_path) == {}


def test_verdicts():
    yes, no = Finding("1", True), Finding("0", False)
    assert figure().verdict([yes, yes]) == "reproduced"
    assert figure().verdict([yes, no]) == "partly"
    assert figure().verdict([no, no]) == "not reproduced"
    assert figure(lacks="something").verdict([yes]) == "partly"


def test_a_sketch_keeps_spikes_and_stays_in_its_frame():
    ys = np.ones(10_000)
    ys[777], ys[5000:5100] = 9.0, np.nan
    (line,) = sketch(panels.curves({"a": (np.arange(10_000.0), ys)}))
    points = [tuple(map(float, word.split())) for word in line["d"].replace("M", "L").split("L")[1:]]
    assert min(y for _, y in points) == 8  # the spike reaches the frame's upper margin
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert line["d"].count("M") == 2  # interrupted once
    assert len(points) < 400
    assert sketch(panels.curves({"a": ([0.0, 1.0], [np.nan, np.nan])})) == []
    (logarithmic,) = sketch(panels.curves({"a": ([1.0, 10.0, 100.0], [0.0, 1.0, 100.0])}, log="xy"))
    assert logarithmic["d"] == f"M160 {HEIGHT - 8}L312 8"


class _Stop(Exception):
    pass


def test_a_run_that_was_interrupted_goes_on_from_there(tmp_path):
    """As Ctrl-C does: what was computed is neither lost nor taken for the whole."""
    seen: list[int] = []

    @contextmanager
    def watched():
        def on_frame(frame):
            seen.append(frame.step)
            if len(seen) == 4:
                raise _Stop

        yield on_frame

    with pytest.raises(_Stop):
        making.collect(figure(), [tmp_path], watched=watched)
    assert [path.name for path in tmp_path.iterdir()] == ["small.zarr"]
    assert making.stored(figure(), [tmp_path]) is None
    data = making.collect(figure(), [tmp_path], watched=watched)
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    whole = making.collect(figure(), [tmp_path / "other"])
    np.testing.assert_array_equal(data["run"].series("discrete", "loss"), whole["run"].series("discrete", "loss"))
    assert not (tmp_path / "small.zarr").exists()


def test_a_claim_on_what_never_happens_does_not_hold(folder):
    def first(data):
        return Finding(str(np.flatnonzero(data["run"].series("discrete", "loss") > 1e9)[0]), True)

    nothing = figure(claims=(Claim("It happens.", first),))
    (finding,) = nothing.findings(making.collect(nothing, [folder]))
    assert not finding.holds
    assert finding.number.startswith("There is nothing to measure, 0 steps")
