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

# Two networks, two losses: along the central flow, against the stationary preconditioner.
_LSTM = {"dataset": "sorting", "architecture": "lstm", "width": 4, "depth": 1, "activation": "tanh", "n_train": 64}
_MLP = {"architecture": "mlp", "width": 8, "activation": "tanh", "n_train": 300}
SQUARED = {
    "CNN, MSE": Stored("fig-42", PRESETS["fig-42"].config),
    "LSTM, MSE": Stored("fig-42-lstm", config("fig-42", **_LSTM, warm_start=200, steps=300)),
}
CROSS_ENTROPY = {
    "CNN, CE": Stored("fig-43", PRESETS["fig-43"].config),
    "MLP, CE": Stored("fig-43-mlp", config("fig-43", **_MLP, lr=0.003, warm_start=80)),
}

# With and without curvature regularisation.
_CNN = {"architecture": "cnn", "head_scale": 1.0, "n_eigs": 6}
SCALAR_ELSEWHERE = {
    "ResNet": Stored("fig-40", PRESETS["fig-40"].config),
    "CNN": Stored("fig-40-cnn", config("fig-40", **_CNN, lr=0.3, warm_start=80)),
}
RMSPROP_ELSEWHERE = {
    "ResNet, MSE": Stored("fig-41", PRESETS["fig-41"].config),
    "CNN, MSE": Stored("fig-41-cnn", config("fig-41", **_CNN, lr=0.002, warm_start=230, steps=250)),
    "ResNet, CE": Stored("fig-41-ce", config("fig-41", criterion="cross_entropy", lr=0.0005, warm_start=150)),
}

# The stationary flow: its rate along the central flow, and its path. label -> name, configuration.
RATE = {
    "CNN, MSE": ("fig-46", config("fig-42", steps=350)),
    "MLP, CE": ("fig-46-ce", CROSS_ENTROPY["MLP, CE"].config),
}
TRAJECTORY = {
    "digits MLP, MSE": Stored("fig-47", PRESETS["fig-47"].config),
    "CNN, CE": Stored(
        "fig-47-ce", config("fig-43", warm_start=200, steps=60, flows=[*PRESETS["fig-47"].config.flows], observe=[], record_every=1)
    ),
}
