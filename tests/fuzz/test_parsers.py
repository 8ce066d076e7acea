"""What comes from outside is read, or refused in a sentence, soon; `benchmarks/fuzz.py` tries far more of it."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cflows_core.errors import CflowsError
from tests.fuzz.pages import end_visits
from tests.fuzz.parsers import PARSERS

EXAMPLES = 40
LONGEST = 10.0  # seconds of a processor for one input, so that others' work does not count


@pytest.mark.parametrize("name", PARSERS)
def test_any_input_is_read_or_refused_soon(name):
    parser = PARSERS[name]

    @given(parser.inputs)
    @settings(
        max_examples=max(4, int(EXAMPLES * min(1.0, parser.share))),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def read(said):
        begin = time.process_time()
        with suppress(CflowsError):
            parser.read(said)
        assert time.process_time() - begin < LONGEST

    try:
        read()
    finally:
        end_visits()
