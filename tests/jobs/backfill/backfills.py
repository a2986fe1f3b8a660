"""A person who backfills: days of data, two models that served in them, and a terminal."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from forecaster.store.connection.engine import open_engine
from tests.faults.backfiller import CONFIGURATION, SINCE, UNTIL, furnish
from tests.jobs.small import HOUR
from tests.jobs.terminal.terminal import NEWEST, Answer, type_

OLDER, CHAMPION = 1, 2
"""Two models that served one after the other."""
SECOND = 30
"""How many ticks of the range come before the second one."""
MEDIANS = "SELECT series_id, cutoff, step, level + d50 FROM forecast_steps ORDER BY 1, 2, 3"
FIRST_OBSERVED = NEWEST - 299 * HOUR


@pytest.fixture(scope="module")
def furnished(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Callable[[Path], None]:
    made = tmp_path_factory.mktemp("furnished")
    shutil.copyfile(sqlite_template, made / "forecaster.db")
    engine = open_engine(f"sqlite:///{made / 'forecaster.db'}")
    furnish(engine, made, SINCE - HOUR, SINCE + (SECOND - 1) * HOUR)
    engine.dispose()

    def into(folder: Path) -> None:
        shutil.copyfile(made / "forecaster.db", folder / "forecaster.db")
        text = CONFIGURATION.format(url="sqlite:///forecaster.db", steps=4)
        (folder / "forecaster.toml").write_text(text)

    return into


@pytest.fixture
def past(folder: Path, furnished: Callable[[Path], None]) -> Path:
    """A folder with a configuration, days of data and two models."""
    furnished(folder)
    return folder


def rows(statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect("forecaster.db")
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def number(statement: str, *values: object) -> object:
    return rows(statement, *values)[0][0]


def change(statement: str, *values: object) -> None:
    with sqlite3.connect("forecaster.db") as connection:
        connection.execute(statement, values)
    connection.close()


def backfill(*words: str, since: datetime = SINCE, until: datetime = UNTIL) -> Answer:
    return type_("backfill", "--from", since.isoformat(), "--to", until.isoformat(), *words)


def report(*words: str, since: datetime = SINCE, until: datetime = UNTIL) -> dict[str, object]:
    answer = backfill(*words, "--json", since=since, until=until)
    assert answer.status == 0, answer.talk
    found: dict[str, object] = json.loads(answer.data)
    return found


def told(answer: Answer) -> list[str]:
    return [line.strip() for line in answer.data.splitlines()]
