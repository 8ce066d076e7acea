"""One palette for everything that is drawn: a colour and a dash pattern a flow, for a light and a dark page, and what flows are called.

The colours derive from Okabe and Ito's colour-blind safe set; a dash pattern repeats what a colour says.
"""

from __future__ import annotations

from dataclasses import dataclass

LIGHT = {
    "paper": "#f6f6f4",
    "card": "#ffffff",
    "ink": "#1f2328",
    "muted": "#5c6570",
    "faint": "#8b939d",
    "rule": "#e2e4e6",
    "grid": "#eff0f1",
    "field": "#ffffff",
    "hover": "#eceeef",
    "accent": "#34495e",
    "on-accent": "#ffffff",
    "warn": "#9a3d00",
    "warn-paper": "#fdf3ec",
    "raw": "#c3c8cf",
    "discrete": "#272c33",
    "stable": "#009e73",
    "central": "#0072b2",
    "rod": "#d55e00",
    "ablation": "#b65b93",
    "stationary": "#b88600",
    "edge": "#a0522d",
    "mark": "#8b939d",
}

DARK = {
    "paper": "#131619",
    "card": "#1a1e22",
    "ink": "#e6e8ea",
    "muted": "#a3abb4",
    "faint": "#7b848e",
    "rule": "#2b3137",
    "grid": "#242a2f",
    "field": "#15181b",
    "hover": "#252b31",
    "accent": "#a9bccf",
    "on-accent": "#131a21",
    "warn": "#f0a36b",
    "warn-paper": "#2b211a",
    "raw": "#5a636d",
    "discrete": "#e6e8ea",
    "stable": "#3ecf9f",
    "central": "#459fe0",
    "rod": "#f58a42",
    "ablation": "#d98fbb",
    "stationary": "#e9cf55",
    "edge": "#d49a7a",
    "mark": "#7b848e",
}


@dataclass(frozen=True)
class Stroke:
    """How a curve is drawn: the palette's name of its colour, its width in pixels, its dash pattern, its opacity."""

    color: str
    width: float = 1.6
    dash: tuple[int, ...] = ()
    alpha: float = 1.0


STROKES = {
    "raw": Stroke("raw", 1.0),
    "discrete": Stroke("discrete", 1.8),
    "stable": Stroke("stable", 1.7, (2, 3)),
    "central": Stroke("central", 1.7),
    "central_predicted": Stroke("central", 2.0, (6, 4)),
    "rod": Stroke("rod", 1.7, (9, 3, 2, 3)),
    "rod_predicted": Stroke("rod", 2.0, (4, 3)),
    "average": Stroke("discrete", 1.8, (1, 3)),
    # Flows for comparison. Those of one colour never stand together, or are one another's limit.
    "central_no_curvature": Stroke("ablation", 1.7, (7, 3)),
    "modified": Stroke("ablation", 1.7, (7, 3, 1, 3, 1, 3)),
    "stationary": Stroke("stationary", 1.8, (12, 3)),
    "stationary_limit": Stroke("stationary", 1.8, (3, 2)),
    "edge": Stroke("edge", 1.2, (4, 4)),
}

FLOW_LABELS = {
    "discrete": "Optimizer",
    "stable": "Stable flow",
    "central": "Central flow",
    "rod": "Rod flow",
    "central_no_curvature": "No curvature regularisation",
    "modified": "Modified flow",
    "stationary": "Stationary flow",
    "stationary_limit": "Stationary, large η",
}
# Within a sentence.
FLOW_NAMES = {
    "discrete": "optimizer",
    "stable": "stable flow",
    "central": "central flow",
    "rod": "rod flow",
    "central_no_curvature": "central flow without curvature regularisation",
    "modified": "modified flow",
    "stationary": "stationary flow",
    "stationary_limit": "stationary flow for large η",
}
