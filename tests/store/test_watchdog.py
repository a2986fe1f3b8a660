"""A connection is cut for the sake of whoever uses it, and never afterwards."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from forecaster.store.connection.watchdog import _WatchedConnection

pytestmark = pytest.mark.postgres


@pytest.fixture
def driver(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        yield conn


class Line(_WatchedConnection):
    """Takes its time to ask the server for the end of a statement."""

    asked = threading.Event()
    answered = threading.Event()

    def _cancel(self) -> None:
        self.asked.set()
        time.sleep(0.2)
        super()._cancel()
        self.answered.set()


@pytest.fixture
def line(driver: psycopg.Connection) -> Line:
    return Line(driver, socket.socket(fileno=os.dup(driver.pgconn.socket)), lambda: -9.0)


def test_a_cut_that_comes_too_late_leaves_the_next_user_alone(
    driver: psycopg.Connection, line: Line
) -> None:
    line.end()
    line.cut()

    assert not line.asked.is_set()
    assert driver.execute("SELECT 1").fetchone() == (1,)


def test_who_lets_go_waits_for_a_cut_under_way(driver: psycopg.Connection, line: Line) -> None:
    cutting = threading.Thread(target=line.cut)
    cutting.start()
    line.asked.wait()

    line.end()

    assert line.answered.is_set()
    with pytest.raises(psycopg.OperationalError):
        driver.execute("SELECT 1")
    cutting.join()
