"""Partitions on PostgreSQL: there when a row needs them, gone when all their rows are too old."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from forecaster.config.settings import RetentionConfig
from forecaster.errors import StoreError
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.maintenance import migrations, partitions
from forecaster.store.maintenance.partitions import Dropped, Partition
from tests.store.samples import START, add_model, forecast
from tests.store.waiting import wait_for_a_waiter
from tests.store.written import write_forecasts

DAY = timedelta(days=1)
DAILY, WEEKLY, FOREVER = (RetentionConfig(forecasts=keep) for keep in (14 * DAY, 90 * DAY, None))
MIDNIGHT = START.replace(hour=0)


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Engine]:
    """A PostgreSQL database at head, without any partition."""
    engine = open_engine(postgres_url)
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


def ensure(engine: Engine, *cutoffs: datetime, retention: RetentionConfig = DAILY) -> int:
    return partitions.ensure(engine, retention, ["forecasts"], cutoffs)


def drop(engine: Engine, before: datetime, *, patience: float = 30.0) -> Dropped:
    return partitions.drop_before(engine, {"forecasts": before}, timeout=patience)["forecasts"]


def ranges(engine: Engine) -> list[tuple[datetime | None, datetime | None]]:
    with reading(engine) as conn:
        return [(part.lower, part.upper) for part in partitions.read(conn, "forecasts")]


def write(engine: Engine, *cutoffs: datetime) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn)
        for cutoff in cutoffs:
            rows = forecast(cutoff=cutoff)
            write_forecasts(conn, "bikes", model_id, rows, issued_at=cutoff, origin="live")


@pytest.mark.parametrize(
    ("keep", "days"),
    [(timedelta(hours=1), 1), (31 * DAY, 1), (32 * DAY, 7), (366 * DAY, 7), (367 * DAY, 28),
     (None, 28)],
)  # fmt: skip
def test_partitions_are_as_wide_as_fits_what_they_keep(keep: timedelta | None, days: int) -> None:
    assert partitions.width(keep) == days * DAY


def test_a_forecast_needs_its_partition(empty: Engine) -> None:
    with pytest.raises(StoreError, match="no partition"):
        write(empty, START)

    made = ensure(empty, START)
    write(empty, START)

    assert made == 1
    assert ranges(empty) == [(MIDNIGHT, MIDNIGHT + DAY)]


def test_partitions_that_are_there_are_not_made_again(empty: Engine) -> None:
    ensure(empty, START)

    again = ensure(empty, START, START + timedelta(hours=1), START + DAY)

    assert again == 1
    assert ranges(empty) == [
        (MIDNIGHT, MIDNIGHT + DAY),
        (MIDNIGHT + DAY, MIDNIGHT + 2 * DAY),
    ]


def test_many_partitions_are_made_in_parts(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "_AT_ONCE", 2)

    made = ensure(empty, *(START + day * DAY for day in range(6)))

    assert (made, len(ranges(empty))) == (6, 6)


def test_cutoffs_on_the_bounds_belong_to_the_partition_that_begins_there(empty: Engine) -> None:
    ensure(empty, MIDNIGHT, MIDNIGHT + DAY - timedelta(microseconds=1))

    assert ranges(empty) == [(MIDNIGHT, MIDNIGHT + DAY)]


def test_wider_partitions_fill_the_gaps_between_narrower_ones(empty: Engine) -> None:
    monday = datetime(2026, 11, 16, tzinfo=UTC)
    ensure(empty, monday + DAY, monday + 4 * DAY)

    ensure(empty, monday, monday + 2 * DAY, monday + 6 * DAY, retention=WEEKLY)

    assert ranges(empty) == [
        (monday + first * DAY, monday + last * DAY)
        for first, last in ((0, 1), (1, 2), (2, 4), (4, 5), (5, 7))
    ]


def test_narrower_partitions_leave_a_wider_one_as_it_is(empty: Engine) -> None:
    ensure(empty, START, retention=FOREVER)

    assert ensure(empty, START, START + DAY) == 0
    assert len(ranges(empty)) == 1


@given(
    keeps=st.lists(st.sampled_from([DAILY, WEEKLY, FOREVER]), min_size=1, max_size=6),
    days=st.lists(st.integers(-40_000, 40_000), min_size=6, max_size=6),
)
def test_partitions_never_overlap_and_cover_their_cutoff(
    keeps: list[RetentionConfig], days: list[int]
) -> None:
    found: list[Partition] = []
    for keep, day in zip(keeps, days, strict=False):
        cutoff = START + day // 100 * DAY
        if not any(part.covers(cutoff) for part in found):
            width = partitions.width(keep.forecasts)
            found.append(partitions.partition_for("forecasts", found, cutoff, width))
            assert found[-1].covers(cutoff)

    spans = sorted((part.lower, part.upper) for part in found if part.lower and part.upper)
    assert len(spans) == len(found)
    assert all(lower < upper for lower, upper in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert len({part.name for part in found}) == len(found)


def test_callers_at_the_same_time_take_turns(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ensure(empty, START, START + DAY), range(4)))

    assert sum(made) == 2
    assert len(ranges(empty)) == 2


def test_neither_a_reader_nor_a_writer_waits_for_a_new_partition(empty: Engine) -> None:
    ensure(empty, START)
    write(empty, START)

    with empty.begin() as reader, empty.begin() as writer:
        reader.execute(text("SELECT count(*) FROM latest_forecasts"))
        model_id = add_model(writer)
        rows = forecast("b")
        write_forecasts(writer, "bikes", model_id, rows, issued_at=START, origin="live")
        made = ensure(empty, START + DAY)
        found = reader.execute(text("SELECT count(*) FROM forecasts")).scalar_one()

    assert (made, found) == (1, 1)


def test_only_partitions_that_are_too_old_as_a_whole_are_dropped(empty: Engine) -> None:
    ensure(empty, START, START + DAY)
    write(empty, START, START + DAY)

    early = drop(empty, MIDNIGHT + DAY - timedelta(seconds=1))
    late = drop(empty, MIDNIGHT + DAY)

    assert early == Dropped(rows=0, partitions=0, busy=0)
    assert late == Dropped(rows=1, partitions=1, busy=0)
    assert ranges(empty) == [(MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)]


def test_a_partition_in_use_stays_until_the_next_time(empty: Engine) -> None:
    ensure(empty, START)
    write(empty, START)

    with empty.begin() as reader:
        reader.execute(text("SELECT count(*) FROM forecasts"))
        kept = drop(empty, START + 9 * DAY, patience=0)
    gone = drop(empty, START + 9 * DAY)

    assert kept == Dropped(rows=0, partitions=0, busy=1)
    assert gone.rows == 1


def statements(engine: Engine, first_words: str) -> list[str]:
    """A list to which the statements are added from now on that begin so."""
    found: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        found.extend([statement] * statement.startswith(first_words))

    event.listen(engine, "before_cursor_execute", note)
    return found


def test_the_first_partition_in_use_ends_the_work_on_its_table(empty: Engine) -> None:
    partitions.ensure(empty, DAILY, partitions.PARTITIONED, [START + i * DAY for i in range(3)])
    limits = dict.fromkeys(partitions.PARTITIONED, START + 9 * DAY)

    with empty.begin() as reader:
        reader.execute(text("SELECT count(*) FROM forecasts"))
        attempts = statements(empty, "DROP TABLE")
        found = partitions.drop_before(empty, limits, timeout=0)

    assert found["forecasts"] == Dropped(rows=0, partitions=0, busy=1)
    assert (found["attention"].partitions, found["accuracy"].partitions) == (3, 1)
    assert len([each for each in attempts if "forecasts" in each]) == 1


def test_rows_are_counted_before_anybody_has_to_wait_for_it(empty: Engine) -> None:
    ensure(empty, START)
    write(empty, START)

    with ThreadPoolExecutor(1) as pool:
        with writing(empty) as first, reading(empty) as onlooker:
            partitions.lock_partitions(first)
            dropping = pool.submit(drop, empty, START + 9 * DAY)
            wait_for_a_waiter(onlooker, "advisory")
            first.execute(text("DELETE FROM forecasts"))
        dropped = dropping.result()

    assert dropped == Dropped(rows=1, partitions=1, busy=0)


def test_a_partition_that_another_process_drops_first_is_gone_as_well(empty: Engine) -> None:
    ensure(empty, START)
    write(empty, START)

    with ThreadPoolExecutor(1) as pool:
        with writing(empty) as first, reading(empty) as onlooker:
            partitions.lock_partitions(first)
            dropping = pool.submit(drop, empty, START + 9 * DAY)
            wait_for_a_waiter(onlooker, "advisory")
            first.execute(text(f"DROP TABLE forecasts_{START:%Y%m%d}"))
        dropped = dropping.result()

    assert dropped == Dropped(rows=0, partitions=0, busy=0)
    assert ranges(empty) == []


def test_room_is_made_ahead_for_every_table(empty: Engine) -> None:
    made = partitions.make_ahead(empty, DAILY, START)

    assert made == 12
    assert ranges(empty)[-1] == (MIDNIGHT + 3 * DAY, MIDNIGHT + 4 * DAY)
    assert partitions.make_ahead(empty, DAILY, START) == 0


def test_somebody_elses_partition_for_everything_is_enough(empty: Engine) -> None:
    with writing(empty) as conn:
        conn.exec_driver_sql("CREATE TABLE rest PARTITION OF forecasts DEFAULT")

    assert ensure(empty, START) == 0
    write(empty, START)
    assert drop(empty, START + 9 * DAY).partitions == 0


def test_sqlite_needs_none(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    migrations.upgrade(engine)

    assert ensure(engine, START) == 0
    assert drop(engine, START).partitions == 0
    engine.dispose()
