"""Which fields of a configuration go together, and one sentence for those that do not."""

from __future__ import annotations

from typing import Any

from cflows_core.errors import ConfigError
from cflows_core.fields import FILE

# Flows for comparison, each with the optimizers that it exists for.
ABLATIONS = {
    "central_no_curvature": ("scalar_rmsprop", "rmsprop"),
    "modified": ("gd",),
    "stationary": ("rmsprop",),
    "stationary_limit": ("rmsprop",),
}


# Which data an architecture can read; and those that normalise or attend in groups of four.
READS = {
    **dict.fromkeys(("cnn", "resnet", "vit"), ("digits", "cifar10")),
    **dict.fromkeys(("lstm", "transformer", "mamba"), ("digits", "cifar10", "sorting")),
    "mlp": ("digits", "cifar10", "chebyshev"),
}
BY_FOUR = ("resnet", "vit", "transformer")


# What a problem file decides (problems/files.py).
BY_FILE = ("degree", "architecture", "width", "depth", "activation", "activation_mix", "criterion", "targets", "head_scale", "n_train")
BY_FILE += ("classes", "derivatives", "dtype", "device", "max_memory")


def is_file(dataset: str) -> bool:
    """Whether this names a problem file."""
    return dataset.startswith(FILE)


def fitting_width(architecture: str, width: int) -> int:
    """The least width from `width` on that the architecture takes."""
    return -(-width // 4) * 4 if architecture in BY_FOUR else width


def check_together(config: Any) -> None:
    """Raises `ConfigError` for a `RunConfig` whose fields contradict one another."""
    if is_file(config.dataset):
        for name in BY_FILE:
            if getattr(config, name) != config.param[name].default:
                raise ConfigError(f"A problem file decides `{name}` itself, got {name}={getattr(config, name)!r} beside it: leave it out.")
    elif config.dataset not in READS[config.architecture]:
        readers = [name for name, data in READS.items() if config.dataset in data]
        raise ConfigError(
            f"`architecture` must be one that reads {config.dataset}, got {config.architecture!r}: "
            f"{' or '.join(readers)} {'do' if len(readers) > 1 else 'does'}, or take another `dataset`."
        )
    width = fitting_width(config.architecture, config.width)
    if config.width != width:
        raise ConfigError(f"`width` must be a multiple of 4 for the {config.architecture}, got {config.width}: take {width}.")
    if config.dataset == "chebyshev" and config.criterion != "mse":
        raise ConfigError(f"`dataset='chebyshev'` is regression and needs criterion='mse', got {config.criterion!r}: set that.")
    if config.dataset in ("sorting", "chebyshev") and config.targets == "signed":
        raise ConfigError(f"`targets='signed'` needs images of two classes, got dataset={config.dataset!r}: set targets='onehot'.")
    if config.targets == "signed" and (config.classes != 2 or config.criterion != "mse"):
        raise ConfigError(
            f"`targets='signed'` needs two classes and mse, got classes={config.classes} and criterion={config.criterion!r}: "
            "set classes=2 and criterion='mse', or targets='onehot'."
        )
    for flow in config.flows:
        if config.optimizer not in ABLATIONS.get(flow, (config.optimizer,)):
            raise ConfigError(
                f"The flow {flow} exists for {' and '.join(ABLATIONS[flow])} only, got optimizer={config.optimizer!r}: "
                "leave it out of `flows`."
            )
    stationary = {"stationary", "stationary_limit"} & set(config.flows) or "stationary" in config.observe
    if stationary and config.bias_correction == "on":
        raise ConfigError("What is stationary has no time, so it takes no bias correction, got bias_correction='on': set it to 'off'.")
    if "stationary" in config.observe and (config.optimizer != "rmsprop" or "central" not in config.flows):
        raise ConfigError(
            "`observe='stationary'` holds rmsprop's central flow against its stationary preconditioner, got "
            f"optimizer={config.optimizer!r} with flows {', '.join(config.flows)}: leave it out, or take these."
        )
