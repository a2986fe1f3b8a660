"""Keys: the exact digits of numbers, the same from every type; text as it is."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.ingestion.normalize import Columns, NormalizedRows, normalize
from forecaster.ingestion.series_keys import INEXACT, key_text, text_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def named(keys: pl.Series) -> NormalizedRows:
    raw = pl.DataFrame({"series_id": keys, "timestamp": [NOON] * len(keys), "value": 1.0})
    return normalize(raw, Columns(), timezone=None)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (0.1, "0.1"), (1e5, "100000"), (-2.50, "-2.5"),
        (1e-7, "0.0000001"), (2.0**53 - 1, "9007199254740991"), (Decimal("1.50"), "1.5"),
        (Decimal("-0.00"), "0"),
        (Decimal("100"), "100"), (Decimal("1E+3"), "1000"), (Decimal("9007199254740993.0"),
        "9007199254740993"), (2**70, "1180591620717411303424"), (True, "true"), (b"\0a", "\\x0061"),
        ("007", "007"), ("1.0", "1.0"), ("1e5", "1e5"), (" 1 ", " 1 "), (None, None),
        (float("nan"), None), (float("-inf"), None), (Decimal("NaN"), None),
        (date(2026, 11, 20), "2026-11-20"), (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("1E+999999999"), "1E+999999999"),
    ],
)  # fmt: skip
def test_a_key_is_the_exact_number_or_the_text_itself(key: object, text: str | None) -> None:
    assert text_of(key) == text


@pytest.mark.parametrize(
    ("keys", "texts"),
    [
        (pl.Series([1, None, 3], dtype=pl.Float64), ["1", None, "3"]),  # as pandas keeps NULL
        (pl.Series([1.0, 0.1, 16_777_215], dtype=pl.Float32), ["1", "0.1", "16777215"]),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), ["1", "18446744073709551615"]),
        (pl.Series([-(2**126)], dtype=pl.Int128), [str(-(2**126))]),
        (pl.Series([Decimal("1.00"), Decimal("1.50"), Decimal("100.00")]), ["1", "1.5", "100"]),
        (pl.Series([100, None], dtype=pl.Decimal(38, 0)), ["100", None]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([b"\x00\xff"]), ["\\x00ff"]),
        (pl.Series([NOON]).cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo"),
         ["2026-11-20 12:00:00.000000+00:00"]),
        (pl.Series([Decimal("9007199254740993"), 1, 1.5, "x"], dtype=pl.Object),
         ["9007199254740993", "1", "1.5", "x"]),
        (pl.Series([], dtype=pl.Float64), []),
    ],
)  # fmt: skip
def test_columns_of_every_type_name_series(keys: pl.Series, texts: list[Any]) -> None:
    assert key_text(keys).to_list() == texts


@pytest.mark.parametrize("keys", [pl.Series([[1]]), pl.Series([NOON - NOON])])
def test_a_column_that_names_nothing_is_refused(keys: pl.Series) -> None:
    with pytest.raises(DataError, match="must hold text or numbers"):
        named(keys)


@pytest.mark.parametrize(
    ("dtype", "first"), [(pl.Float64, 2**53), (pl.Float32, 2**24)], ids=["float64", "float32"]
)
def test_floats_that_may_be_several_whole_numbers_are_rejected(
    dtype: type[pl.DataType], first: int
) -> None:
    found = named(pl.Series([first - 1, first, first + 2, -first, 1e30], dtype=dtype))

    assert found.observations["series_id"].to_list() == [str(first - 1)]
    assert found.rejected == {"inexact_series_id": 4}
    assert INEXACT not in found.examples["inexact_series_id"]


def test_a_float_among_several_keys_is_rejected_too() -> None:
    raw = pl.DataFrame({"a": ["x", "x"], "b": [2.0**53, 1], "timestamp": [NOON] * 2, "value": 1.0})

    found = normalize(raw, Columns(series=("a", "b")), timezone=None)

    assert found.observations["series_id"].to_list() == ["x/1"]
    assert found.rejected == {"inexact_series_id": 1}


WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)


@given(st.lists(st.one_of(WHOLE, WHOLE.map(float), st.decimals(-999, 999, places=2)), min_size=1))
def test_numbers_are_one_series_if_and_only_if_they_are_equal(numbers: list[Any]) -> None:
    by_text: dict[str | None, set[object]] = {}
    for number in numbers:
        by_text.setdefault(text_of(number), set()).add(number)

    assert len(by_text) == len(set(numbers))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_never_merged(numbers: list[float]) -> None:
    texts = key_text(pl.Series(numbers, dtype=pl.Float64)).to_list()

    exact = {text: number for text, number in zip(texts, numbers, strict=True)
             if not text.startswith(INEXACT)}  # fmt: skip
    assert all(float(text) == number for text, number in exact.items())
    assert [text_of(number) for number in numbers] == texts


@given(st.lists(st.decimals(-(10**9), 10**9, places=3), min_size=1))
def test_decimals_are_named_alike_as_column_and_alone(numbers: list[Decimal]) -> None:
    column = pl.Series(numbers, dtype=pl.Decimal(20, 3))

    assert key_text(column).to_list() == [text_of(number) for number in numbers]
