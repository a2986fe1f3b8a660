"""Rows that are lost in mass: said, and never learnt around in silence."""

from dataclasses import replace
from datetime import timedelta
from io import BytesIO

import pytest

from forecaster.errors import DataError
from forecaster.store.connection.engine import reading
from forecaster.store.state import watermarks
from jobs import ingest
from jobs.stages import pull, pull_progress
from tests.jobs.small import LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import Place, Row

pytestmark = pytest.mark.quick_on("postgres")

HOURS = 120


def spoilt(key: str, night: int, *, last: int = LAST) -> list[Row]:
    """A series whose values before so many o'clock are no numbers."""
    stamps = [hour(last - HOURS + 1 + place) for place in range(HOURS)]
    return [(key, at, "ERR" if at.hour < night else str(float(at.hour))) for at in stamps]


@pytest.fixture
def texts(place: Place) -> Place:
    """A dataset whose values are text."""
    place.kinds = place.kinds._replace(value="text")
    return place


def refused(place: Place, rows: list[Row]) -> DataError:
    with pytest.raises(DataError) as caught:
        place.bring(rows, alone=True)
    return caught.value


def test_a_batch_that_loses_more_than_its_share_is_not_ingested(
    texts: Place,
) -> None:
    error = refused(texts, [*spoilt("a", 10), *spoilt("b", 10)])

    assert "100 of 240 rows were rejected" in error.message
    assert "at hours 0-9" in error.message
    assert "such as 'ERR'" in error.message
    assert "max_rejected 0.42" in (error.hint or "").replace(" = ", " ").replace("-", "_")
    assert texts.landed() == []


def test_the_share_that_may_be_lost_is_a_setting(texts: Place, check: Check) -> None:
    texts.declare(max_rejected=0.5)

    account = texts.bring([*spoilt("a", 10), *spoilt("b", 10)])

    assert (account.new, account.rejected, account.lost) == (140, {"unreadable_value": 100}, 0)
    check(texts, texts.forecast())


def test_one_unreadable_series_stops_no_other(texts: Place, check: Check) -> None:
    account = texts.bring(spoilt("sick", 24))

    assert (account.new, account.rejected) == (0, {"unreadable_value": HOURS})
    check(texts, texts.forecast())


def test_a_batch_of_which_nothing_can_be_read_is_refused_whatever_the_share(place: Place) -> None:
    place.kinds = place.kinds._replace(timestamp="text")
    place.declare(timezone="UTC", max_rejected=0.99)
    stamps = [f"{hour(LAST - back):%d/%m/%Y %H:%M}" for back in range(HOURS)]

    error = refused(place, [("a", stamp, 1.0) for stamp in stamps])

    assert "120 ambiguous_timestamp" in error.message
    assert "%d/%m/%Y %H:%M" in (error.hint or "")
    assert place.landed() == []


def test_a_declared_format_reads_what_is_ambiguous(place: Place) -> None:
    place.kinds = place.kinds._replace(timestamp="text")
    place.declare(timezone="UTC", timestamp_format="%d/%m/%Y %H:%M")
    rows = [("a", f"{hour(LAST - back):%d/%m/%Y %H:%M}", 1.0) for back in range(HOURS)]

    account = place.bring(rows, alone=True)

    assert (account.new, account.rejected, account.lost) == (HOURS, {}, 0)
    assert [at for at, _ in place.landed("a")] == [
        hour(LAST - back) for back in reversed(range(HOURS))
    ]


def test_a_declared_decimal_reads_values_with_a_comma(texts: Place) -> None:
    texts.declare(decimal=",")
    rows: list[Row] = [("a", hour(LAST - back), f"1.00{back % 10},5") for back in range(HOURS)]

    account = texts.bring(rows, alone=True)

    assert (account.new, account.rejected) == (HOURS, {})
    assert {value for _, value in texts.landed("a")} == {1000.5 + digit for digit in range(10)}


def test_values_with_a_comma_are_refused_with_both_readings_named(texts: Place) -> None:
    error = refused(texts, [("a", hour(LAST - back), "1,234") for back in range(HOURS)])

    assert "of the form '0,000'" in error.message
    assert "thousands" in (error.hint or "")
    assert texts.landed() == []


