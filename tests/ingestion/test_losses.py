"""What is lost of rows is told by pattern, in bounded memory."""

import polars as pl
import pytest

from forecaster.ingestion import losses
from forecaster.ingestion.losses import Losses


def lost(stamps: list[str], keys: list[str] | None = None) -> Losses:
    """Losses of rows whose timestamps cannot be read."""
    return losses.find(
        pl.Series(["unreadable_timestamp"] * len(stamps), dtype=pl.String),
        pl.Series(keys or ["a"] * len(stamps), dtype=pl.String),
        pl.Series(stamps, dtype=pl.String),
        pl.Series([1.0] * len(stamps)),
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """As many groups as are kept apart."""
    monkeypatch.setattr(losses, "MOST_GROUPS", 10)
    return 10


def odd(count: int, start: int = 0) -> list[str]:
    """Texts of as many different shapes."""
    return [f"20{'-' * (start + place)}:" for place in range(count)]


def test_shapes_beyond_the_most_frequent_are_counted_together(few: int) -> None:
    found = lost([*odd(50), *["1-Foo 10:00"] * 5])

    assert found.rows == 55
    assert found.groups.height == few + 1
    assert found.groups.filter(shape=losses.OTHERS)["rows"].sum() == 55 - 5 - (few - 1)
    assert found.groups.filter(shape="0-a 00:00")["rows"].to_list() == [5]
    assert "55 unreadable_timestamp, in series 'a', such as" in found.described()
    assert "of the form" not in found.described()


def test_parts_of_ever_other_shapes_stay_as_small(few: int) -> None:
    found = Losses()
    for part in range(20):
        found += lost(odd(30, start=30 * part))

    assert found.rows == 600
    assert found.in_one_series == 600
    assert found.groups.height <= 2 * few + 2


def test_series_beyond_those_that_lose_most_are_counted_as_none(few: int) -> None:
    keys = [f"key {place:04}" for place in range(500)]

    found = lost([*odd(500), *odd(40)], [*keys, *["most"] * 40])
    found += lost([*odd(500), *odd(40)], [*[f"other {key}" for key in keys], *["most"] * 40])

    assert found.rows == 1080
    assert found.groups.height <= 2 * few + 2
    assert found.in_one_series == 80


def test_what_is_few_is_kept_as_it_is(few: int) -> None:
    found = lost(odd(few))

    assert losses.OTHERS not in found.groups["shape"]
    assert found.groups.height == few


def test_rows_without_a_cell_have_no_shape_among_others(few: int) -> None:
    keys = [f"key {place:04}" for place in range(50)]
    found = losses.find(
        pl.Series(["missing_timestamp"] * 50, dtype=pl.String),
        pl.Series(keys, dtype=pl.String),
        pl.Series([None] * 50, dtype=pl.String),
        pl.Series([1.0] * 50),
    )

    assert found.described() == "50 missing_timestamp"
    assert found.dated().rows == 0
