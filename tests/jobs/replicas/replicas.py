"""Replicas for a test, on engines of their own."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Protocol

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine, reading
from forecaster.store.state import leases
from jobs.replicas.hooks import Hooks
from jobs.replicas.identity import new_holder
from jobs.replicas.lease_keeper import Replica
from tests.patience import eventually

TTL = timedelta(seconds=0.9)
DATASETS = ("bikes", "cars", "trams", "boats")


class Start(Protocol):
    def __call__(
        self, holder: str = ..., datasets: Sequence[str] = ..., hooks: Hooks | None = ...
    ) -> Replica: ...


@pytest.fixture
def start(engine: Engine, database_url: str) -> Iterator[Start]:
    """Start a replica on an engine of its own; all are stopped in the end."""
    started: list[tuple[Replica, Engine]] = []

    def begin(
        holder: str = "", datasets: Sequence[str] = DATASETS, hooks: Hooks | None = None
    ) -> Replica:
        holder = holder or new_holder()
        own = open_engine(database_url, application_name=leases.session_name(holder))
        replica = Replica(own, datasets, holder=holder, ttl=TTL, hooks=hooks)
        started.append((replica, own))
        replica.start()
        return replica

    yield begin
    for replica, own in started:
        replica.stop()
        own.dispose()


def owned(replica: Replica, datasets: Sequence[str] = DATASETS) -> set[str]:
    return {name for name in datasets if replica.lease_of(name) is not None}


def holder_of(engine: Engine, dataset: str) -> str | None:
    with reading(engine) as conn:
        found = leases.find(conn, leases.of_dataset(dataset))
    return None if found is None else found.holder


def wait_until(holds: Callable[[], bool]) -> None:
    assert eventually(holds), "waited in vain"
