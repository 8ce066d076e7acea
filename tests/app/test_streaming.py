"""What reaches the browser's table: the same numbers, however they arrived."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bokeh.core.serialization import Serializer

from cflows_app.decimate import MAX_POINTS
from cflows_app.streaming import Column, Reading, Table, Values
from cflows_core.config import RunConfig
from cflows_core.frames import Frame
from cflows_core.history import History

LOSS = Column("loss", lambda reading: reading.series("discrete", "loss"))
SMOOTH = Column("smooth", lambda reading: reading.series("discrete", "loss"), smooth=True)


def frames(start: int, stop: int, status: str = "running"):
    for step in range(start, stop):
        loss = float(np.sin(step / 40) + 0.1 * (-1) ** step)
        yield Frame(step, 0.0, 0.0, {"discrete": {"loss": loss}, "central": {"predicted_loss": loss}}, status={"central": status})


def reading(history: History, config: RunConfig | None = None, **options: str) -> Reading:
    return Reading(history, config or RunConfig(), options)


def table(*columns: Column) -> Table:
    made = Table(10.0)
    for column in columns or (LOSS, SMOOTH):
        made.add(column)
    return made


def drawn(made: Table, name: str) -> np.ndarray:
    return np.asarray(made.source.data[name], dtype=float)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 500, 3), (300, 7, 7, 7), (1999, 5, 700, 900, 900)])
def test_growing_by_pieces_shows_what_all_at_once_shows(pieces):
    history, live = History(), table()
    for piece in pieces:
        history.append(frames(len(history), len(history) + piece))
        assert live.update(reading(history))
    while live.update(reading(history)):
        pass
    assert len(drawn(live, "step")) <= MAX_POINTS
    if len(history) < MAX_POINTS:
        whole = table()
        whole.update(reading(history))
        for name in ("step", "loss", "smooth"):
            # float32 in the table
            np.testing.assert_allclose(drawn(live, name), drawn(whole, name), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(drawn(live, "loss")[-1], history.series("discrete", "loss")[-1], rtol=1e-6)


def test_news_is_streamed_and_not_sent_again():
    history = History(frames(0, 500))
    live = table()
    live.update(reading(history))
    sent = []
    live.source.on_change("data", lambda attr, old, new: sent.append(len(new["step"])))
    history.append(frames(500, 505))
    live.update(reading(history))
    streamed = live.source.data["step"]
    assert len(streamed) == 505
    assert live.update(reading(history))  # nothing new: the smoothed end is corrected
    assert not live.update(reading(history))  # and then nothing is sent


def test_the_smoothed_end_is_corrected_when_more_is_known():
    history = History(frames(0, 200))
    live = table()
    live.update(reading(history))
    before = drawn(live, "smooth").copy()
    history.append(frames(200, 260))
    live.update(reading(history))
    live.update(reading(history))
    after = drawn(live, "smooth")[:200]
    np.testing.assert_allclose(after[:160], before[:160], atol=1e-6)  # further back than 4 widths of 10 steps
    assert np.abs(after[190:] - before[190:]).max() > 1e-3


@pytest.mark.parametrize("piece", [1, 4, 15])
def test_the_smoothed_end_is_smooth_while_rows_arrive(piece):
    """Of a curve of height 1: the newest two widths are as all at once gives them, what is further back within 1 % of the height."""
    history = History(frames(0, 200))
    live = table()
    live.update(reading(history))
    for _ in range(9):
        history.append(frames(len(history), len(history) + piece))
        live.update(reading(history))
        whole = table()
        whole.update(reading(history))
        np.testing.assert_allclose(drawn(live, "smooth"), drawn(whole, "smooth"), atol=1e-2)
        np.testing.assert_allclose(drawn(live, "smooth")[-20:], drawn(whole, "smooth")[-20:], atol=1e-6)


def test_columns_stay_arrays_from_the_first_row_on():
    history, live = History(), table()
    live.update(reading(history))
    for start in (0, 1, 2):
        history.append(frames(start, start + 1))
        live.update(reading(history))
        assert {type(values) for values in live.source.data.values()} == {np.ndarray}


def test_a_run_that_continues_what_is_drawn_is_not_sent_again():
    stored = History(frames(0, 300))
    live = table()
    live.update(reading(stored))
    before = live.source.data["step"]
    resumed = stored.copy()
    assert not live.update(reading(resumed))
    assert live.source.data["step"] is before
    resumed.append(frames(300, 303))
    live.update(reading(resumed))
    np.testing.assert_array_equal(drawn(live, "step"), np.arange(303))


def test_another_run_replaces_the_first():
    live = table()
    live.update(reading(History(frames(0, 300))))
    live.update(reading(History(frames(0, 20))))
    assert len(drawn(live, "step")) == 20


def test_a_window_shows_its_detail():
    history = History(frames(0, 20_000))
    live = table()
    live.update(reading(history))
    coarse = drawn(live, "step")
    live.update(reading(history), (5_000.0, 5_400.0))
    inside = drawn(live, "step")
    inside = inside[(inside >= 5_000) & (inside < 5_400)]
    np.testing.assert_array_equal(inside, np.arange(5_000, 5_400))
    assert ((coarse >= 5_000) & (coarse < 5_400)).sum() < 60
    live.update(reading(history))
    np.testing.assert_array_equal(drawn(live, "step"), coarse)


def test_nothing_is_predicted_while_settling():
    predicted = Column("predicted", lambda r: r.unless_settling("central", r.series("central", "predicted_loss")))
    history = History(frames(0, 10, status="settling"))
    history.append(frames(10, 20))
    live = table(predicted)
    live.update(reading(history))
    assert np.isnan(drawn(live, "predicted")[:10]).all()
    assert np.isfinite(drawn(live, "predicted")[10:]).all()


def test_a_field_changed_while_running_has_its_value_of_the_time():
    config = RunConfig(lr=0.3, changes=[(4, "lr", 0.1), (8, "lr", 0.2)])
    values = reading(History(frames(0, 10)), config).changed("lr")
    np.testing.assert_array_equal(values, [0.3] * 4 + [0.1] * 4 + [0.2] * 2)


def test_modes_that_a_series_lacks_are_missing_values(make_history):
    seen = reading(make_history(5))
    assert np.isfinite(seen.series("discrete", "effective_eigs", 0)).all()
    assert np.isnan(seen.series("discrete", "effective_eigs", 5)).all()
    assert np.isnan(seen.series("discrete", "effective_eigs", 7)).all()
    assert np.isnan(seen.series("nothing", "here", 1)).all()


def test_numbers_of_a_message_are_written_as_bokeh_writes_a_list():
    numbers = [1.5, math.nan, -math.inf, 0.0, 3]
    assert Serializer().encode(Values(numbers)) == Serializer().encode(list(numbers))
