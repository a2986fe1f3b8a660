"""Which device computes."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is an NVIDIA GPU if there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
