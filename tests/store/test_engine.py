import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from sqlalchemy import Engine, func, insert, select, text

from forecaster.errors import DatabaseUnavailable, ForecasterError, StoreError, UnsupportedDatabase
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.urls import masked, parse_url
from forecaster.store.maintenance import migrations
from forecaster.store.tables import datasets

CANARY = "c4n4ry"


def names(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return list(conn.scalars(select(datasets.c.name).order_by(datasets.c.name)))


def add(engine: Engine, name: str) -> None:
    with writing(engine) as conn:
        conn.execute(insert(datasets).values(name=name))


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    def add_half() -> None:
        with writing(engine) as conn:
            conn.execute(insert(datasets).values(name="lost"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        add_half()
    add(engine, "kept")

    assert names(engine) == ["kept"]


def test_a_reader_sees_one_state_and_blocks_no_writer(engine: Engine) -> None:
    count = select(func.count()).select_from(datasets)

    with reading(engine) as reader:
        before = reader.scalar(count)
        add(engine, "meanwhile")
        after = reader.scalar(count)

    assert before == after == 0
    assert names(engine) == ["meanwhile"]


def test_a_reader_cannot_write_on_postgresql(
    postgres_url: str,
) -> None:
    engine = open_engine(postgres_url)
    migrations.upgrade(engine)

    with pytest.raises(StoreError, match="read-only transaction"), reading(engine) as conn:
        conn.execute(insert(datasets).values(name="no"))
    add(engine, "yes")

    assert names(engine) == ["yes"]
    engine.dispose()


@pytest.mark.fault(36)
def test_writers_take_turns(engine: Engine) -> None:
    def add_counted(number: int) -> None:
        with writing(engine) as conn:
            found = conn.scalar(select(func.count()).select_from(datasets))
            conn.execute(insert(datasets).values(name=f"{number}: {found}"))

    threads = [threading.Thread(target=add_counted, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names(engine)) == 8


def test_sqlite_keeps_what_was_committed_and_checks_references(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)

    with reading(engine) as conn:
        settings = {
            name: conn.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_postgresql_sessions_are_in_utc_and_do_not_wait_for_ever(postgres_url: str) -> None:
    engine = open_engine(postgres_url + "?options=-c%20work_mem%3D8MB")

    with reading(engine) as conn:
        settings = {
            name: conn.scalar(text(f"SHOW {name}"))
            for name in ("TimeZone", "lock_timeout", "work_mem", "application_name")
        }
    engine.dispose()

    assert settings == {
        "TimeZone": "UTC",
        "lock_timeout": "5s",
        "work_mem": "8MB",
        "application_name": "forecaster",
    }


def test_an_old_sqlite_is_refused_with_a_way_out(sqlite_url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match=r"at least 3\.37, found 3\.36\.1") as caught:
        open_engine(sqlite_url, sqlite_version=(3, 36, 1))

    assert "postgresql://" in (caught.value.hint or "")


def test_a_sqlite_file_in_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    folder = tmp_path / "missing"

    with pytest.raises(DatabaseUnavailable, match=r"missing does not exist") as caught:
        open_engine(f"sqlite:///{folder}/forecaster.db")

    assert caught.value.hint == f"mkdir -p {folder}"


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="must be a file"):
        open_engine(url)


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+asyncpg", "oracle+oracledb", "nonsense"])
def test_another_database_is_refused(scheme: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="must be sqlite or postgresql"):
        open_engine(f"{scheme}://bob:{CANARY}@host/db")


def test_a_file_that_is_no_database_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("Dear diary, " * 100)
    engine = open_engine(f"sqlite:///{path}")

    with pytest.raises(UnsupportedDatabase, match="file is not a database"):
        migrations.revision(engine)
    engine.dispose()


@pytest.mark.fault(6, 36)
def test_a_locked_sqlite_file_is_unavailable(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url + "?timeout=0.05")
    migrations.upgrade(engine)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseUnavailable, match="database is locked") as caught, writing(engine):
        pass

    assert "database is locked" in caught.value.message
    assert "another process is writing" in str(caught.value.hint)
    other.close()
    engine.dispose()


@pytest.mark.fault(6)
def test_a_locked_row_is_no_server_that_does_not_answer(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with writing(engine) as conn:
        conn.exec_driver_sql("CREATE TABLE busy (x integer)")

    with writing(engine) as holder, writing(engine) as conn:
        holder.exec_driver_sql("LOCK TABLE busy")
        conn.exec_driver_sql("SET LOCAL lock_timeout = '10ms'")
        with pytest.raises(DatabaseUnavailable, match="database is locked") as caught:
            conn.exec_driver_sql("SELECT * FROM busy")

    assert "lock timeout" in caught.value.message
    assert "another process is writing" in str(caught.value.hint)
    engine.dispose()


@pytest.mark.fault(3)
def test_a_connection_that_was_cut_is_replaced(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    cut = text("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable, match="terminating"), reading(engine) as conn:
        conn.execute(cut)

    with reading(engine) as conn:
        assert conn.scalar(text("SELECT 1")) == 1
    engine.dispose()


@pytest.mark.fault(2, 3)
def test_a_server_that_went_away_between_two_uses_goes_unnoticed(
    postgres_url: str,
) -> None:
    engine = open_engine(postgres_url)
    migrations.upgrade(engine)

    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert names(engine) == []
    engine.dispose()


def unreachable(url: str) -> list[str]:
    """Addresses with the canary as password that lead nowhere, and ones that cannot be read."""
    parts = urlsplit(url)
    server = f"{parts.hostname}:{parts.port}"
    return [
        urlunsplit(parts._replace(netloc=f"nobody:{CANARY}@{server}")),
        f"postgresql://bob:{CANARY}@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}@host.invalid/db",
        f"postgresql://bob@127.0.0.1:1/db?password={CANARY}",
        f"postgresql://bob:{CANARY}%zz@127.0.0.1:1/db",
        f"postgresql://bob:{quote(CANARY + '/?#@:%', safe='')}@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}/x@127.0.0.1:1/db",
        f"postgresql://bob:x@{CANARY}@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}@127.0.0.1:54x2/db",
        f"postgrezql://bob:{CANARY}@127.0.0.1:1/db",
        f"postgresql//bob:{CANARY}@127.0.0.1:1/db",
        f"bob:{CANARY}@127.0.0.1",
    ]


@pytest.mark.fault(20)
def test_no_failure_shows_a_password(postgres_url: str) -> None:
    shown = []
    for url in unreachable(postgres_url):
        with pytest.raises(ForecasterError) as caught:
            migrations.revision(open_engine(url))
        causes = [caught.value, caught.value.__cause__]
        shown.append(f"{causes!r} {causes[0]} {causes[1]} {caught.value.hint}")

    assert [text for text in shown if CANARY in text] == []
    assert "nobody:***@" in shown[0]


def test_an_address_is_shown_without_its_secrets() -> None:
    url = parse_url("postgres://bob:pw@db:5432/prod?sslpassword=pw2&sslmode=require")

    assert masked(url) == (
        "postgresql://bob:***@db:5432/prod?sslmode=require&sslpassword=%2A%2A%2A"
    )


def test_a_short_address_of_postgresql_means_our_driver() -> None:
    found = {parse_url(f"{name}://db/prod").drivername for name in ("postgres", "postgresql")}

    assert found == {"postgresql+psycopg"}


@pytest.mark.fault(36)
def test_many_who_make_one_sqlite_database_at_once_all_get_in(tmp_path: Path) -> None:
    def come(path: Path) -> None:
        engine = open_engine(f"sqlite:///{path}")
        with writing(engine) as conn:
            conn.execute(text("CREATE TABLE IF NOT EXISTS guests (name TEXT)"))
            conn.execute(text("INSERT INTO guests VALUES ('one')"))
        engine.dispose()

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            list(pool.map(come, [tmp_path / f"{number}.db"] * 8))
