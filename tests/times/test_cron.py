"""Cron expressions: what they name, and what is said of a wrong one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.times.cron import MACROS, Crontab


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("@daily", "0 0 * * *"),
        (" 0  6 * * MON-FRI ", "0 6 * * 1-5"),
        ("0 0 * * 7", "0 0 * * sun"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("0-10/5 0 * * *", "0,5,10 0 * * *"),
        ("0 0 1 jan-mar *", "0 0 1 1,2,3 *"),
    ],
)
def test_an_expression_may_be_written_in_several_ways(expression: str, same: str) -> None:
    assert Crontab.parse(expression) == Crontab.parse(same)


@pytest.mark.parametrize(
    ("expression", "is_either"),
    [("0 0 1 * mon", True), ("0 0 * * mon", False), ("0 0 */2 * mon", False)],
)
def test_a_day_of_the_month_or_of_the_week_is_enough_where_both_are_given(
    expression: str, is_either: bool
) -> None:
    assert Crontab.parse(expression).either_day is is_either


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("60 * * * *", "minute must be a number from 0 to 59, found '60'; did you mean '0'?"),
        ("0 24 * * *", "hour must be a number from 0 to 23, found '24'; did you mean '0'?"),
        ("0 6 * *", "must have five fields (minute, hour, day of month, month, day of week), "
                    'such as "0 6 * * mon-fri", found 4'),
        ("0 0 6 * * *", "must have five fields (minute, hour, day of month, month, day of week), "
                        "such as \"0 6 * * mon-fri\", found 6; did you mean '0 6 * * *'?"),
        ("@dayly", f"must be one of {', '.join(MACROS)}, found '@dayly'; did you mean '@daily'?"),
        ("0 6 * * monday", "day of week must be a number from 0 to 7, or sun to sat, "
                           "found 'monday'; did you mean 'mon'?"),
        ("0 6 * jamuary *", "month must be a number from 1 to 12, or jan to dec, "
                            "found 'jamuary'; did you mean 'jan'?"),
        ("0 22-2 * * *", "hour must be a range that ends after it begins, found '22-2'; "
                         "did you mean '22-23,0-2'?"),
        ("0 6 ? * *", "day of month must be a number, a range such as 1-5, or a step such as */2, "
                      "found '?'; did you mean '*'?"),
        ("5/15 * * * *", "minute must be a range before its step, found '5/15'; "
                         "did you mean '5-59/15'?"),
        ("*/0 * * * *", "minute must be a step from 1 to 59, found '*/0'"),
        ("*-5 * * * *", "minute must be a range of two numbers, found '*-5'; did you mean '*'?"),
        ("0 0 0 * *", "day of month must be a number from 1 to 31, found '0'"),
        ("0 0 31 2 *", "day of month must be at most 29 in month 2, found '31': "
                       "it would never fire"),
        ("0 0 31 4,6 *", "day of month must be at most 30 in month 4,6, found '31': "
                         "it would never fire"),
    ],
)  # fmt: skip
def test_a_wrong_expression_is_told_field_by_field_with_what_was_meant(
    expression: str, problem: str
) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        Crontab.parse(expression)

    assert str(caught.value) == problem


def test_a_day_that_no_month_has_may_stand_beside_a_day_of_the_week() -> None:
    assert Crontab.parse("0 0 31 2 mon").either_day


fields = st.text("0123456789*/-,?Lmonsujan", max_size=8)


@given(st.lists(fields, min_size=4, max_size=6).map(" ".join) | st.text(max_size=20))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = Crontab.parse(text)
        assert found.times
        assert found.months


def test_every_field_that_is_wrong_is_told() -> None:
    with pytest.raises(ValueError, match=r"minute must be .* '61'; day of week must be .* 'mun'"):
        Crontab.parse("61 * * * mun")
