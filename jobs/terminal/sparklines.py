"""Numbers as a line of blocks."""

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def blocks(values: Sequence[float], lowest: float, highest: float) -> str:
    """Return `values` as one block each, between `lowest` and `highest`; NaN is a space."""
    span = (highest - lowest) or 1.0
    return "".join(
        _BLOCKS[min(7, max(0, int(8 * (value - lowest) / span)))] if value == value else " "
        for value in values
    )
