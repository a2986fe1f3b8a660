"""The SQL on the page about the views runs on both stores, and finds what it says it finds."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.config.settings import RetentionConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import accuracy, forecasts
from forecaster.store.maintenance import partitions
from forecaster.store.observations import observations
from tests.store.samples import HOUR, START, add_model, forecast, observed, scored
from tests.store.written import write_forecasts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "views.md"
T = START
"""The instant in the recipes: 2026-11-20, 9 o'clock."""
ONLY = {"PostgreSQL": "postgresql", "SQLite": "sqlite"}


@pytest.fixture
def told(engine: Engine) -> Engine:
    """What was said in time, written long after, and in hindsight; and values that changed."""
    partitions.ensure(engine, RetentionConfig(), partitions.PARTITIONED, [T - HOUR, T])
    with writing(engine) as conn:
        for values, recorded_at in (([1.0, 2.0], T - HOUR), ([9.0, None], T + 2 * HOUR)):
            frame = observed({"north": values}, start=T - 2 * HOUR)
            observations.ingest(conn, "bikes", frame, recorded_at=recorded_at)
        serving, chosen = add_model(conn), add_model(conn)
        said: list[tuple[int, pl.DataFrame, datetime, forecasts.Origin]] = [
            (serving, said_at(T - HOUR, level=100.0), T, "live"),
            (serving, said_at(T, level=200.0), T + 100 * HOUR, "backfill"),
            (chosen, said_at(T, level=300.0, hindsight=True), T, "backfill"),
        ]
        for model, frame, issued_at, origin in said:
            write_forecasts(conn, "bikes", model, frame, issued_at=issued_at, origin=origin)
        for cutoff in (T - HOUR, T):
            frame = scored("north", cutoff=cutoff)
            accuracy.write(conn, "bikes", serving, frame, scored_at=T + 9 * HOUR)
    return engine


def said_at(cutoff: datetime, *, level: float, hindsight: bool = False) -> pl.DataFrame:
    return forecast("north", cutoff=cutoff, steps=4, level=level, hindsight=hindsight)


def rows(engine: Engine, title: str) -> list[Any]:
    """Return what the recipe finds whose title begins like this."""
    (sql,) = (sql for name, sql in recipes(engine).items() if name.startswith(title))
    with reading(engine) as conn:
        return list(conn.execute(text(sql.replace(":", r"\:"))))


def recipes(engine: Engine) -> dict[str, str]:
    """Return the statements on the page that are for this store, by the line above them."""
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    statements = (each.strip() for block in blocks for each in block.split(";\n"))
    titled = (each.removeprefix("-- ").split("\n", 1) for each in statements if each)
    here = engine.dialect.name
    return {title: sql for title, sql in titled if ONLY.get(title, here) == here}


def test_every_recipe_runs(told: Engine) -> None:
    for title in recipes(told):
        rows(told, title)


@pytest.mark.parametrize(
    ("title", "medians"), [("by issued_at", [102, 103, 104]), ("by cutoff", [201, 202, 203, 204])]
)
def test_beliefs_are_the_newest_of_what_was_there(
    told: Engine, title: str, medians: list[float]
) -> None:
    assert [row.q50 for row in rows(told, title)] == medians


def test_vintages_of_one_instant_come_in_their_order(told: Engine) -> None:
    found = rows(told, "how the forecast of one timestamp")

    assert (found[0].origin, found[0].q50) == ("live", 104)
    assert {row.q50 for row in found[1:]} == {203, 303}


def test_what_was_backfilled_is_told_from_what_was_said_in_time(told: Engine) -> None:
    said = rows(told, "what the service")
    counts = {(row.origin, row.status, bool(row.hindsight)): row.forecasts for row in said}
    errors = {row.origin: row.relative_error for row in rows(told, "accuracy of either")}

    assert counts == {
        ("live", "ok", False): 1, ("backfill", "ok", False): 1, ("backfill", "ok", True): 1
    }  # fmt: skip
    assert errors == {"live": 0.5, "backfill": 0.5}


def test_observations_are_those_that_were_known(told: Engine) -> None:
    title = next(name for name, dialect in ONLY.items() if dialect == told.dialect.name)

    assert [row.value for row in rows(told, title)] == [1.0, 2.0]
