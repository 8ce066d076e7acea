"""Networks too narrow to fit quickly: cross-entropy on a bottleneck, where sharpening, and so the edge, does not end."""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_LONG, _CNN = "A thousand steps at the edge, with momentum", "The nine optimizers on a CNN"


def _mlp(optimizer: str, lr: float, warm_start: int) -> RunConfig:
    return RunConfig(criterion="cross_entropy", width=2, optimizer=optimizer, lr=lr, warm_start=warm_start, steps=1100)


def _cnn(optimizer: str, lr: float, warm_start: int) -> RunConfig:
    network = {"architecture": "cnn", "width": 1, "activation": "gelu", "criterion": "cross_entropy", "n_train": 200}
    return RunConfig(**network, optimizer=optimizer, lr=lr, warm_start=warm_start, steps=500)


# Two tanh units a layer for ten classes (166 weights): the loss falls from 1.0 to 0.5 in 2,000 steps.
LONG: tuple[Preset, ...] = (
    Preset(
        "heavy-ball-long",
        "Heavy ball: a thousand steps past the first spike",
        _LONG,
        "An edge nineteen times higher than gradient descent's, kept for a thousand steps; the path bends with every burst.",
        _mlp("heavy_ball", 0.6, 915),
    ),
    Preset(
        "nesterov-long",
        "Nesterov: a thousand steps past the first spike",
        _LONG,
        "The stable flow leaves at once; the central flow comes back to the optimizer after every spike and ends closest.",
        _mlp("nesterov", 0.5, 505),
    ),
    Preset(
        "scalar-adam-long",
        "Scalar Adam: a thousand steps past the first spike",
        _LONG,
        "Waves around the edge without end; the stable flow is gone after 300 steps, the central flow stays.",
        _mlp("scalar_adam", 0.3, 250),
    ),
    Preset(
        "scalar-nadam-long",
        "Scalar NAdam: a thousand steps past the first spike",
        _LONG,
        "One mode in a steady 2-cycle: Σ and its measured variance agree to a per cent.",
        _mlp("scalar_nadam", 0.1, 178),
    ),
    Preset(
        "adam-long",
        "Adam: a thousand steps past the first spike",
        _LONG,
        "A thousand steps at 38: the central flow with momentum, which is our own, stays within some per cent of the path.",
        _mlp("adam", 0.01, 400),
    ),
    Preset(
        "nadam-long",
        "NAdam: a thousand steps past the first spike",
        _LONG,
        "The cleanest of the six for hundreds of steps; late, a second mode joins, and the flows part a little.",
        _mlp("nadam", 0.003, 495),
    ),
)

# One channel (70 weights). Of seventeen such problems this one oscillates most of the time.
CNN: tuple[Preset, ...] = (
    Preset(
        "cnn-gd",
        "CNN, gradient descent",
        _CNN,
        "A 2-cycle above the edge: the rod, which knows the fourth order, is forty times nearer than the central flow.",
        _cnn("gd", 0.15, 790),
    ),
    Preset(
        "cnn-heavy-ball",
        "CNN, heavy ball",
        _CNN,
        "Rod and central flow stay with the optimizer; with other seeds it leaves the edge, so this one is a lucky draw.",
        _cnn("heavy_ball", 3.0, 300),
    ),
    Preset(
        "cnn-nesterov",
        "CNN, Nesterov",
        _CNN,
        "The stable flow goes half of its own way elsewhere; the rod keeps to the optimizer within a per cent or two.",
        _cnn("nesterov", 1.2, 240),
    ),
    Preset(
        "cnn-scalar-rmsprop",
        "CNN, Scalar RMSProp",
        _CNN,
        "The central flow lies on the optimizer; rod and stable flow part from it together and then from one another.",
        _cnn("scalar_rmsprop", 0.03, 268),
    ),
    Preset(
        "cnn-scalar-adam",
        "CNN, Scalar Adam",
        _CNN,
        "Waves: the stable flow ends further away than the optimizer has come, the central flow within four per cent.",
        _cnn("scalar_adam", 0.3, 112),
    ),
    Preset(
        "cnn-scalar-nadam",
        "CNN, Scalar NAdam",
        _CNN,
        "A hundred steps after their start the central flow is four times nearer than stable flow and rod.",
        _cnn("scalar_nadam", 0.2, 125),
    ),
    Preset(
        "cnn-rmsprop",
        "CNN, RMSProp",
        _CNN,
        "One mode, then two: the central flow ends within one per cent of the path, the rod at seven.",
        _cnn("rmsprop", 0.003, 142),
    ),
    Preset(
        "cnn-adam",
        "CNN, Adam",
        _CNN,
        "Spikes that the central flow averages: one per cent of the path after three hundred steps.",
        _cnn("adam", 0.01, 155),
    ),
    Preset(
        "cnn-nadam",
        "CNN, NAdam",
        _CNN,
        "The edge, kept closely: the central flow is twenty times nearer than the stable flow.",
        _cnn("nadam", 0.005, 226),
    ),
)
