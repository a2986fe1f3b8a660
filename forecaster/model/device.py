"""Which device computes."""

import torch

from forecaster.errors import ModelError


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is an NVIDIA GPU if there is one, else the CPU.

    Raises ModelError if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise ModelError(
            f"device must be one of this machine, found {name!r}",
            hint='set device = "auto" under [datasets.NAME.training]',
        ) from error
