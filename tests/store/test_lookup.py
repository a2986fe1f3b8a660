"""Comparing many rows at once says the same as comparing them one by one."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from forecaster.schemas import OBSERVATIONS
from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import lookup, observations
from tests.store.samples import HOUR, START

Key = tuple[str, datetime]
Batch = Mapping[Key, float | None]

KEYS = ("a", "007", "7", "a/b", "é")
VALUES = (None, 0.0, -0.0, 1.0, 1.0 + 2**-52, -1e300)
MINUTE = timedelta(minutes=1)


def instants() -> st.SearchStrategy[datetime]:
    """Mostly hours in a row, sometimes a minute between them, years before, or a microsecond."""
    hours = st.integers(0, 40).map(lambda hour: START + hour * HOUR)
    odd = (timedelta(0), timedelta(0), MINUTE, timedelta(days=-4000), timedelta(microseconds=1))
    return st.builds(lambda hour, shift: hour + shift, hours, st.sampled_from(odd))


def batches(keys: Sequence[str]) -> st.SearchStrategy[Batch]:
    """Histories of whole series, and single rows."""
    key = st.sampled_from(keys)
    single = st.dictionaries(st.tuples(key, instants()), st.sampled_from(VALUES), max_size=8)
    history = st.builds(
        lambda name, first, hours, value: {
            (name, START + (first + hour) * HOUR): value for hour in range(hours)
        },
        key, st.integers(0, 30), st.integers(0, 30), st.sampled_from(VALUES),
    )  # fmt: skip
    return st.builds(lambda rows, more: {**more, **rows}, single, history)


def frame_of(batch: Batch) -> pl.DataFrame:
    rows = [(key, stamp, value) for (key, stamp), value in batch.items()]
    return pl.DataFrame(rows, schema=OBSERVATIONS, orient="row").sort("series_id", "timestamp")


@pytest.fixture(params=[(200, 25), (3, 1), (1, 2)], ids=["one block", "many blocks", "few rows"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    first, growth = request.param
    monkeypatch.setattr(lookup, "_FIRST_ROWS", first)
    monkeypatch.setattr(lookup, "_GROWTH", growth)


@pytest.mark.usefixtures("_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(before=st.lists(batches(KEYS[:4]), max_size=4), coming=batches(KEYS))
def test_rows_compared_in_bulk_are_those_that_differ_one_by_one(
    engine: Engine, before: list[Batch], coming: Batch
) -> None:
    with writing(engine) as conn:
        conn.execute(delete(tables.observations))
        conn.execute(delete(tables.series))
        conn.execute(delete(tables.datasets))
    stored: dict[Key, float | None] = {}
    for number, batch in enumerate(before):
        counts, changed = expected(stored, batch)
        with writing(engine) as conn:
            result = observations.ingest(
                conn, "bikes", frame_of(batch), recorded_at=START + number * HOUR
            )
        assert (result.new, result.corrected, result.unchanged) == counts
        assert result.changes.height == len(changed)
        stored |= {key: batch[key] for key in changed}

    _, changed = expected(stored, coming)
    frame = frame_of(coming)
    with reading(engine) as conn:
        found = observations.differing(conn, "bikes", frame)
    assert set(found.select("series_id", "timestamp").iter_rows()) == changed | {
        key for key in coming if is_unseen(key, before, stored)
    }
    for rows, count in ((found, len(changed)), (frame, 0)):
        with writing(engine) as conn:
            landed = observations.ingest(conn, "bikes", rows, recorded_at=START + 1000 * HOUR)
        assert landed.changes.height == count


def is_unseen(key: Key, before: Sequence[Batch], stored: Mapping[Key, float | None]) -> bool:
    """Tell whether a row is of a new series, or newer than all that is stored."""
    named = {name for batch in before for name, _ in batch}
    return key[0] not in named or all(key[1] > stamp for _, stamp in stored)


def expected(
    stored: Mapping[Key, float | None], batch: Batch
) -> tuple[tuple[int, int, int], set[Key]]:
    """Count new, corrected and unchanged rows one by one, and name those that change."""
    new = {key for key, value in batch.items() if key not in stored and value is not None}
    corrected = {key for key, value in batch.items() if key in stored and value != stored[key]}
    return (len(new), len(corrected), len(batch) - len(new) - len(corrected)), new | corrected


def test_rows_between_those_that_are_compared_are_not_read_on_and_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = {("a", START + minute * MINUTE): float(minute) for minute in range(3000)}
    hours = {key: value for key, value in minutes.items() if key[1].minute == START.minute}
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", frame_of(minutes), recorded_at=START)
    read: list[int] = []
    in_order = lookup.in_order

    def counted(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
        if "recorded_at" in names:
            read.append(rows.height)
        return in_order(rows, *names)

    monkeypatch.setattr(lookup, "_FIRST_ROWS", 5)
    monkeypatch.setattr(lookup, "in_order", counted)

    with reading(engine) as conn:
        found = observations.differing(conn, "bikes", frame_of(hours))

    assert found.is_empty()
    assert read == [241, 45]
