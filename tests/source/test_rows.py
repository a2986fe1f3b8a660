from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from forecaster.schemas import INSTANT
from forecaster.source.rows import gather

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKYO = NOON.astimezone(timezone(timedelta(hours=9)))
NAIVE = NOON.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([None, None], pl.Null(), [None, None]),
        ([1, None, -(2**63) + 1], pl.Int64(), [1, None, -(2**63) + 1]),
        ([True, 2], pl.Int64(), [1, 2]),
        ([2**70, None], pl.Float64(), [2.0**70, None]),
        ([1, 2.5, Decimal("0.25")], pl.Float64(), [1.0, 2.5, 0.25]),
        ([NOON, TOKYO, None], INSTANT, [NOON, NOON, None]),
        ([NAIVE, None], pl.Datetime("us"), [NAIVE, None]),
        ([date(2026, 11, 20)], pl.Date(), [date(2026, 11, 20)]),
        (["a", None], pl.String(), ["a", None]),
        ([UUID(int=7)], pl.String(), ["00000000-0000-0000-0000-000000000007"]),
        ([1, "a", 2.5], pl.String(), ["1", "a", "2.5"]),
        ([NAIVE, NOON], pl.String(), ["2026-11-20 12:00:00", "2026-11-20 12:00:00+00:00"]),
    ],
)
def test_a_column_gets_the_type_that_holds_all_its_values(
    values: list[Any], dtype: pl.DataType, expected: list[Any]
) -> None:
    found = gather(["x"], [[(value,) for value in values]])["x"]

    assert found.dtype == dtype
    assert found.to_list() == expected


def test_parts_of_different_types_become_one_column() -> None:
    parts = [[(value,)] * 50_000 for value in (None, 1, 2.5)]

    assert gather(["x"], parts)["x"].unique(maintain_order=True).to_list() == [None, 1.0, 2.5]
    assert gather(["x"], [*parts, [("a",)]])["x"].to_list()[-1] == "a"
    assert gather(["x", "y"], []).columns == ["x", "y"]
