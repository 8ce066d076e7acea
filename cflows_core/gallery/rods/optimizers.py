"""[RF] Appendix I: each optimizer beside its rod; and gradient descent, whose rod came first."""

from __future__ import annotations

from collections.abc import Sequence

from cflows_core.gallery.figure import Claim, Data, Figure
from cflows_core.gallery.rods import draw, marks
from cflows_core.gallery.rods.runs import cnn, dashed, mlp, paper, preset_of
from cflows_core.optimizers import KINDS
from cflows_core.panels import Panel

NEARER = Claim("The rod flow tracks the optimizer significantly more accurately than the stable flow does.", marks.nearer)
LOSS = Claim("The optimizer's loss falls more slowly than the stable flow's, and the rod's matches it.", marks.loss_follows)
EDGE = Claim("The rod hovers at the threshold, while the stable flow sharpens well past it.", marks.at_the_edge)
LEVELS = Claim("After an initial phase the rod's distance levels off.", marks.levels_off)
POSITION = Claim("The rod is as long as the optimizer's half-difference.", marks.magnitudes)
HALVES = Claim("The rod is as long as the optimizer's half-differences, in the position and in the momentum.", marks.magnitudes)
NU = Claim("The second moment of the rod agrees with the optimizer's.", marks.nu_agrees)
ALIGNMENT = Claim("The alignment of rod and half-difference fluctuates, rather than hovering near 1.", marks.alignment_fluctuates)

_NAMES = {
    "gd": "Gradient descent",
    "heavy_ball": "Heavy ball",
    "nesterov": "Nesterov momentum",
    "scalar_rmsprop": "Scalar RMSProp",
    "rmsprop": "RMSProp",
    "scalar_adam": "Scalar Adam",
    "scalar_nadam": "Scalar NAdam",
    "adam": "Adam",
    "nadam": "NAdam",
}
NO_VIT = "The ViT, which was run with Adam alone (rf-3)."
LOST = "MSE on a subset of CIFAR-10; its learning rates, β and widths are lost from the text: those of --paper-scale are ours."


def _figure(optimizer: str, caption: str) -> Figure:
    momentum, preconditioner = KINDS[optimizer]
    has_momentum, adaptive = momentum != "none", preconditioner != "identity"

    def drawn(data: Data) -> Sequence[Panel]:
        run = data["CNN"]
        shown = [draw.distance, draw.edge, draw.loss, draw.position]
        shown += [draw.momentum] * has_momentum + [draw.nu] * adaptive + [draw.alignment]
        return [*(plot(run, "CNN") for plot in shown), *(plot(data["MLP"], "MLP") for plot in (draw.distance, draw.edge))]

    source = "[RF] Appendix I" if optimizer != "gd" else "[RF] Section 3"
    lengths = paper(optimizer).config
    last = lengths.warm_start + lengths.steps
    theirs = f"{last:,} iterations of an MLP, a CNN and a ViT, the flows from {lengths.warm_start:,} on. {LOST}"
    observed = () if optimizer == "gd" else (LEVELS, *([NU] * adaptive), ALIGNMENT)
    return Figure(
        name=f"rf-{dashed(optimizer)}",
        source=source,
        title=f"{_NAMES[optimizer]} and its rod",
        caption=caption,
        theirs=theirs if optimizer != "gd" else "[RF] takes the rod of gradient descent from its predecessor, and draws none.",
        ours=_ours(optimizer, has_momentum),
        preset=preset_of(optimizer),
        runs={"CNN": cnn(optimizer), "MLP": mlp(optimizer)},
        paper={"CNN": paper(optimizer, "cnn"), "MLP": paper(optimizer)},
        panels=drawn,
        claims=(NEARER, LOSS, EDGE, HALVES if has_momentum else POSITION, *observed),
        lacks="" if optimizer == "gd" else NO_VIT,
    )


def _ours(optimizer: str, has_momentum: bool) -> str:
    words = []
    for network, weights, run in (("a CNN", 70, cnn(optimizer).config), ("an MLP", 166, mlp(optimizer).config)):
        words.append(f"{network} of {weights} weights (η = {run.lr:g}, {run.steps} steps from {run.warm_start} on)")
    criterion = {"mse": "MSE", "cross_entropy": "cross-entropy"}[cnn(optimizer).config.criterion]
    return f"Digits, {criterion}: {' and '.join(words)}." + (" The central flow with momentum is ours." if has_momentum else "")


_CAPTIONS: dict[str, str] = {
    "gd": "The rod is the segment between consecutive iterates. It lies on the optimizer's own 2-cycle, a few ten-thousandths off, while "
    "the stable flow sharpens and parts from both.",
    "heavy_ball": "Position and momentum swing as one. On the CNN, where the optimizer stays in its 2-cycle, the rod follows; on the MLP, "
    "where the swing comes in bursts, the rod takes the drift for the swing and goes with the stable flow for a while.",
    "nesterov": "On the MLP the optimizer passes the threshold by a quarter, drops back in a few steps and stays; the rod, which knows the "
    "loss at both ends of the swing, does so at the same steps. In the position it is shorter by the optimizer's drift.",
    "scalar_rmsprop": "One step size for all weights, set by the swing itself. The rod's ν lies on the optimizer's, since it sees the "
    "gradients at both ends; the stable flow's ν dies away.",
    "rmsprop": "A step size for each weight. The rod follows within half a hundredth; look at the alignment, which stays near 1 as long as "
    "one mode swings.",
    "scalar_adam": "Momentum delays the answer of the step size: the swing comes and goes in waves. Look at the half-differences, which "
    "the rod is to follow through each wave.",
    "scalar_nadam": "A steady 2-cycle of one mode. The look-ahead damps the waves that Scalar Adam has: the rod stays with the optimizer.",
    "adam": "At step 860 the swing is shorter than the drift for a moment. The rod then lies along the drift and knows of no swing: it "
    "follows the stable flow to 1.8 times the threshold, and comes back in one spike.",
    "nadam": "The same waves as Adam's at first, but they die down. The rod is a hundred times nearer than the stable flow, and its "
    "sharpness settles on the threshold.",
}
EACH: tuple[Figure, ...] = tuple(_figure(optimizer, caption) for optimizer, caption in _CAPTIONS.items())