@pytest.mark.parametrize("word", ["NA", "n/a", "null", "-", ""])
def test_words_for_no_value_are_gaps_and_no_loss(texts: Place, word: str) -> None:
    rows: list[Row] = [("a", hour(LAST - back), word) for back in range(HOURS)]

    account = texts.bring([*rows, ("b", hour(LAST), "1")])

    assert account.rejected == {}
    assert account.lost == 0


def test_a_first_pull_that_is_refused_is_refused_until_something_changes(source: Place) -> None:
    source.kinds = source.kinds._replace(value="text")
    source.arrive([*spoilt("a", 10), *spoilt("b", 10)])

    for _ in range(2):
        with pytest.raises(DataError, match="100 of 240 rows were rejected"):
            source.pull()
    source.alter("UPDATE {} SET reading = '1' WHERE reading = ?", "ERR")

    assert source.pull().new == 240


def test_a_few_bad_rows_of_a_small_pull_stop_nothing(source: Place) -> None:
    source.kinds = source.kinds._replace(value="text")
    source.bring(spoilt("a", 0))
    source.now = hour(LAST + 3)
    for late in (1, 2, 3):
        source.arrive([("a", hour(LAST + late), "ERR")])

    report = source.pull()

    assert (report.new, report.rejected) == (0, {"unreadable_value": 3})


def test_an_hour_that_no_series_can_be_read_at_stops_nothing(source: Place) -> None:
    source.kinds = source.kinds._replace(value="text")
    source.bring([row for key in "abcdefghijklmnop" for row in spoilt(key, 0)], alone=True)
    source.now = hour(LAST + 2)
    source.arrive([(key, hour(LAST + 1), "ERR") for key in "abcdefghijklmnop"])
    source.arrive([(key, hour(LAST + 2), "1") for key in "abcdefghijklmnop"])

    report = source.pull()

    assert (report.new, report.rejected) == (16, {"unreadable_value": 16})


def test_a_source_that_changes_its_format_is_reported_and_readable_rows_are_kept(
    source: Place,
) -> None:
    source.kinds = source.kinds._replace(value="text")
    source.bring([*spoilt("a", 0), *spoilt("b", 0)], alone=True)
    source.now = hour(LAST + 30)
    late = [hour(LAST + count) for count in range(1, 31)]
    source.arrive([(key, at, "ERR" if at.hour < 12 else "1") for key in "ab" for at in late])

    with pytest.raises(DataError, match="unreadable_value") as caught:
        pull.run(source.engine, source.world.dataset, now=source.now)

    assert "at hours 0-11" in caught.value.message
    kept = [at for at in late if at.hour >= 12]
    assert len(source.landed("a")) == HOURS + len(kept)
    with reading(source.engine) as conn:
        assert watermarks.get(conn, source.name, pull_progress.WATERMARK) == kept[-1]


@pytest.mark.parametrize("written", ["%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%y %H:%M"])
@pytest.mark.parametrize("old", [0, 30])
def test_timestamps_that_are_spelled_otherwise_from_now_on_fail_the_pull(
    source: Place, written: str, old: int
) -> None:
    source.kinds = source.kinds._replace(timestamp="text")
    source.declare(timezone="UTC")
    rows = [(key, hour(LAST - back)) for key in "ab" for back in range(60 * 24)]
    source.arrive([(key, f"{at:%Y-%m-%d %H:%M}", 1.0) for key, at in rows])
    source.arrive([("c", f"{at:{written}}", 1.0) for _, at in rows[24 * 20 :][:old]])
    source.pull()

    for late in range(1, 25):
        source.now = hour(LAST + late)
        source.arrive([(key, f"{source.now:{written}}", 1.0) for key in "ab"])
        if late in (3, 24):
            source.arrive([("c", f"{source.now:%Y-%m-%d %H:%M}", 1.0)])
        if late < 10:
            assert source.pull().rejected == {"ambiguous_timestamp": 2 * late + old}
    with pytest.raises(DataError, match=r"48 of [0-9]+ rows were rejected") as caught:
        source.pull()

    assert "ambiguous_timestamp, all of the form '00" in caught.value.message
    assert len(source.landed("c")) == 2


