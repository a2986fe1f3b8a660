"""A source that hangs, breaks or crawls: the read is cut in time, and nothing else waits for it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from forecaster.errors import DatabaseUnavailable
from forecaster.source import worker_pool
from tests.faults.proxy import Mode, Proxy
from tests.patience import not_hanging
from tests.source.sources import UNTIL, dataset, read

CANARY = "c4n4ry"
DEADLINE = 2.0
ROWS = 200_000
HASTY = dataset(read_timeout=timedelta(seconds=DEADLINE))


@pytest.fixture
def source(postgres_url: str) -> str:
    """A source whose answer does not fit into the buffers of a network."""
    with psycopg.connect(postgres_url) as conn:
        conn.execute("CREATE TABLE measured (key text, ts timestamptz, value float8)")
        conn.execute(
            "INSERT INTO measured SELECT 'series ' || mod(i, 100), %s, i "
            "FROM generate_series(1, %s::int) AS i",
            (UNTIL, ROWS),
        )
    return postgres_url


@pytest.fixture
def proxy(source: str) -> Iterator[Proxy]:
    worker_pool.end_idle()
    with Proxy(urlsplit(source).port or 0) as proxy:
        yield proxy
    worker_pool.end_idle()


def through(proxy: Proxy, source: str) -> str:
    """The address of the source behind the proxy, with a password that nobody may see."""
    database = urlsplit(source).path
    return f"postgresql://forecaster:{CANARY}@127.0.0.1:{proxy.port}{database}"


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            found += [child] * ("worker_process" in " ".join(child.cmdline()))
    return found


def require_cut(url: str) -> DatabaseUnavailable:
    """Read, and assert that the read was cut in time and left no worker behind."""
    before = set(workers())
    with not_hanging(), pytest.raises(DatabaseUnavailable) as caught:
        read(url, HASTY)
    assert set(workers()) <= before
    return caught.value


@pytest.mark.fault(4, 7)
@pytest.mark.parametrize(
    "swallow_after",
    [
        pytest.param(0, marks=pytest.mark.slow),
        2_000,
        pytest.param(1_000_000, marks=pytest.mark.slow),
    ],
)
def test_a_black_hole_is_left_at_the_deadline(
    source: str, proxy: Proxy, swallow_after: int
) -> None:
    read(source)  # starts a worker, which the next read finds ready
    proxy.swallow_after = swallow_after  # while connecting, before the first row, amid the rows

    error = require_cut(through(proxy, source))

    assert "timed out after 2 s" in error.message
    assert "read_timeout in [datasets.bikes]" in (error.hint or "")
    assert proxy.forwarded > swallow_after


@pytest.mark.fault(4)
def test_a_crawling_source_is_left_at_the_deadline(source: str, proxy: Proxy) -> None:
    proxy.mode = "slow"

    require_cut(through(proxy, source))


@pytest.mark.fault(3)
def test_a_broken_connection_is_a_source_that_does_not_answer(source: str, proxy: Proxy) -> None:
    proxy.mode = "reset"

    with pytest.raises(DatabaseUnavailable, match="is unavailable: "):
        read(through(proxy, source))


@pytest.mark.fault(2)
def test_a_server_that_goes_away_amid_the_rows_does_not_answer(source: str, proxy: Proxy) -> None:
    proxy.swallow_after = 1_000_000

    def terminate() -> None:
        while proxy.mode == "pass":
            time.sleep(0.01)
        with psycopg.connect(source, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        proxy.swallow_after, proxy.mode = None, "reset"

    threading.Thread(target=terminate, daemon=True).start()

    with pytest.raises(DatabaseUnavailable):
        read(through(proxy, source), HASTY)


@pytest.mark.fault(4)
@pytest.mark.parametrize("mode", ["blackhole", "reset"])
def test_a_source_that_recovers_is_read_again(source: str, proxy: Proxy, mode: Mode) -> None:
    proxy.mode = mode
    with pytest.raises(DatabaseUnavailable):
        read(through(proxy, source), HASTY)

    proxy.mode = "pass"

    assert read(through(proxy, source)).height == ROWS


@pytest.mark.fault(4, 7)
def test_a_hanging_source_holds_up_no_other(source: str, proxy: Proxy) -> None:
    proxy.mode = "blackhole"
    caught: list[DatabaseUnavailable] = []

    def hang() -> None:
        try:
            read(through(proxy, source))
        except DatabaseUnavailable as error:
            caught.append(error)

    hanging = threading.Thread(target=hang, daemon=True)
    hanging.start()

    found = read(source)

    assert found.height == ROWS
    assert hanging.is_alive()
    proxy.mode = "reset"
    hanging.join()
    assert len(caught) == 1


def test_an_idle_worker_serves_the_next_read(source: str, proxy: Proxy) -> None:
    read(source)
    first = workers()

    read(source)

    assert workers() == first
    assert len(first) == 1


def test_a_worker_that_was_killed_between_two_reads_is_replaced(source: str, proxy: Proxy) -> None:
    read(source)
    for worker in workers():
        worker.kill()

    assert read(source).height == ROWS


@pytest.mark.fault(6)
def test_a_lock_on_the_table_does_not_hold_up_a_read_for_ever(source: str, proxy: Proxy) -> None:
    with psycopg.connect(source) as conn:
        conn.execute("LOCK TABLE measured IN ACCESS EXCLUSIVE MODE")

        require_cut(source)


@pytest.mark.fault(28)
@pytest.mark.parametrize("when", ["idle", "reading"])
def test_a_worker_dies_with_its_parent(source: str, proxy: Proxy, when: str) -> None:
    proxy.swallow_after = 1_000_000 if when == "reading" else None
    script = (
        "import sys, time\n"
        "from tests.source.sources import read\n"
        "read(sys.argv[1])\n"
        "print('read', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, through(proxy, source)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    if when == "idle":
        assert parent.stdout.readline() == "read\n"
    else:
        wait_for(lambda: proxy.mode == "blackhole")
    [worker] = psutil.Process(parent.pid).children(recursive=True)

    os.kill(parent.pid, signal.SIGKILL)

    parent.communicate()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.fault(20)
def test_no_failure_shows_the_password(
    source: str, proxy: Proxy, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for mode in ("blackhole", "reset"):
        proxy.mode = mode
        with pytest.raises(DatabaseUnavailable) as caught:
            read(through(proxy, source), HASTY)
        said += map(str, (caught.value, caught.value.hint, caught.value.__cause__))
        said += [repr(caught.value), caught.getrepr(style="short").__str__()]
    proxy.mode = "pass"
    read(through(proxy, source))
    commands = [" ".join(worker.cmdline()) for worker in workers()]
    surroundings = ["".join(worker.environ().values()) for worker in workers()]

    output = capfd.readouterr()

    assert commands
    assert CANARY not in "".join([*said, *commands, *surroundings, output.out, output.err])


def wait_for(condition: Any, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
