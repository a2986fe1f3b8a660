"""Ingest lands the rows of a file the way a pull lands those of a query."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from jobs import ingest
from jobs.execution.reports import IngestReport
from tests.jobs.small import DATASET

pytestmark = pytest.mark.quick_on("sqlite")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
ZONED = replace(DATASET, timezone="America/New_York")


def take(engine: Engine, content: str, dataset: DatasetConfig = ZONED) -> IngestReport:
    source = BytesIO(content.encode())
    return ingest.run(engine, dataset, source, file_format="csv", now=NOW)


def landed(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as conn:
        return observations.read(conn, DATASET.name).rows()


def test_rows_land_with_their_zone_and_what_cannot_be_used_is_counted(engine: Engine) -> None:
    report = take(
        engine,
        "series_id,timestamp,value\n"
        "007,2026-03-07 23:00,1\n"
        "007,2026-03-08 02:30,2\n"
        "007,2026-03-08 03:00,nonsense\n"
        ",2026-03-08 03:00,4\n"
        "007,2026-03-07 23:00,1\n",
    )

    assert landed(engine) == [("007", datetime(2026, 3, 8, 4, tzinfo=UTC), 1.0)]
    assert (report.rows, report.new, report.duplicates) == (5, 1, 1)
    assert report.rejected == {
        "missing_series_id": 1, "nonexistent_local_time": 1, "unreadable_value": 1,
    }  # fmt: skip
    assert set(report.examples) == set(report.rejected)
    assert report.first == report.last == datetime(2026, 3, 8, 4, tzinfo=UTC)


def test_a_file_can_be_ingested_again_with_corrections(engine: Engine) -> None:
    rows = "series_id,timestamp,value\na,2026-01-01T00:00Z,1\na,2026-01-01T01:00Z,2\n"
    take(engine, rows)

    again = take(engine, rows.replace(",2\n", ",3\n") + "a,2026-01-01T02:00Z,4\n")

    assert (again.new, again.corrected, again.unchanged) == (1, 1, 1)
    assert [row[2] for row in landed(engine)] == [1, 3, 4]


def test_columns_have_the_names_that_the_dataset_gives_them(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("region,meter,at,load\nnorth,1,2026-01-01,5\nso/uth,1,2026-01-01,6\n")
    dataset = replace(
        ZONED, series_columns=("region", "meter"), timestamp_column="at", value_column="load"
    )

    report = ingest.run(engine, dataset, path, now=NOW)

    assert report.new == 2
    assert [row[0] for row in landed(engine)] == ["north/1", "so\\/uth/1"]


def test_missing_columns_are_named_beside_those_that_were_found(engine: Engine) -> None:
    with pytest.raises(DataError, match=r"'value'.*found.*'val'"):
        take(engine, "series_id,timestamp,val\na,2026-01-01,1\n")

    assert landed(engine) == []


@pytest.mark.parametrize("value", ["value", "rentals"])
def test_a_file_of_two_columns_is_one_series_called_like_its_dataset(
    engine: Engine, value: str
) -> None:
    report = take(engine, f"{value},timestamp\n1,2026-01-01T00:00Z\n2,2026-01-01T01:00Z\n")

    assert report.new == 2
    assert [row[::2] for row in landed(engine)] == [("bikes", 1.0), ("bikes", 2.0)]


@pytest.mark.parametrize(
    "dataset",
    [replace(ZONED, value_column="load"), replace(ZONED, series_columns=("region",))],
    ids=["value", "series"],
)
def test_a_file_of_two_columns_keeps_to_the_names_that_were_given(
    engine: Engine, dataset: DatasetConfig
) -> None:
    with pytest.raises(DataError, match="missing columns"):
        take(engine, "timestamp,rentals\n2026-01-01T00:00Z,1\n", dataset)


def test_naive_timestamps_need_a_zone(engine: Engine) -> None:
    with pytest.raises(DataError, match="zone"):
        take(engine, "series_id,timestamp,value\na,2026-01-01 00:00,1\n", DATASET)


@pytest.mark.parametrize("rows", ["", "a,2026-01-01,NaN\n", "a,2026-01-01,inf\n"])
def test_a_file_without_a_row_to_use_is_refused(engine: Engine, rows: str) -> None:
    with pytest.raises(DataError, match="has no usable values") as caught:
        take(engine, f"series_id,timestamp,value\n{rows}")

    assert "--value-column" in (caught.value.hint or "")


HEADER = "series_id,timestamp,value\n"
VALUES = HEADER + "a,2026-01-01T00:00Z,1\na,2026-01-01T01:00Z,2\n"
NULLS = HEADER + "a,2026-01-01T00:00Z,\na,2026-01-01T01:00Z,NA\n"


def test_a_file_without_a_value_is_refused_where_nothing_was_known(engine: Engine) -> None:
    with pytest.raises(
        DataError, match="retracts none that are stored: 2 rows without a value"
    ) as caught:
        take(engine, NULLS)

    assert "--value-column" in (caught.value.hint or "")
    assert landed(engine) == []


def test_a_file_without_a_value_is_refused_where_others_are_known(engine: Engine) -> None:
    take(engine, VALUES)

    with pytest.raises(DataError, match="retracts none that are stored: 2 rows without a value"):
        take(engine, NULLS.replace("a,", "b,"))
    with pytest.raises(DataError, match="retracts none that are stored: 2 rows without a value"):
        take(engine, NULLS.replace("2026-01", "2025-01"))


def test_a_file_without_a_value_is_refused_however_many_parts_it_has(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "ROWS_AT_ONCE", 1)

    with pytest.raises(DataError, match="3 rows without a value, and 1 rejected"):
        take(engine, NULLS + "b,2026-01-01T01:00Z,\nb,2026-01-01T02:00Z,nan\n")


def test_a_file_that_withdraws_values_may_come_twice(engine: Engine) -> None:
    take(engine, VALUES)

    first, again = take(engine, NULLS), take(engine, NULLS)

    assert (first.corrected, first.unchanged) == (2, 0)
    assert (again.corrected, again.unchanged) == (0, 2)
    assert landed(engine) == []


def test_one_row_that_says_something_is_enough(engine: Engine) -> None:
    take(engine, VALUES)

    report = take(engine, NULLS.replace("a,2026-01-01T00", "b,2026-01-01T00"))

    assert (report.corrected, report.unchanged) == (1, 1)
