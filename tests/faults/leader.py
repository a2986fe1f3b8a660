"""A replica that runs one tick under its lease, and may stop itself (SIGSTOP) on the way.

`python -m tests.faults.leader URL TICK SECONDS [POINT]`: leases last SECONDS. It says `leads`, then
at POINT, such as `forecasts:before`, `stops`, and in the end how the tick went.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from forecaster.store.connection import pg_copy
from forecaster.store.connection.engine import open_engine
from forecaster.store.connection.limits import Fence, guarded
from forecaster.store.state import leases
from jobs.replicas.identity import new_holder
from jobs.replicas.lease_keeper import Replica
from jobs.stages import pull
from tests.faults.ticker import PLACES, PULLED
from tests.jobs.small import World, hour

POINTS = {**PLACES, "pull": (pull, "run"), "copy": (pg_copy, "encode")}


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def stop_at(point: str) -> None:
    """Arrange to be stopped, once, before or after the function that `point` names."""
    name, when = point.split(":")
    module, function = POINTS[name]
    real: Callable[..., Any] = getattr(module, function)

    def stopping(*args: Any, **kwargs: Any) -> Any:
        setattr(module, function, real)
        made = real(*args, **kwargs) if when == "after" else None
        say("stops")
        os.kill(os.getpid(), signal.SIGSTOP)
        return made if when == "after" else real(*args, **kwargs)

    setattr(module, function, stopping)


def lease(replica: Replica) -> Fence:
    while (fence := replica.lease_of(PULLED.name)) is None:
        time.sleep(0.01)
    return fence


def main(url: str, tick: str, seconds: str, point: str | None = None) -> None:
    holder = new_holder()
    engine, own = (open_engine(url, application_name=leases.session_name(holder)) for _ in range(2))
    replica = Replica(own, [PULLED.name], holder=holder, ttl=timedelta(seconds=float(seconds)))
    replica.start()
    world = World(engine=guarded(engine, fence=lease(replica)), dataset=PULLED)
    say("leads")
    if point is not None:
        stop_at(point)
    outcome = world.tick("forecast", hour(int(tick)))
    say(f"{outcome.result}: {outcome.error}")
    replica.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
