"""The palettes: text that can be read, and flows that are told apart by people who see fewer colours, or by their dashes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cflows_core.palette import DARK, LIGHT, STROKES

PALETTES = {"light": LIGHT, "dark": DARK}
FLOWS = ("discrete", "stable", "central", "rod", "central_no_curvature", "modified", "stationary", "stationary_limit", "edge")
# Linear RGB to what is seen without one kind of cone [Machado, Oliveira, Fernandes 2009, table 1, severity 1.0].
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])  # sRGB, D65
APART = 15.0  # in CIELAB; about 2 can just be seen side by side, thin lines need several times that


def linear(color: str) -> np.ndarray:
    """#rrggbb -> linear RGB."""
    part = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB -> CIELAB under D65."""
    ratio = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2.2."""
    light, dark = sorted((XYZ[1] @ linear(color) for color in (first, second)), reverse=True)
    return float((light + 0.05) / (dark + 0.05))


def test_the_oracles_themselves() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0, abs=1e-3)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=5e-3)  # the grey that just fails
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=1e-2)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=2e-2)
    # Grey is seen as grey, whichever cone is missing: the matrices' rows sum to one.
    for sight in SIGHTS.values():
        assert np.sum(sight, axis=1) == pytest.approx([1, 1, 1], abs=2e-5)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", PALETTES)
def test_flows_are_told_apart_by_colour_or_by_dashes(theme: str, sight: str) -> None:
    seen = {name: lab(np.asarray(SIGHTS[sight]) @ linear(PALETTES[theme][STROKES[name].color])) for name in FLOWS}
    for first, second in itertools.combinations(FLOWS, 2):
        apart = float(np.linalg.norm(seen[first] - seen[second]))
        assert apart >= APART or STROKES[first].dash != STROKES[second].dash, (
            f"{first} and {second} are {apart:.1f} apart, and alike dashed"
        )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", PALETTES)
def test_the_usual_flows_need_no_dashes_to_be_told_apart(theme: str, sight: str) -> None:
    colors = [lab(np.asarray(SIGHTS[sight]) @ linear(PALETTES[theme][STROKES[name].color])) for name in FLOWS[:4]]
    assert min(float(np.linalg.norm(first - second)) for first, second in itertools.combinations(colors, 2)) >= APART


@pytest.mark.parametrize("theme", PALETTES)
def test_text_is_read_on_everything_that_it_stands_on(theme: str) -> None:
    palette = PALETTES[theme]
    written = {(text, ground) for text in ("ink", "muted", "accent", "warn") for ground in ("paper", "card")}
    written |= {(text, ground) for text in ("ink", "muted") for ground in ("field", "hover")}
    written |= {("on-accent", "accent"), ("warn", "warn-paper")}
    faint = {pair: round(contrast(palette[pair[0]], palette[pair[1]]), 2) for pair in sorted(written)}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", PALETTES)
def test_curves_stand_out_from_their_card(theme: str) -> None:
    palette = PALETTES[theme]
    contrasts = {name: contrast(palette[STROKES[name].color], palette["card"]) for name in FLOWS}
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 3} == {}
