"""All versions of what was observed: who wants to know what was known when."""

from datetime import datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import Engine

from forecaster.schemas import INSTANT, VERSIONS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations, versions
from tests.store.samples import HOUR, START, observed


def land(
    engine: Engine,
    name: str,
    value: float | None,
    *,
    at: int,
    recorded: int,
    dataset: str = "bikes",
) -> None:
    """Land one value of some hour, at another one."""
    frame = observed({name: [value]}, start=START + at * HOUR)
    with writing(engine) as conn:
        observations.ingest(conn, dataset, frame, recorded_at=START + recorded * HOUR)


def fill(engine: Engine) -> None:
    land(engine, "b", 1.0, at=0, recorded=1)
    land(engine, "a", 2.0, at=0, recorded=2)
    land(engine, "a", 3.0, at=2, recorded=3)
    land(engine, "other", 3.0, at=1, recorded=3, dataset="others")
    land(engine, "b", None, at=0, recorded=4)
    land(engine, "b", 5.0, at=4, recorded=5)


def test_versions_are_read_in_blocks_of_whole_series(engine: Engine) -> None:
    fill(engine)

    with reading(engine) as conn:
        blocks = [
            *versions.read(
                conn, "bikes", since=START, until=START + 2 * HOUR, steps=versions._ROWS_AT_ONCE
            )
        ]

    rows = [(1, 0, 1, 1.0), (1, 0, 4, None), (2, 0, 2, 2.0), (2, 2, 3, 3.0)]
    expected = pl.DataFrame(
        [(key, START + at * HOUR, START + then * HOUR, value) for key, at, then, value in rows],
        schema=VERSIONS,
        orient="row",
    )
    assert [block["series_id"].unique().to_list() for block in blocks] == [[1], [2]]
    assert_frame_equal(pl.concat(blocks), expected, check_exact=True)


def test_blocks_are_as_large_as_the_rows_that_were_found(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_ROWS_AT_ONCE", 20)
    frame = observed({f"{number:02}": [1.0] * 5 for number in range(14)})
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", frame, recorded_at=START + 9 * HOUR)

    with reading(engine) as conn:
        blocks = [*versions.read(conn, "bikes", since=START, until=START + 5 * HOUR, steps=1)]

    assert [block["series_id"].n_unique() for block in blocks] == [1, 4, 4, 4, 1]


def test_it_is_told_when_each_instant_was_first_landed_by_any_series(engine: Engine) -> None:
    fill(engine)

    with reading(engine) as conn:
        found, part = (
            versions.first_of_each_instant(conn, "bikes", after=START - after * HOUR, until=until)
            for after, until in ((1, START + 9 * HOUR), (0, START + 2 * HOUR))
        )

    assert found.schema == VERSIONS
    first: dict[str, list[datetime]] = {
        "timestamp": [START, START + 2 * HOUR, START + 4 * HOUR],
        "recorded_at": [START + HOUR, START + 3 * HOUR, START + 5 * HOUR],
    }
    expected = pl.DataFrame(first, schema=dict.fromkeys(first, INSTANT))
    assert_frame_equal(found.select(*first), expected, check_exact=True)
    assert_frame_equal(part, found[1:2], check_exact=True)


def test_the_next_instant_is_that_of_any_series(engine: Engine) -> None:
    fill(engine)

    with reading(engine) as conn:
        found = [
            versions.next_instant(conn, "bikes", START + after * HOUR) for after in (-3, 0, 2, 4)
        ]
        nobody = versions.next_instant(conn, "nobody", START)

    assert found == [START, START + 2 * HOUR, START + 4 * HOUR, None]
    assert nobody is None


def test_it_is_told_what_was_the_newest_that_anybody_knew(engine: Engine) -> None:
    fill(engine)

    with reading(engine) as conn:
        found = [
            versions.newest_known(conn, "bikes", START + hours * HOUR) for hours in (0, 2, 3, 9)
        ]

    assert found == [None, START, START + 2 * HOUR, START + 4 * HOUR]
