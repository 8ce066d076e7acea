"""Figures 14 to 22, 35 to 37 and 40 to 47 of [CF]: adaptive step sizes."""

from __future__ import annotations

from cflows_core.config import RunConfig
from cflows_core.presets.preset import Preset

_FIGURES = "Figures of [CF]"
_PAIR = ["discrete", "central"]
_ABLATED = ["discrete", "central", "central_no_curvature"]

_TRIO = ["discrete", "stable", "central"]
_MAMBA = {"dataset": "sorting", "architecture": "mamba", "width": 4, "depth": 1, "activation": "silu", "n_train": 64, "head_scale": 0.05}
_RESNET = {"architecture": "resnet", "width": 4, "depth": 1, "activation": "gelu", "n_train": 100, "head_scale": 0.3}
_CNN = {"architecture": "cnn", "width": 2, "activation": "gelu", "n_train": 100}
_NU = {"optimizer": "rmsprop", "flows": _PAIR, "observe": ["coordinates", "stationary"], "record_every": 5}

ADAPTIVE: tuple[Preset, ...] = (
    Preset(
        "fig-14",
        "Scalar RMSProp on a Mamba",
        _FIGURES,
        "The top eigenvalue of the effective Hessian stands at 2.07, while the stable flow leaves for sharper regions at once.",
        RunConfig(**_MAMBA, seed=1, optimizer="scalar_rmsprop", lr=0.08, warm_start=300, steps=180, n_eigs=4, flows=_TRIO, observe=[]),
    ),
    Preset(
        "fig-16",
        "Acceleration by regularisation: Scalar RMSProp",
        _FIGURES,
        "At the edge from step 110 on; by step 600 the flow without regularisation is four times as sharp and steps a quarter as far.",
        RunConfig(optimizer="scalar_rmsprop", lr=0.3, warm_start=0, steps=600, flows=_ABLATED),
    ),
    Preset(
        "fig-16-small",
        "Acceleration by regularisation: Scalar RMSProp, smaller η",
        _FIGURES,
        "From the same weights as fig-16: less regularisation, so the step size grows to 0.25 by step 600 instead of 0.67.",
        RunConfig(optimizer="scalar_rmsprop", lr=0.1, warm_start=0, steps=600, flows=_ABLATED),
    ),
    Preset(
        "fig-17",
        "RMSProp on a ResNet",
        _FIGURES,
        "Squared gradients jump from step to step; the central flow, a hundredth of the path away, knows their averages.",
        RunConfig(**_RESNET, optimizer="rmsprop", lr=0.001, warm_start=145, steps=320, n_eigs=4, flows=_TRIO, observe=["coordinates"]),
    ),
    Preset(
        "fig-20",
        "RMSProp's ν becomes stationary",
        _FIGURES,
        "The cosine of ν and its stationary value waits at 0.64 for 150 steps after the edge, passes 0.9 at step 620 and 0.99 at 800.",
        RunConfig(optimizer="rmsprop", lr=0.001, warm_start=240, steps=660, flows=_PAIR, observe=["coordinates", "stationary"]),
    ),
    Preset(
        "fig-20-fast",
        "RMSProp's ν becomes stationary: at once with β₂ = 0.9",
        _FIGURES,
        "ν forgets in ten steps: the cosine is above 0.95 thirty steps after the edge, and the ten weights lie on their stationary values.",
        RunConfig(optimizer="rmsprop", lr=0.001, beta2=0.9, warm_start=48, steps=252, flows=_PAIR, observe=["coordinates", "stationary"]),
    ),
    Preset(
        "fig-21-small",
        "Speeds of three preconditioners, small η",
        _FIGURES,
        "At η = 0.0003 the stationary preconditioner starts out slower than plain gradient descent and never reaches that of least trace.",
        RunConfig(optimizer="rmsprop", lr=0.0003, warm_start=640, steps=760, flows=_PAIR, observe=["stationary"]),
    ),
    Preset(
        "fig-21-large",
        "Speeds of three preconditioners, large η",
        _FIGURES,
        "At η = 0.01 the stationary preconditioner is as fast as that of least trace within 2 per cent, both 2.5 times gradient descent.",
        RunConfig(optimizer="rmsprop", lr=0.01, warm_start=100, steps=500, n_eigs=8, flows=_PAIR, observe=["stationary"]),
    ),
    Preset(
        "fig-22",
        "Acceleration by regularisation: RMSProp",
        _FIGURES,
        "Slower for 30 steps, then faster: by step 500 its step sizes are three times those of the flow without regularisation.",
        RunConfig(optimizer="rmsprop", lr=0.01, warm_start=100, steps=400, n_eigs=8, flows=_ABLATED),
    ),
    Preset(
        "fig-40",
        "Acceleration by regularisation: Scalar RMSProp on a ResNet",
        _FIGURES,
        "After 250 steps the flow without regularisation takes steps a third as large, and its loss is a tenth higher.",
        RunConfig(**_RESNET, optimizer="scalar_rmsprop", lr=0.1, warm_start=120, steps=250, n_eigs=4, flows=_ABLATED, observe=[]),
    ),
    Preset(
        "fig-41",
        "Acceleration by regularisation: RMSProp on a ResNet",
        _FIGURES,
        "One mode, then two; after 320 steps the flow without regularisation takes steps an eighth smaller.",
        RunConfig(**_RESNET, optimizer="rmsprop", lr=0.001, warm_start=145, steps=320, n_eigs=4, flows=_ABLATED, observe=[]),
    ),
    Preset(
        "fig-42",
        "RMSProp's ν becomes stationary: a CNN",
        _FIGURES,
        "Two modes at the edge; the cosine of ν and its stationary value passes 0.9 after 235 steps and ends at 0.99.",
        RunConfig(**_CNN, lr=0.005, warm_start=110, steps=600, n_eigs=4, **_NU),
    ),
    Preset(
        "fig-43",
        "RMSProp's ν becomes stationary: a CNN, cross-entropy",
        _FIGURES,
        "With β₂ = 0.95 the cosine of ν and its stationary value stays above 0.9 under cross-entropy, too, and ends at 0.97.",
        RunConfig(**_CNN, criterion="cross_entropy", lr=0.005, beta2=0.95, warm_start=60, steps=200, n_eigs=6, **_NU),
    ),
    Preset(
        "fig-47",
        "RMSProp's stationary flow",
        _FIGURES,
        "A flow of the weights alone: in 60 steps its loss falls a little further than RMSProp's, a quarter of the path away.",
        RunConfig(optimizer="rmsprop", lr=0.001, warm_start=850, steps=60, n_eigs=6, flows=[*_TRIO, "stationary"], observe=[]),
    ),
    Preset(
        "annealing",
        "Annealing: the loss falls onto the central flow",
        _FIGURES,
        "At step 400 η falls to a tenth: within ten steps the optimizer's loss, a fifth above the central flow's till then, lands on it.",
        RunConfig(optimizer="rmsprop", lr=0.005, schedule="step(400, 0.1)", warm_start=100, steps=360, flows=_PAIR, observe=["average"]),
    ),
    Preset(
        "annealing-gd",
        "Annealing gradient descent",
        _FIGURES,
        "At step 350 η falls to a tenth and the loss by a twentieth: the valley's floor is where the central flow already was.",
        RunConfig(lr=0.25, schedule="step(350, 0.1)", warm_start=100, steps=300, n_eigs=3, flows=_PAIR, observe=["average"]),
    ),
)
