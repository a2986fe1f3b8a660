"""Text whose order is not that of time is never lost in a comparison: read whole, or refused."""

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest

from forecaster.errors import DataError
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from tests.source.sources import (
    HOUR,
    QUERY,
    UNTIL,
    dataset,
    fill,
    fill_postgres,
)

Spelling = Callable[[datetime], str]

READABLE: dict[str, Spelling] = {
    "day and month by name": lambda at: f"{at:%d-%b-%Y %H:%M}",
    "month by name first": lambda at: f"{at:%b %d, %Y %H:%M}",
    "blanks before": lambda at: f"  {at:%Y-%m-%d %H:%M}",
    "no leading zeros": lambda at: f"{at.year}-{at.month}-{at.day} {at:%H:%M}",
    "no leading zeros, T": lambda at: f"{at.year}-{at.month}-{at.day}T{at:%H:%M}",
    "slashes": lambda at: f"{at:%Y/%m/%d %H:%M}",
}
NEWEST = [UNTIL, datetime(2026, 10, 3, 12, tzinfo=UTC), datetime(2026, 9, 30, 12, tzinfo=UTC)]
OWN = QUERY + " WHERE ts > :since AND ts < :until"


def rows(newest: datetime, spelling: Spelling) -> list[tuple[str, str, float]]:
    """Five days of one series that sorts like time, then three hours of one that is spelt so."""
    usual = [("a", f"{newest - back * HOUR:%Y-%m-%d %H:%M}", 1.0) for back in range(120, -1, -1)]
    return [*usual, *(("b", spelling(newest - back * HOUR), 1.0) for back in range(2, -1, -1))]


@pytest.mark.parametrize("newest", NEWEST)
@pytest.mark.parametrize("odd", [True, False], ids=["first slice", "later slice"])
@pytest.mark.parametrize("spelling", READABLE.values(), ids=READABLE.keys())
def test_new_rows_of_another_spelling_are_read(
    sqlite_source: str, postgres_url: str, newest: datetime, odd: bool, spelling: Spelling
) -> None:
    given = rows(newest, spelling)
    fill(sqlite_source, given)
    fill_postgres(postgres_url, "text", given)

    for url in (sqlite_source, postgres_url):
        wanted = RowRange(since=newest - 3 * HOUR, until=newest, odd=odd)
        found = read_rows(dataset(timezone="UTC"), url, wanted)
        assert found["series_id"].to_list().count("b") == 3


@pytest.mark.parametrize("text", ["2026 11 20 10:00", "2026", "2026_11_20"])
def test_text_of_a_year_that_nobody_can_read_is_read_so_that_it_is_counted(
    sqlite_source: str, postgres_url: str, text: str
) -> None:
    given = rows(UNTIL, lambda _: text)
    fill(sqlite_source, given)
    fill_postgres(postgres_url, "text", given)

    for url in (sqlite_source, postgres_url):
        found = read_rows(
            dataset(timezone="UTC"), url, RowRange(since=UNTIL - 3 * HOUR, until=UNTIL)
        )
        assert found["series_id"].to_list().count("b") == 3


@pytest.mark.parametrize("odd", [True, False], ids=["first slice", "later slice"])
def test_words_among_text_that_sorts_like_time_let_no_more_be_read(
    sqlite_source: str, postgres_url: str, odd: bool
) -> None:
    given = rows(UNTIL, lambda _: "n/a")
    fill(sqlite_source, given)
    fill_postgres(postgres_url, "text", given)

    for url in (sqlite_source, postgres_url):
        wanted = RowRange(since=UNTIL - 3 * HOUR, until=UNTIL, odd=odd)
        found = read_rows(dataset(timezone="UTC"), url, wanted)
        assert found["series_id"].to_list().count("b") == 3 * odd
        assert found["series_id"].to_list().count("a") < 120


AMBIGUOUS: dict[str, Spelling] = {
    "29.11.2026": lambda at: f"{at:%d.%m.%Y %H:%M}",
    "11/29/2026": lambda at: f"{at:%m/%d/%Y %H:%M}",
}


@pytest.mark.parametrize("spelling", [*READABLE.values(), *AMBIGUOUS.values()])
def test_a_query_that_loses_text_by_comparing_it_is_refused(
    sqlite_source: str, spelling: Spelling
) -> None:
    fill(sqlite_source, rows(datetime(2026, 11, 9, 12, tzinfo=UTC), spelling))

    with pytest.raises(DataError, match="compares timestamp with :since") as caught:
        read_rows(
            dataset(OWN, timezone="UTC"), sqlite_source, RowRange(since=UNTIL - HOUR, until=UNTIL)
        )

    assert "remove :since and :until" in (caught.value.hint or "")


def test_a_query_that_makes_times_of_its_text_before_it_compares_them_is_run(
    sqlite_source: str,
) -> None:
    given = rows(UNTIL, AMBIGUOUS["29.11.2026"])[-3:]
    fill(sqlite_source, given)
    iso = "substr(ts, 7, 4) || '-' || substr(ts, 4, 2) || '-' || substr(ts, 1, 2)"
    query = f"{QUERY} WHERE {iso} BETWEEN :since AND :until"

    found = read_rows(
        dataset(query, timezone="UTC", timestamp_format="%d.%m.%Y %H:%M"),
        sqlite_source,
        RowRange(since=UNTIL - 3 * HOUR, until=UNTIL),
    )

    assert found.height == 3


@pytest.mark.parametrize("word", ["", "n/a", "soon", None, 5])
def test_a_query_that_compares_text_may_leave_out_what_is_no_time(
    sqlite_source: str, word: object
) -> None:
    usual = rows(UNTIL, str)[:-3]
    fill(sqlite_source, [*usual, ("b", word, 1.0)])

    found = read_rows(
        dataset(OWN, timezone="UTC"), sqlite_source, RowRange(since=UNTIL - HOUR, until=UNTIL)
    )

    assert 0 < found.height < 121


def test_a_query_of_numbers_may_compare_them_as_it_likes(sqlite_source: str) -> None:
    stamps = [int((UNTIL - back * HOUR).timestamp()) for back in range(120)]
    fill(sqlite_source, [("a", stamp, 1.0) for stamp in stamps])
    query = f"{QUERY} WHERE ts BETWEEN unixepoch(:since) AND unixepoch(:until)"

    found = read_rows(dataset(query), sqlite_source, RowRange(since=UNTIL - HOUR, until=UNTIL))

    assert found.height == 2


def test_postgresql_compares_no_text_with_instants(postgres_url: str) -> None:
    fill_postgres(postgres_url, "text", rows(UNTIL, AMBIGUOUS["29.11.2026"]))

    with pytest.raises(DataError, match="operator does not exist"):
        read_rows(dataset(OWN), postgres_url, RowRange(since=UNTIL - HOUR, until=UNTIL))


def test_text_in_another_collation_is_found_too(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        known = conn.execute("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'").fetchone()
    if known is None:
        pytest.skip("this server has no collations of ICU")
    given = rows(NEWEST[1], READABLE["no leading zeros, T"])
    fill_postgres(postgres_url, 'text COLLATE "und-x-icu"', given)

    found = read_rows(
        dataset(timezone="UTC"), postgres_url, RowRange(since=NEWEST[1] - HOUR, until=NEWEST[1])
    )

    assert found["series_id"].to_list().count("b") == 3