@pytest.mark.parametrize("written", ["%d/%m/%Y %H:%M", "error %j %H"])
def test_old_rows_that_no_pull_can_read_stop_no_pull_of_what_is_new(
    source: Place, written: str
) -> None:
    source.kinds = source.kinds._replace(timestamp="text")
    source.declare(timezone="UTC")
    rows = [(key, hour(LAST - back)) for key in "abc" for back in range(HOURS)]
    source.arrive([(key, f"{at:%Y-%m-%d %H:%M}", 1.0) for key, at in rows])
    source.arrive([(key, f"{at:{written}}", 1.0) for key, at in rows[::10]])
    source.declare(max_rejected=0.2)
    first = source.pull()
    assert (first.new, sum(first.rejected.values())) == (3 * HOURS, 36)

    for late in (1, 2):
        source.now = hour(LAST + late)
        source.arrive([(key, f"{source.now:%Y-%m-%d %H:%M}", 1.0) for key in "abc"])
        report = source.pull()
        source.declare(max_rejected=0.05)

        assert (report.new, sum(report.rejected.values())) == (3, 36)


def test_what_no_pull_can_use_is_shown_in_the_run_that_failed(source: Place) -> None:
    source.kinds = source.kinds._replace(value="text")
    source.arrive([*spoilt("a", 10), *spoilt("b", 10)])

    outcome = source.world.tick("forecast", hour(LAST))

    assert outcome.result == "failed"
    assert "100 of 240 rows were rejected" in str(outcome.error)


@pytest.mark.parametrize("at_once", [7, 50, 10_000])
def test_a_file_is_checked_completely_before_its_first_row_is_ingested(
    file: Place, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(ingest, "ROWS_AT_ONCE", at_once)
    good = [f"a,{hour(LAST - back):%Y-%m-%dT%H:%MZ},1" for back in range(HOURS)]
    bad = [f"a,{hour(LAST - HOURS - back):%d/%m/%Y},1" for back in range(HOURS)]
    content = "\n".join(["series_id,timestamp,value", *good, *bad])
    dataset = replace(file.world.dataset, history=timedelta(days=365))

    with pytest.raises(DataError, match="120 of 240 rows were rejected"):
        ingest.run(file.engine, dataset, BytesIO(content.encode()), file_format="csv", now=file.now)
    assert file.landed() == []

    lenient = replace(dataset, max_rejected=0.5)
    report = ingest.run(
        file.engine, lenient, BytesIO(content.encode()), file_format="csv", now=file.now
    )
    assert (report.rows, report.new) == (240, HOURS)


@pytest.mark.parametrize(
    "content",
    [
        b"series_id;timestamp;value\na;2026-01-01;1.5\n",
        b"sep=|\nseries_id|timestamp|value\na|2026-01-01|1.5\n",
        "\ufeffseries_id\ttimestamp\tvalue\na\t2026-01-01\t1.5\n".encode(),
        "# by a meter\nseries_id,timestamp,value\na,2026-01-01,1.5\n".encode("utf-16"),
        b'"series_id" , timestamp , "value"\na,2026-01-01,1.5\n',
    ],
    ids=["semicolons", "sep=", "tabs after a mark", "UTF-16 after a comment", "blanks"],
)
def test_text_in_other_files_is_read_or_refused(file: Place, content: bytes) -> None:
    file.declare(timezone="UTC", history=timedelta(days=365))

    report = ingest.run(
        file.engine, file.world.dataset, BytesIO(content), file_format="csv", now=file.now
    )

    assert (report.rows, report.new) == (1, 1)
    with pytest.raises(DataError, match="UTF-8"):
        ingest.run(
            file.engine,
            file.world.dataset,
            BytesIO(b"series_id,timestamp,value\n\xff,2026-01-01,1\n"),
            file_format="csv",
            now=file.now,
        )


def test_a_file_without_values_is_refused_and_one_that_withdraws_is_not(file: Place) -> None:
    known: list[Row] = [("a", hour(LAST - back), 1.0) for back in range(3)]
    nulls: list[Row] = [(key, at, None) for key, at, _ in known]

    assert "3 rows without a value" in refused(file, nulls).message
    file.bring(known, alone=True)
    assert file.bring(nulls).corrected == 3
    assert file.bring(nulls).unchanged == 3
    assert file.bring([*nulls, ("b", hour(LAST), None)]).unchanged == 4
    assert "1 row without" in refused(file, [("b", hour(LAST), None)]).message
