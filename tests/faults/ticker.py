"""A process that runs ticks until it is done or killed.

`python -m tests.faults.ticker URL FIRST LAST [POINT]`: with POINT, it kills itself (-9) when it
gets there for the first time, such as `forecasts:after`.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from forecaster.store import attention, forecasts, observations, runs, watermarks
from forecaster.store.engine import open_engine
from tests.jobs.small import DATASET, World, hour

PLACES = {
    "claim": (runs, "claim"),
    "land": (observations, "land"),
    "read": (observations, "read_cells"),
    "finish": (runs, "finish"),
    "forecasts": (forecasts, "write_blocks"),
    "attention": (attention, "write_blocks"),
    "watermark": (watermarks, "advance"),
}

PULLED = replace(DATASET, query="SELECT series_id, timestamp, value FROM source", timezone="UTC")


def die_at(point: str) -> None:
    """Arrange to be killed before or after the function that `point` names."""
    name, when = point.split(":")
    module, function = PLACES[name]
    real: Callable[..., Any] = getattr(module, function)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, function, deadly)


def main(url: str, first: str, last: str, point: str | None = None) -> None:
    if point is not None:
        die_at(point)
    world = World(engine=open_engine(url), dataset=PULLED)
    for number in range(int(first), int(last) + 1):
        outcome = world.tick("forecast", hour(number))
        sys.stdout.write(f"{number} {outcome.result}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
