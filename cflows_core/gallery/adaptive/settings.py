"""Runs that several figures of adaptive optimizers draw."""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.gallery.figure import Stored
from cflows_core.presets import PRESETS

SPARSE = 5  # steps between rows; odd, so that an oscillation of period 2 is seen on both sides


def config(preset: str, **changes: object) -> RunConfig:
    return PRESETS[preset].config.replace(**changes)


# From the initial weights, so that the steps below the edge are there too.
MIDDLE = Stored("fig-20", config("fig-20", warm_start=0, steps=1200, n_eigs=8, record_every=SPARSE))
FAST = Stored("fig-20-fast", config("fig-20-fast", warm_start=0, steps=400, n_eigs=8, record_every=2))
_LARGE = config("fig-21-large", warm_start=0, steps=600, record_every=SPARSE)
OF_RATES = {
    "η = 0.0003": Stored("fig-21-small", config("fig-21-small", warm_start=0, steps=1200, n_eigs=8, record_every=SPARSE)),
    "η = 0.001": MIDDLE,
    "η = 0.003": Stored("fig-21-middle", _LARGE.replace(lr=0.003)),
    "η = 0.01": Stored("fig-21-large", _LARGE),
}

RESNET = Stored("fig-17", PRESETS["fig-17"].config)  # also drawn by the blog's figures

# Two networks, two losses.
_CNN = {"architecture": "cnn", "head_scale": 1.0, "n_eigs": 6}
SQUARED = {
    "ResNet, MSE": Stored("fig-42", PRESETS["fig-42"].config),
    "CNN, MSE": Stored("fig-42-cnn", config("fig-42", **_CNN, lr=0.002, warm_start=230, steps=400)),
}
CROSS_ENTROPY = {
    "ResNet, CE": Stored("fig-43", PRESETS["fig-43"].config),
    "CNN, CE": Stored("fig-43-cnn", config("fig-43", **_CNN, lr=0.002, warm_start=90, steps=300)),
}
SCALAR_ELSEWHERE = {
    "ResNet, η = 0.1": Stored("fig-40", PRESETS["fig-40"].config),
    "CNN, η = 0.3": Stored("fig-40-cnn", config("fig-40", **_CNN, lr=0.3, warm_start=80)),
}

_QUARTET = ("discrete", "stable", "central", "stationary")
# The stationary flow: its rate along the central flow, and its path. label -> name, configuration.
RATE = {
    "digits MLP, MSE": ("fig-46", config("fig-20-fast", beta2=0.97, warm_start=0, steps=400, n_eigs=6)),
    "ResNet, CE": ("fig-46-ce", PRESETS["fig-43"].config),
}
TRAJECTORY = {
    "digits MLP, MSE": Stored("fig-47", PRESETS["fig-47"].config),
    "ResNet, CE": Stored("fig-47-ce", config("fig-43", warm_start=500, steps=80, flows=list(_QUARTET), observe=[], record_every=1)),
}
