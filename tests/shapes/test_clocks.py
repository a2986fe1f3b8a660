"""Local times without an offset, where clocks are put forward and back."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import DataError
from forecaster.ingestion.normalize import REMEDIES
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from tests.jobs.small import HOUR, LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import Place, series

pytestmark = pytest.mark.quick_on("sqlite")

QUARTER = timedelta(minutes=15)


class Change(NamedTuple):
    """A day on which clocks change, and how many of its quarters they skip or show twice."""

    zone: str
    day: str
    skipped: int = 0
    twice: int = 0


CHANGES = [
    Change("America/New_York", "2025-03-09", skipped=4),
    Change("America/New_York", "2025-11-02", twice=4),
    Change("Europe/Berlin", "2025-03-30", skipped=4),
    Change("Europe/Berlin", "2025-10-26", twice=4),
    Change("Australia/Sydney", "2025-10-05", skipped=4),
    Change("Australia/Sydney", "2025-04-06", twice=4),
    Change("Australia/Lord_Howe", "2025-10-05", skipped=2),
    Change("Australia/Lord_Howe", "2025-04-06", twice=2),
    Change("America/Sao_Paulo", "2017-10-15", skipped=4),
    Change("America/Sao_Paulo", "2018-02-17", twice=4),
    Change("Pacific/Apia", "2011-12-30", skipped=96),
]


def quarters(day: str) -> list[datetime]:
    """All that a clock might show on a day, but for midnight, which means the day."""
    return [datetime.fromisoformat(day) + number * QUARTER for number in range(1, 96)]


def instants(wall: datetime, zone: str) -> set[datetime]:
    """When clocks showed that, if ever, by the zone database of Python."""
    clock = ZoneInfo(zone)
    meant = {wall.replace(tzinfo=clock, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return {at for at in meant if at.astimezone(clock).replace(tzinfo=None) == wall}


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", ["text", "timestamp"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.zone}-{change.day}")
def test_local_times_become_the_first_instants_at_which_clocks_showed_them(
    place: Place, check: Check, change: Change, kind: str
) -> None:
    place.stamp(change.zone, kind)
    walls = quarters(change.day)

    account = place.bring([("local", wall, float(place)) for place, wall in enumerate(walls)])

    meant = [instants(wall, change.zone) for wall in walls]
    assert sum(len(found) > 1 for found in meant) == change.twice
    assert place.landed("local") == [
        (min(found), value) for value, found in enumerate(meant) if found
    ]
    skipped = sum(not found for found in meant)
    assert skipped in (change.skipped, change.skipped - 1)  # less the midnight
    assert account.rejected == ({"nonexistent_local_time": skipped} if skipped else {})
    assert account.lost == 0
    check(place, place.forecast())


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", ["text", "timestamp"])
def test_a_midnight_that_clocks_skip_is_the_first_instant_of_its_day(
    place: Place, check: Check, kind: str
) -> None:
    place.stamp("America/Sao_Paulo", kind)
    midnights = [datetime.fromisoformat(f"2017-10-{number}") for number in (14, 15, 16)]

    account = place.bring([("daily", midnight, 1.0) for midnight in midnights])

    assert (account.new, account.rejected, account.lost) == (3, {}, 0)
    assert [at.isoformat() for at, _ in place.landed("daily")] == [
        "2017-10-14T03:00:00+00:00",
        "2017-10-15T03:00:00+00:00",
        "2017-10-16T02:00:00+00:00",
    ]
    check(place, place.forecast())


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", ["text", "timestamp"])
def test_an_hour_that_clocks_show_twice_is_once_the_mean_and_once_a_gap(
    place: Place, check: Check, kind: str
) -> None:
    place.stamp("Europe/Berlin", kind)
    hours = [datetime.fromisoformat(f"2025-10-26T0{number}:00") for number in (1, 2, 2, 3)]

    account = place.bring([("fold", at, float(value)) for value, at in enumerate(hours)])

    assert (account.new, account.conflicting, account.lost) == (3, 1, 0)
    assert [(at.hour, value) for at, value in place.landed("fold")] == [(23, 0), (0, 1.5), (2, 3)]
    check(place, place.forecast())


def test_an_offset_counts_for_more_than_the_zone_of_the_dataset(place: Place, check: Check) -> None:
    place.stamp("America/New_York", "text")
    spelled = ["2025-11-02 01:30:00-04:00", "2025-11-02T01:30:00-0500", "2025-11-02T07:30Z",
               "2025-11-02 03:30:00"]  # fmt: skip

    account = place.bring([("offsets", text, 1.0) for text in spelled])

    assert (account.new, account.lost) == (4, 0)
    assert [at.hour for at, _ in place.landed("offsets")] == [5, 6, 7, 8]
    check(place, place.forecast())


def test_a_local_time_among_instants_fails_no_pull_where_no_zone_is_declared(
    place: Place, check: Check
) -> None:
    place.kinds = place.kinds._replace(timestamp="text")
    place.declare(timezone=None)

    account = place.bring([*series("mixed", [1.0] * 9), ("mixed", "2026-01-05 12:00:00", 2.0)])

    assert (account.new, account.rejected) == (9, {"naive_timestamp": 1})
    assert account.lost == 0
    check(place, place.forecast())


def test_only_local_times_and_no_zone_are_an_error_that_names_the_setting(place: Place) -> None:
    place.stamp("UTC", "text")
    place.declare(timezone=None)

    with pytest.raises(DataError, match="need a time zone") as caught:
        place.bring([("naive", hour(LAST), 1.0)])

    assert "timezone" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("zone", "day", "wall", "hours"),
    [
        ("Europe/Berlin", "2025-03-30", ["01:00", "02:00", "04:00"], [0, 1, 2]),
        ("Europe/Berlin", "2025-03-30", ["01:00", "03:00", "04:00"], [0, 1, 2]),
        ("America/New_York", "2025-03-09", ["02:00", "04:00", "05:00"], [7, 8, 9]),
        ("Europe/Berlin", "2025-10-26", ["01:00", "02:00", "03:00", "04:00"], [-1, 0, 1, 3]),
    ],
)
def test_ends_of_hours_are_read_where_clocks_change(
    file: Place, zone: str, day: str, wall: list[str], hours: list[int]
) -> None:
    file.declare(timezone=zone, timestamp_marks="end")
    file.kinds = file.kinds._replace(timestamp="timestamp")
    stamps = [datetime.fromisoformat(f"{day}T{time}") for time in wall]

    account = file.bring([("ends", stamp, 1.0) for stamp in stamps], alone=True)

    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    assert account.rejected == {}
    assert [at for at, _ in file.landed("ends")] == [midnight + hour * HOUR for hour in hours]


def test_what_is_rejected_names_the_setting_that_reads_it(file: Place) -> None:
    file.declare(timezone="Europe/Berlin")
    file.kinds = file.kinds._replace(timestamp="timestamp")
    skipped = datetime.fromisoformat("2025-03-30T02:00")
    before = skipped - HOUR

    account = file.bring([("ends", before, 1.0), ("ends", skipped, 1.0)], alone=True)

    assert account.rejected == {"nonexistent_local_time": 1}
    assert 'timestamp_marks = "end"' in REMEDIES["nonexistent_local_time"]
    file.declare(timestamp_marks="end")
    within = skipped + QUARTER
    account = file.bring([("ends", skipped, 1.0), ("ends", within, 1.0)], alone=True)
    assert (account.new, account.rejected) == (1, {"nonexistent_local_time": 1})


def test_ends_of_days_are_midnights_whatever_clocks_do(file: Place) -> None:
    file.declare(timezone="America/Sao_Paulo", timestamp_marks="end", step=Step.parse("1d"))
    file.kinds = file.kinds._replace(timestamp="timestamp")
    days = [datetime.fromisoformat("2017-10-14") + number * 24 * HOUR for number in range(3)]

    file.bring([("days", day, 1.0) for day in days], alone=True)

    found = [at.astimezone(ZoneInfo("America/Sao_Paulo")) for at, _ in file.landed("days")]
    assert [(at.day, at.hour) for at in found] == [(14, 0), (15, 1), (16, 0)]
    with reading(file.engine) as conn:
        rows = observations.read(conn, file.name)
    grid = grid_of(rows, Step.parse("1d"), "America/Sao_Paulo", marks="end")
    assert grid.index_of(rows["timestamp"]).diff().drop_nulls().to_list() == [1, 1]
