"""NormalizedRows: raw rows of every kind become observations, and each row is accounted for."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from forecaster.errors import DataError
from forecaster.ingestion.normalize import Columns, NormalizedRows, normalize
from forecaster.schemas import OBSERVATIONS

ZONE = "America/New_York"
EPOCH = 1_700_000_000
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def _intake(timestamps: Any, values: Any = None, zone: str | None = ZONE) -> NormalizedRows:
    count = len(timestamps)
    raw = pl.DataFrame(
        {
            "series_id": ["a"] * count,
            "timestamp": timestamps,
            "value": [1.0] * count if values is None else values,
        }
    )
    return normalize(raw, Columns(), timezone=zone)


def _instant(timestamp: Any, zone: str | None = ZONE) -> str:
    [found] = _intake(pl.Series([timestamp]), zone=zone).observations["timestamp"]
    return str(found.isoformat())


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-07-01T12:00:00Z", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01t12:00:00Z", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01 12:00:00z", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01 12:00:00 UTC", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01 12:00:00.25+00", "2024-07-01T12:00:00.250000+00:00"),
        ("2024-07-01T12:00:00+05:30", "2024-07-01T06:30:00+00:00"),
        ("2024-07-01 12:00:00 -0330", "2024-07-01T15:30:00+00:00"),
        ("2024-07-01T12:00Z", "2024-07-01T12:00:00+00:00"),
        ("2024-07-01 12:00:00", "2024-07-01T16:00:00+00:00"),
        ("2024-07-01T12:00:00.123456789", "2024-07-01T16:00:00.123456+00:00"),
        ("2024-07-01 12:00", "2024-07-01T16:00:00+00:00"),
        (" 2024-07-01 ", "2024-07-01T04:00:00+00:00"),
        ("1700000000", "2023-11-14T22:13:20+00:00"),
        ("1700000000.5", "2023-11-14T22:13:20.500000+00:00"),
        ("1700000000123", "2023-11-14T22:13:20.123000+00:00"),
        ("1700000000123456", "2023-11-14T22:13:20.123456+00:00"),
        ("-1700000000", "1916-02-18T01:46:40+00:00"),
        ("1958-03-29", "1958-03-29T05:00:00+00:00"),
        ("2024-11-03 01:30:00", "2024-11-03T05:30:00+00:00"),
        ("yesterday", None),
        ("2024-02-30", None),
        ("2024-01-01 24:00:00", "2024-01-02T05:00:00+00:00"),
        ("2024-01-01T00:00:00+25:00", None),
        ("20240131", "2024-01-31T05:00:00+00:00"),
        ("202401310930", "2024-01-31T14:30:00+00:00"),
        ("inf", None),
    ],
)
def test_text_is_read_as_iso_8601_or_an_epoch(text: str, instant: str | None) -> None:
    intake = _intake([text])

    if instant is None:
        assert intake.rejected == {"unreadable_timestamp": 1}
    else:
        assert intake.observations["timestamp"][0].isoformat() == instant


@pytest.mark.parametrize("naive", ["2024-07-01", "2024-07-01 12:00:00", date(2024, 7, 1)])
def test_naive_timestamps_need_a_declared_zone(naive: object) -> None:
    with pytest.raises(DataError, match="need a time zone, found '2024-07-01") as caught:
        _intake([naive], zone=None)

    assert "set timezone" in (caught.value.hint or "")


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.Int128, pl.UInt64])
def test_numbers_are_epochs_in_the_unit_of_their_magnitude(
    factor: int, dtype: type[pl.DataType]
) -> None:
    intake = _intake(pl.Series([1_700_000_000 * factor], dtype=dtype), zone=None)

    assert intake.observations["timestamp"][0] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_instants_keep_their_own_zone(unit: str) -> None:
    berlin = pl.Series([NOON]).cast(pl.Datetime(unit, "UTC")).dt.convert_time_zone("Europe/Berlin")  # type: ignore[arg-type]

    assert _intake(berlin, zone=None).observations["timestamp"][0] == NOON


def test_decimals_objects_and_nothing_are_timestamps_too() -> None:
    assert _instant(Decimal("1700000000.123456")) == "2023-11-14T22:13:20.123456+00:00"
    mixed = pl.Series([NOON, "2024-01-01", None], dtype=pl.Object)

    intake = _intake(mixed)

    assert len(intake.observations) == 2
    assert intake.rejected == {"missing_timestamp": 1}
    assert _intake(pl.Series([None, None])).rejected == {"missing_timestamp": 2}


def test_times_that_clocks_skip_are_rejected_and_dates_are_not() -> None:
    assert _intake(["2024-03-10 02:30:00"]).rejected == {"nonexistent_local_time": 1}
    assert _instant("2018-11-04", "America/Sao_Paulo") == "2018-11-04T03:00:00+00:00"
    assert _instant("2018-11-04 00:00:00", "America/Sao_Paulo") == "2018-11-04T03:00:00+00:00"
    assert _intake(["2018-11-04 00:30:00"], zone="America/Sao_Paulo").rejected
    assert _intake(["2011-12-30"], zone="Pacific/Apia").rejected == {"nonexistent_local_time": 1}


@pytest.mark.parametrize(
    "timestamps",
    [
        ["0001-01-01 00:00:00"],
        ["9999-12-31"],
        [datetime(1899, 12, 30, tzinfo=UTC)],
        [2**63 - 1],
        [-(2**63)],
        pl.Series([2**62]).cast(pl.Datetime("ms", "UTC")),
        pl.Series([-(2**62)]).cast(pl.Datetime("us")),
        pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date),
    ],
)
def test_placeholders_far_away_are_out_of_range(timestamps: Any) -> None:
    intake = _intake(timestamps)

    assert intake.rejected == {"timestamp_out_of_range": 1}
    assert intake.examples.keys() == intake.rejected.keys()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1.0), (" 2.5e3 ", 2500.0), ("-0", 0.0), (True, 1.0), (Decimal("1.25"), 1.25),
     (2**60, 2.0**60), (None, None), ("", None), (-0.0, 0.0), (1.7e308, 1.7e308)],
)  # fmt: skip
def test_values_are_numbers_or_gaps(value: object, expected: float | None) -> None:
    intake = _intake([EPOCH], pl.Series([value]))

    assert intake.observations["value"].to_list() == [expected]
    assert intake.rejected == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [("x", "unreadable_value"), ("1,5", "unreadable_value"), ("0x1", "unreadable_value"),
     ("nan", "non_finite_value"), ("1e400", "non_finite_value"), (float("nan"), "non_finite_value"),
     (float("-inf"), "non_finite_value")],
)  # fmt: skip
def test_other_values_are_rejected_with_an_example(value: object, reason: str) -> None:
    intake = _intake([EPOCH], [value])

    assert intake.rejected == {reason: 1}
    assert intake.examples[reason].startswith("series_id=a, timestamp=1700000000, value=")


def test_several_keys_are_joined_so_that_no_two_series_meet() -> None:
    raw = pl.DataFrame(
        {
            "region": ["x/y", "x", "x\\", "x", None],
            "store": ["z", "y/z", "/z", "\\/z", "z"],
            "timestamp": [EPOCH] * 5,
            "value": [1, 2, 3, 4, 5],
        }
    )

    intake = normalize(raw, Columns(series=("region", "store")), timezone=None)

    assert sorted(intake.observations["series_id"]) == [
        "x/\\\\\\/z", "x/y\\/z", "x\\/y/z", "x\\\\/\\/z",
    ]  # fmt: skip
    assert intake.rejected == {"missing_series_id": 1}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (pl.Series([7]), "7"),
        (pl.Series(["a/b"]), "a/b"),
        (pl.Series(["a"], dtype=pl.Categorical), "a"),
        (pl.Series([UUID(int=1)], dtype=pl.Object), str(UUID(int=1))),
        (pl.Series([True]), "true"),
    ],
)
def test_one_key_is_taken_as_it_is(keys: pl.Series, expected: str) -> None:
    raw = pl.DataFrame({"series_id": keys, "timestamp": [EPOCH], "value": [1]})

    assert normalize(raw, Columns(), timezone=None).observations["series_id"].to_list() == [
        expected
    ]


def test_keys_without_text_are_rejected() -> None:
    raw = pl.DataFrame(
        {"series_id": [None, "", "a\0b"], "timestamp": [EPOCH] * 3, "value": [1] * 3}
    )

    intake = normalize(raw, Columns(), timezone=None)

    assert intake.rejected == {"missing_series_id": 2, "unreadable_series_id": 1}


def test_repeated_rows_collapse_and_contested_ones_become_their_mean() -> None:
    values = [1.0, 1.0, 3.0, None, -0.0, 0.0, 1.7e308, 1.6e308, None, None]
    timestamps = [EPOCH + second for second in (0, 0, 0, 0, 60, 60, 120, 120, 180, 180)]

    intake = _intake(timestamps, values)

    assert intake.observations["value"].to_list() == [2.0, 0.0, pytest.approx(1.65e308), None]
    assert (intake.duplicates, intake.conflicting) == (3, 3)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (
            {"series_id": [1], "TIMESTAMP": [1], "value": [1]},
            "did you mean column 'TIMESTAMP' for 'timestamp'?",
        ),
        ({"series_id": [1], "ts": [1], "value": [1]}, "did you mean column 'ts' for 'timestamp'?"),
        (
            {"seriesid": [1], "timestamp": [1], "value": [1]},
            "did you mean column 'seriesid' for 'series_id'?",
        ),
        (
            {"unique_id": [1], "ds": [1], "y": [1]},
            "did you mean column 'unique_id' for 'series_id'?",
        ),
        ({}, "set it with series_columns"),
    ],
)
def test_missing_columns_are_named_with_what_was_found(
    columns: dict[str, list[int]], hint: str
) -> None:
    with pytest.raises(DataError, match=r"missing columns .*, found") as caught:
        normalize(pl.DataFrame(columns), Columns(), timezone=None)

    assert (caught.value.hint or "").startswith(hint)


@pytest.mark.parametrize(
    "columns",
    [{"timestamp": [True]}, {"timestamp": [[1]]}, {"value": [NOON]}, {"value": [[1]]},
     {"series_id": [[1]]}, {"value": [timedelta(1)]}],
)  # fmt: skip
def test_columns_of_the_wrong_type_are_named(columns: dict[str, list[object]]) -> None:
    raw = pl.DataFrame({"series_id": ["a"], "timestamp": [EPOCH], "value": [1], **columns})

    with pytest.raises(DataError, match=f"column '{next(iter(columns))}' must hold .*, found "):
        normalize(raw, Columns(), timezone="UTC")


def test_no_rows_give_no_observations() -> None:
    intake = _intake([])

    assert intake.observations.schema == OBSERVATIONS
    assert (intake.rejected, intake.duplicates, intake.conflicting) == ({}, 0, 0)
