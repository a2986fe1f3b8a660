"""What tables of commands show."""

from datetime import UTC, datetime

from jobs.terminal.output import cell


def test_an_instant_in_a_table_is_in_utc_and_to_the_second() -> None:
    instant = datetime(2026, 11, 30, 1, 2, 3, 456_789, tzinfo=UTC)

    assert cell(instant) == "2026-11-30 01:02:03Z"
