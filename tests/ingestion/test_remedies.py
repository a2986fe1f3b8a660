"""Rows that are rejected: how many are too many, what they have in common, what leads on."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecaster.errors import DataError
from forecaster.ingestion import normalize, remedies
from forecaster.ingestion.normalize import Columns, NormalizedRows
from forecaster.ingestion.remedies import ReadRows

FIRST = datetime.fromisoformat("2026-01-01")
HOURS = [FIRST + timedelta(hours=count) for count in range(504)]
ISO = [f"{at:%Y-%m-%d %H:%M}" for at in HOURS]


def taken(
    stamps: Sequence[object],
    values: Sequence[object] | None = None,
    keys: Sequence[str] | None = None,
    **spelled: Any,
) -> NormalizedRows:
    raw = pl.DataFrame(
        {
            "series_id": keys or ["a"] * len(stamps),
            "timestamp": stamps,
            "value": values or ["1"] * len(stamps),
        }
    )
    return normalize.normalize(raw, Columns(), timezone="UTC", **spelled)


def batch(found: NormalizedRows, rows: int = len(HOURS), declared: str | None = None) -> ReadRows:
    kept = found.observations.height
    return ReadRows(name="rows.csv", rows=rows, kept=kept, lost=found.lost, declared=declared)


def refusal(
    of: ReadRows,
    most: float = 0.05,
    rule: Callable[[ReadRows, float], None] = remedies.require_file,
) -> DataError:
    with pytest.raises(DataError) as caught:
        rule(of, most)
    return caught.value


def test_a_refusal_names_the_hours_and_the_spelling_of_what_is_lost() -> None:
    told = refusal(batch(taken([f"{at:%Y-%m-%d} {at.hour}h{at:%M}" for at in HOURS])))
    nights = refusal(batch(taken(ISO, ["ERR" if at.hour < 10 else "1" for at in HOURS])))

    assert told.message == (
        "rows.csv: 504 of 504 rows were rejected, none are left: 504 unreadable_timestamp, all of "
        "the form '0000-00-00 00a00' or '0000-00-00 0a00', in series 'a', such as "
        "'2026-01-01 0h00'"
    )
    assert "2026-01-31 9:00" in (told.hint or "")
    assert "timestamp_format" in (told.hint or "")
    assert nights.message == (
        "rows.csv: 210 of 504 rows were rejected, more than max_rejected (5%): 210 "
        "unreadable_value, all of the form 'a', at hours 0-9, in series 'a', such as 'ERR'"
    )
    assert "max_rejected = 0.42" in (nights.hint or "")


@pytest.mark.parametrize(
    ("spelling", "days", "named"),
    [
        ("%d/%m/%Y %H:%M", 21, ['"%d/%m/%Y %H:%M"']),
        ("%m/%d/%Y", 21, ['"%m/%d/%Y"']),
        ("%d.%m.%Y %H:%M:%S", 12, ['"%d.%m.%Y %H:%M:%S"', '"%m.%d.%Y %H:%M:%S"']),
        ("%m/%d/%Y %I:%M %p", 21, ['"%m/%d/%Y %I:%M %p"']),
        ("%y-%m-%d", 12, ['"%y-%m-%d"', '"%d-%m-%y"']),
    ],
)
def test_a_hint_names_the_formats_that_are_possible_and_no_other(
    spelling: str, days: int, named: Sequence[str]
) -> None:
    stamps = [at.strftime(spelling) for at in HOURS[: 24 * days]]

    found = taken(stamps)

    hint = refusal(batch(found, rows=len(stamps))).hint or ""
    assert [form in hint for form in named] == [True] * len(named)
    assert hint.count("timestamp_format = ") == len(named)
    right = named[0].strip('"')
    assert taken(stamps, timestamp_format=right).rejected == {}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["0,5", "1,234"], ['decimal = ","']),
        (["1.234,5"], ['decimal = ","']),
        (["1,234"], ['decimal = ","', 'decimal = "."']),
        (["1,234,567"], ['decimal = "."']),
        (["1,234.5"], ['decimal = "."']),
        (["1 234"], ['decimal = "." or ","']),
        (["5 %"], ["plain numbers"]),
    ],
)
def test_a_hint_names_what_a_comma_may_stand_for(
    values: Sequence[str], named: Sequence[str]
) -> None:
    cells = [values[place % len(values)] for place in range(len(HOURS))]

    hint = refusal(batch(taken(ISO, cells))).hint or ""

    assert all(each in hint for each in named)
    assert hint.count("decimal = ") == sum("decimal" in each for each in named)


@pytest.mark.parametrize(
    ("decimal", "text", "value"),
    [
        (",", "1.234,5", 1234.5),
        (",", "1 234,5", 1234.5),
        (",", "1\u202f234,5", 1234.5),
        (",", "1'234'567", 1234567.0),
        (",", ",5", 0.5),
        (",", "-1,5e3", -1500.0),
        (",", "−3", -3.0),
        (",", "1.5", None),
        (",", "1.234.5", None),
        (",", "5 %", None),
        (".", "1,234.5", 1234.5),
        (".", "1234.5", 1234.5),
        (".", "1,5", None),
        (".", "€ 5", None),
        (None, "1,5", None),
        (None, "1 234", None),
        (None, "1.234", 1.234),
    ],
)
def test_a_declared_decimal_lets_thousands_be_parted(
    decimal: str | None, text: str, value: float | None
) -> None:
    declared = {} if decimal is None else {"decimal": decimal}

    found = taken(ISO[:1], [text], **declared)

    assert found.observations["value"].to_list() == ([] if value is None else [value])
    assert found.rejected == ({"unreadable_value": 1} if value is None else {})


@pytest.mark.parametrize("word", ["NA", "n/a", "#N/A", "null", "None", "-", "", "  ", "<NA>"])
def test_words_for_no_value_are_gaps(word: str) -> None:
    found = taken(ISO[:1], [word])

    assert found.observations["value"].to_list() == [None]
    assert found.rejected == {}


@pytest.mark.parametrize("lost", [0, 2, 25, 26, 60, 504])
def test_a_file_may_lose_a_share_of_its_rows(lost: int) -> None:
    found = batch(taken(ISO, ["x"] * lost + ["1"] * (len(ISO) - lost)))

    if lost <= 25:
        remedies.require_file(found, 0.05)
    else:
        refusal(found)
    if lost < len(ISO):
        remedies.require_file(found, 1.0)


def test_values_that_are_not_finite_are_gaps_and_no_loss() -> None:
    found = taken(ISO, [float("nan")] * len(ISO))

    assert found.lost.rows == 0
    remedies.require_full(batch(found), 0.0)
    remedies.require_file(batch(taken(ISO, [float("nan")] * 503 + [1.0])), 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1e999"])
def test_a_file_must_have_a_row_to_use(value: object) -> None:
    told = refusal(batch(taken(ISO, [value] * len(ISO))), 1.0)

    assert told.message == "rows.csv has no usable values: no finite value in 504 rows"
    assert "no rows" in refusal(batch(taken(ISO[:0]), rows=0), 1.0).message


@pytest.mark.parametrize("rule", [remedies.require_full, remedies.require_newest])
def test_one_sick_series_stops_no_other_and_two_do(
    rule: Callable[[ReadRows, float], None],
) -> None:
    keys = [f"s{place % 4}" for place in range(len(ISO))]

    def sick(*names: str) -> ReadRows:
        return batch(taken(ISO, ["x" if key in names else "1" for key in keys], keys))

    rule(sick("s1"), 0.05)
    assert "252 of 504" in refusal(sick("s1", "s2"), rule=rule).message
    assert (
        "in series 's0'" in refusal(batch(taken(ISO, ["x"] * 504, ["s0"] * 504)), rule=rule).message
    )


def test_an_instant_that_no_series_can_be_read_at_is_no_pattern() -> None:
    keys = [f"s{place % 100}" for place in range(300)]
    stamps = [ISO[place // 100] for place in range(300)]
    values = ["ERR" if place < 100 else "1" for place in range(300)]

    found = batch(taken(stamps, values, keys), rows=300)

    remedies.require_newest(found, 0.05)
    refusal(found, rule=remedies.require_full)


def test_rows_that_come_along_with_every_pull_do_not_count_against_what_is_new() -> None:
    stamps = [datetime(9999, 1, day + 1) for day in range(20)] + HOURS[:3]  # noqa: DTZ001

    found = batch(taken(stamps), rows=23)

    remedies.require_newest(found, 0.05)
    refusal(found, rule=remedies.require_file)


@pytest.mark.parametrize(
    "written",
    ["{:%d/%m/%Y %H:%M}", "error {:%j}", "{:%d-%b-%y}", "0000-{:%m-%dT%H:%M}", "9999-{:%m-%d}"],
)
def test_text_that_comes_along_with_every_pull_does_not_count_either(written: str) -> None:
    stamps = [written.format(at) for at in HOURS[::24]] + ISO[:6]
    keys = ["a", "b"] * (len(stamps) // 2) + ["a"] * (len(stamps) % 2)

    found = batch(taken(stamps, keys=keys), rows=len(stamps))

    remedies.require_newest(found, 0.05)
    assert "21 of 27 rows were rejected" in refusal(found).message


def test_what_comes_along_neither_hides_nor_makes_up_a_loss_of_what_is_new() -> None:
    old, keys = [f"{at:%d/%m/%Y %H:%M}" for at in HOURS], ["a", "b"] * 252

    def mixed(lost: int) -> ReadRows:
        stamps, values = old + ISO[:20], ["1"] * 504 + ["ERR"] * lost + ["1"] * (20 - lost)
        return batch(taken(stamps, values, [*keys, *keys[:20]]), rows=524)

    remedies.require_newest(mixed(9), 0.05)
    told = refusal(mixed(20), rule=remedies.require_newest)
    assert "20 of 20 rows were rejected, none are left: 20 unreadable_value" in told.message


def test_losses_of_parts_add_up() -> None:
    cells = ["x" if at.hour < 10 else "1" for at in HOURS]
    whole = taken(ISO, cells).lost
    parts = taken(ISO[:100], cells[:100]).lost + taken(ISO[100:], cells[100:]).lost

    assert parts.rows == whole.rows == 210
    assert parts.instants == whole.instants == 210
    assert parts.described() == whole.described()
