"""Which fields of a configuration go together, and one sentence for those that do not."""

from __future__ import annotations

from typing import Any

from cflows_core.errors import ConfigError

# Flows for comparison, each with the optimizers that it exists for.
ABLATIONS = {
    "central_no_curvature": ("scalar_rmsprop", "rmsprop"),
    "modified": ("gd",),
    "stationary": ("rmsprop",),
    "stationary_limit": ("rmsprop",),
}


def check_together(config: Any) -> None:
    """Raises `ConfigError` for a `RunConfig` whose fields contradict one another."""
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
