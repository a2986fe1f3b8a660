"""How this process uses its processor; set by commands, never by the library."""

import os


def wait_without_spinning() -> None:
    """Let idle OpenMP threads sleep; must come before torch is imported.

    Spinning ones take the processor from the database and from a training, up to ten times as
    long in measurements.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def flush_denormals() -> None:
    """Treat the tiniest floats as zero, here and in threads started later: they are slow."""
    import torch

    torch.set_flush_denormal(True)


def share(parts: int) -> None:
    """Leave each of so many threads its part of the cores."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // parts))


def keep_to_one_core() -> None:
    """Train on one core: a second one costs more in waiting for each other than it computes.

    M4 Hourly took 132 s on one core, 182 s on two.
    """
    import torch

    torch.set_num_threads(1)
