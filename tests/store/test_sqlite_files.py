"""A SQLite file that is deleted, replaced or far away is noticed before anything is written."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from forecaster.errors import DatabaseUnavailable, UnsupportedDatabase
from forecaster.store.connection import sqlite_files
from forecaster.store.connection.engine import open_engine, reading, writing

pytestmark = pytest.mark.fault(36)

WRITERS, ROWS = 3, 40


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def numbers(sqlite_url: str) -> Iterator[Engine]:
    """A database with one table, which was used."""
    engine = open_engine(sqlite_url)
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE numbers (number INTEGER)"))
    yield engine
    engine.dispose()


def write(engine: Engine, number: int) -> None:
    with writing(engine) as conn:
        conn.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})


def count(engine: Engine) -> int:
    with reading(engine) as conn:
        return int(conn.execute(text("SELECT count(*) FROM numbers")).scalar_one())


def write_many(url: str) -> None:
    engine = open_engine(url)
    for number in range(ROWS):
        write(engine, number)
    engine.dispose()


def test_a_file_that_was_deleted_is_noticed_and_not_made_anew(numbers: Engine, file: Path) -> None:
    file.unlink()

    with pytest.raises(DatabaseUnavailable, match="was deleted"):
        write(numbers, 1)
    with pytest.raises(DatabaseUnavailable, match="was deleted"):
        count(numbers)

    assert not file.exists()


def test_a_file_that_is_put_back_is_used_again(numbers: Engine, file: Path) -> None:
    aside = file.rename(file.with_suffix(".aside"))
    with pytest.raises(DatabaseUnavailable, match="was deleted"):
        write(numbers, 1)

    aside.rename(file)
    write(numbers, 2)

    assert count(numbers) == 1


def test_another_file_of_the_same_name_is_not_written_to(numbers: Engine, file: Path) -> None:
    numbers.dispose()
    restored = file.with_suffix(".restored")
    restored.write_bytes(file.read_bytes())
    restored.rename(file)

    with pytest.raises(DatabaseUnavailable, match="was replaced by another file") as caught:
        write(numbers, 1)

    assert "start again" in str(caught.value.hint)
    engine = open_engine(f"sqlite:///{file}")
    assert count(engine) == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("kind", "is_refused"), [("nfs4", True), ("cifs", True), ("ext4", False), ("tmpfs", False)]
)
def test_a_file_on_a_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_refused: bool
) -> None:
    far = tmp_path / "far away"
    far.mkdir()
    table = tmp_path / "mountinfo"
    name = str(far).replace(" ", "\\040")
    table.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / {name} rw shared:1 - {kind} host rw\n"
    )
    monkeypatch.setattr(sqlite_files, "MOUNTS", table)
    address = f"sqlite:///{far}/forecaster.db"

    if not is_refused:
        open_engine(address).dispose()
        return
    with pytest.raises(UnsupportedDatabase, match=rf"network file system \({kind}\)") as caught:
        open_engine(address)

    assert "postgresql" in str(caught.value.hint)


def test_a_system_that_tells_nothing_of_its_disks_is_believed(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "MOUNTS", tmp_path / "missing")

    open_engine(sqlite_url).dispose()


@pytest.mark.slow
def test_processes_that_write_at_once_take_turns(numbers: Engine, sqlite_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(sqlite_url,)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    assert count(numbers) == WRITERS * ROWS
