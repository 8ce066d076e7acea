"""What the gallery's claims are made of."""

from __future__ import annotations

import numpy as np
import pytest

import cflows_core as cf
from cflows_core.gallery.measures import per_cent, smooth, stretch


@pytest.mark.parametrize(
    ("holds", "longest"),
    [("0110111010", "0000111000"), ("0110011", "0110000"), ("0001111", "0001111"), ("1111", "1111"), ("000", "000"), ("", "")],
)
def test_the_longest_stretch(holds: str, longest: str) -> None:
    mask = stretch(np.array([mark == "1" for mark in holds], dtype=bool))
    assert "".join("1" if inside else "0" for inside in mask) == longest


def test_smoothing_is_over_steps_however_often_they_are_recorded() -> None:
    """A wave of 24 steps keeps exp(−(2πσ/24)²/2) of its height under a Gaussian of σ steps; two steps are a row here."""
    sigma, period = 4.0, 24
    config = cf.RunConfig(dataset="chebyshev", n_train=4, width=1, depth=1, flows=["discrete"], observe=[], n_eigs=1, threads=1)
    run = cf.run(config.replace(steps=96, record_every=2), progress=False)
    wave = np.cos(2 * np.pi * run.steps / period)
    middle = slice(run.rows // 4, -run.rows // 4)  # away from the ends, where the nearest value is repeated
    np.testing.assert_allclose(smooth(run, wave, sigma)[middle], np.exp(-((2 * np.pi * sigma / period) ** 2) / 2) * wave[middle], atol=1e-3)


def test_shares_are_told_in_two_digits() -> None:
    assert [per_cent(share) for share in (0.0123, 0.5, 0.995, 1.0, 1.76)] == ["1.2 %", "50 %", "100 %", "100 %", "176 %"]
