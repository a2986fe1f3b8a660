"""Processes that run ticks until they are done or killed, at a place with a name or at any moment.

They are forks of a process that has imported everything and used nothing, so they start at once.
"""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, NoReturn

from sqlalchemy import Engine, event

from forecaster.config.settings import RetentionConfig
from forecaster.inference import predictor
from forecaster.store.connection.engine import open_engine
from forecaster.store.forecasts import (
    accuracy,
    attention,
    backfills,
    forecasts,
)
from forecaster.store.maintenance import expiry, partitions
from forecaster.store.observations import observations
from forecaster.store.state import models, runs, watermarks
from forecaster.training import estimator, preparation
from jobs.backfill import write
from jobs.execution import runner
from jobs.stages import matured, pull, training_history
from tests.jobs.small import DATASET, HOUR, World, hour

PLACES: dict[str, tuple[ModuleType, str]] = {
    "claim": (runs, "claim"),
    "pull": (pull, "run"),
    "ingest": (observations, "ingest"),
    "read": (observations, "read_cells"),
    "history": (training_history, "read"),
    "predict": (predictor, "predict_panels"),
    "prepare": (preparation, "prepare"),
    "fit": (estimator, "fit"),
    "partitions": (partitions, "ensure"),
    "forecasts": (forecasts, "write_blocks"),
    "steps": (forecasts, "write_steps"),
    "attention": (attention, "write_blocks"),
    "patches": (attention, "write_patches"),
    "save": (models, "add"),
    "promote": (models, "promote"),
    "cases": (matured, "read"),
    "accuracy": (accuracy, "write"),
    "drop": (partitions, "drop_before"),
    "delete": (expiry, "delete_before"),
    "records": (runs, "delete_before"),
    "watermark": (watermarks, "advance"),
    "finish": (runs, "finish"),
    "notify": (runner, "_log"),
    "ticks": (backfills, "claim"),
    "score": (write, "score"),
    "scored": (accuracy, "write"),
}
"""Functions before and after which a process may be killed; `commit` is one more place."""

STAGES = {
    "forecast": (
        "claim", "pull", "ingest", "read", "predict", "partitions", "forecasts", "steps",
        "attention", "patches", "watermark", "finish", "commit", "notify",
    ),
    "retrain": (
        "claim", "pull", "ingest", "history", "prepare", "fit", "save", "promote", "watermark",
        "finish", "commit", "notify",
    ),
    "score": ("claim", "cases", "accuracy", "watermark", "finish", "commit", "notify"),
    "reconcile": ("claim", "pull", "ingest", "watermark", "finish", "commit", "notify"),
    "prune": ("claim", "drop", "delete", "records", "finish", "commit", "notify"),
}  # fmt: skip
"""The places that each job passes."""

PULLED = replace(DATASET, query="SELECT series_id, timestamp, value FROM source", timezone="UTC")

SHORT = RetentionConfig(
    observations=300 * HOUR, forecasts=5 * HOUR, attention=5 * HOUR, accuracy=5 * HOUR,
    runs=30 * HOUR, models=1,
)  # fmt: skip

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "torch._dynamo"])  # which a first training imports


class Ticker:
    """A process that runs `job` for the ticks of the hours `first` to `last`.

    With `point`, such as `forecasts:after`, it is killed when it gets there for the first time.
    """

    def __init__(self, url: str, job: str, first: int, last: int, point: str = "") -> None:
        self._said, saying = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_tick, args=(url, job, first, last, point, saying))
        self._process.start()
        saying.close()

    def said(self) -> Iterator[tuple[int, str]]:
        """Give each tick with its result as it comes, until the process ends."""
        while True:
            try:
                yield self._said.recv()
            except EOFError:
                return

    def kill(self) -> None:
        """Kill it where it is."""
        self._process.kill()

    def wait(self) -> int:
        """Return how it ended: a negative number for a signal."""
        self._process.join(60)
        assert self._process.exitcode is not None
        return self._process.exitcode


def _tick(url: str, job: str, first: int, last: int, point: str, saying: Connection) -> None:
    world = World(engine=open_engine(url), dataset=PULLED, retention=SHORT)
    if point:
        die_at(point)
    for number in range(first, last + 1):
        saying.send((number, world.tick(job, hour(number)).result))


def points(job: str) -> list[str]:
    """Return every point at which a process that does `job` may be killed."""
    both = [f"{place}:{when}" for place in STAGES[job] for when in ("before", "after")]
    return [point for point in both if point != "commit:after"]  # that is before `notify`


def die_at(point: str, nth: int = 1) -> None:
    """Have this process killed where it comes to a point for the nth time: `forecasts:after`."""
    name, _, when = point.partition(":")
    if name == "commit":
        _wrap(*PLACES["finish"], after=lambda: event.listen(Engine, "commit", _die))
        return
    passed = itertools.count(1)

    def die() -> None:
        if next(passed) == nth:
            _die()

    is_before = when == "before"
    _wrap(*PLACES[name], before=die if is_before else _go_on, after=_go_on if is_before else die)


def _go_on() -> None:
    pass


def _die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _wrap(
    module: ModuleType,
    function: str,
    *,
    before: Callable[[], object] = _go_on,
    after: Callable[[], object],
) -> None:
    real: Callable[..., Any] = getattr(module, function)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        result = real(*args, **kwargs)
        after()
        return result

    setattr(module, function, wrapped)
