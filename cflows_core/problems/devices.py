"""Where tensors live: a processor or a CUDA GPU; others may work and are not tested."""

from __future__ import annotations

import warnings

import torch

from cflows_core.errors import ConfigError

TESTED = ("cpu", "cuda")


def usable(device: torch.device | str) -> torch.device:
    """The device of a name ("cpu", "cuda", "cuda:1"), ready for curvature: on CUDA, float32 arithmetic keeps all its digits.

    TensorFloat-32 multiplies with ten bits of mantissa, which hides third derivatives; PyTorch uses it for convolutions by default, and it
    is switched off for the whole process here. Raises `ConfigError` where there is no such device; warns of those that are not tested.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"`device` must be cpu or cuda, got {device!r}: auto takes a GPU where that helps.") from None
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                f"`device={str(found)!r}` needs a CUDA GPU and a PyTorch built for it, and none was found: "
                "use device='cpu' or device='auto'."
            )
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise ConfigError(f"`device={str(found)!r}` must be one of the {torch.cuda.device_count()} GPUs found: count from cuda:0.")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    elif found.type not in TESTED:
        warnings.warn(f"cflows is tested on cpu and cuda only, got device {str(found)!r}: check its results against cpu.", stacklevel=3)
    return found
