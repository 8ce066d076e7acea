"""What is shared between viewers is what each of them would have computed."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from cflows_app import once as once_module
from cflows_app.once import KEPT, once
from cflows_app.streaming import Reading, Table, Values
from cflows_app.views import VIEWS
from cflows_app.views.canvas import Canvas
from cflows_core.config import RunConfig
from cflows_core.history import History
from cflows_core.palette import LIGHT


def test_computed_once_for_a_length_of_a_history(make_history):
    history, other = make_history(5), make_history(5)
    asked: list[str] = []

    def make() -> list[str]:
        asked.append("asked")
        return list(asked)

    assert once(history, "a", make) is once(history, "a", make)
    assert len(asked) == 1
    once(history, "b", make), once(other, "a", make)
    assert len(asked) == 3
    history.append(list(make_history(7).frames)[5:])
    once(history, "a", make)
    assert len(asked) == 4


def test_what_is_kept_is_bounded_and_goes_with_its_history(make_history):
    history = make_history(3)
    for i in range(3 * KEPT):
        once(history, i, lambda i=i: i)
    assert len(once_module._results[history]) == KEPT
    gone = weakref.ref(history)
    del history
    gc.collect()
    assert gone() is None


class Viewer:
    """A viewer's table, with all curves of the page."""

    def __init__(self, sigma: float = 20.0):
        self.canvas = Canvas(Table(sigma), LIGHT)
        self.views = [view(self.canvas) for view in VIEWS]

    def look(self, history: History, **options: str) -> None:
        self.canvas.table.update(Reading(history, CONFIG, options))

    @property
    def shown(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(values, dtype=float) for name, values in self.canvas.table.source.data.items()}


CONFIG = RunConfig()


def test_viewers_who_share_see_what_one_alone_sees(make_history, monkeypatch):
    """They come at different moments, look at different rows, and one smooths more than the others."""
    whole = make_history(300).pack()

    def grow(history: History, n: int) -> None:
        at = len(history)
        history.extend({"n": n, "columns": {key: values[at : at + n] for key, values in whole["columns"].items()}, "events": []})

    def play() -> list[dict[str, np.ndarray]]:
        history = History()
        grow(history, 40)
        viewers = [Viewer(), Viewer(), Viewer(5.0), Viewer()]
        for number, n in enumerate((3, 7, 1, 1, 12, 5, 90, 2)):
            grow(history, n)
            for at, viewer in enumerate(viewers):
                if (number + at) % 3:
                    viewer.look(history)
        for viewer in viewers:
            while viewer.canvas.table.update(Reading(history, CONFIG, {})):
                pass
        return [viewer.shown for viewer in viewers]

    shared = play()
    monkeypatch.setattr("cflows_app.streaming.once", lambda history, key, make: make())
    for found, alone in zip(shared, play(), strict=True):
        assert found.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert not np.array_equal(shared[0]["discrete.loss.smooth"], shared[2]["discrete.loss.smooth"], equal_nan=True)


def test_values_are_written_once_and_say_what_bokeh_says():
    from bokeh.core.serialization import Serializer

    values = Values([1.5, float("nan"), float("inf"), -float("inf"), 2.0])
    written = values.to_serializable(Serializer())
    assert written == [Serializer().encode(value) for value in values]
    assert values.to_serializable(Serializer()) is written
