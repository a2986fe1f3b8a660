"""Opening hours: what is read, what is refused, and what is written back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config.dump import to_toml
from forecaster.times.opening_hours import DAY, WEEK, OpeningHours
from tests.config.configs import dataset, parsed, problems_of


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mon-fri 08:00-20:00", "mon-fri 08:00-20:00"),
        ("mon-fri 8:00-20:00, Sat 09:00-13:00", "mon-fri 08:00-20:00, sat 09:00-13:00"),
        ("08:00-20:00", "mon-sun 08:00-20:00"),
        ("08:00-12:00, 13:00-17:00", "mon-sun 08:00-12:00 13:00-17:00"),
        ("mon-fri", "mon-fri"),
        ("saturday sunday", "sat-sun"),
        ("Mo-Fr 09:00–17:00", "mon-fri 09:00-17:00"),
        (
            "mon wed 08:00-12:00 14:00-18:00",
            "mon 08:00-12:00 14:00-18:00, wed 08:00-12:00 14:00-18:00",
        ),
        ("fri-sat 18:00-02:00", "fri-sat 18:00-02:00"),
        ("sun 22:00-06:00", "sun 22:00-06:00"),
        ("sat-mon 10:00-11:00", "mon 10:00-11:00, sat-sun 10:00-11:00"),
        ("sat 12:00-24:00, sun 00:00-12:00", "sat 12:00-24:00, sun 00:00-12:00"),
        ("mon 08:00-12:00, mon 11:00-14:00", "mon 08:00-14:00"),
        ("mon-sun 00:00-24:00", "mon-sun"),
    ],
)
def test_hours_are_read_and_written(text: str, written: str) -> None:
    assert str(OpeningHours.parse(text)) == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "mon, wed 08:00-12:00",
            'write "mon wed 08:00-12:00" if both have these times, or "mon 00',
        ),
        ("mon-fri 08:00-12:00, 14:00-18:00", 'or "mon-fri 08:00-12:00, mon-sun 14:00-18:00"'),
        ("08:00-08:00", "write 00:00-24:00 for a whole day"),
        ("8-20", "two times of a 24-hour clock"),
        ("mon-fri 8am-5pm", "two times of a 24-hour clock"),
        ("08:60-09:00", "two times of a 24-hour clock"),
        ("25:00-26:00", "two times of a 24-hour clock"),
        ("24:00-06:00", "00:00 of the next day"),
        ("feiertag 08:00-12:00", "a day of the week"),
        ("t 08:00-12:00", "a day of the week"),
        ("mon 08:00-12:00 tue", "a comma before the next days"),
        ("mon-tue-wed", "one day or two with a hyphen"),
        ("mon 08:00-12:00,", "rules separated by commas"),
        ("", "days and times"),
        ("mon " * 1000, "days and times"),
    ],
)
def test_hours_that_say_nothing_or_two_things_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        OpeningHours.parse(text)
    assert said in str(caught.value)


stretches = st.lists(
    st.tuples(st.integers(0, WEEK - 1), st.integers(1, WEEK)).map(lambda s: (s[0], sum(s))),
    min_size=1,
    max_size=6,
)


@given(stretches)
def test_hours_are_read_as_they_are_written(given_stretches: list[tuple[int, int]]) -> None:
    hours = OpeningHours.of(given_stretches)
    assert OpeningHours.parse(str(hours)) == hours


@given(stretches)
def test_stretches_are_sorted_and_apart(given_stretches: list[tuple[int, int]]) -> None:
    found = OpeningHours.of(given_stretches).intervals
    minutes = {
        minute % WEEK
        for first, end in given_stretches
        for minute in range(first, min(end, 2 * WEEK))
    }
    assert sum(end - first for first, end in found) == len(minutes)
    assert all(before[1] < after[0] for before, after in pairwise(found))


def test_a_day_is_closed_where_no_rule_names_it() -> None:
    assert OpeningHours.parse("mon-fri").intervals == ((0, 5 * DAY),)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("auto", "auto"),
        ("always", "always"),
        ("00:00-24:00", "always"),
        ("Mon-Fri 8:00-20:00", "mon-fri 08:00-20:00"),
    ],
)
def test_opening_hours_are_read_and_written_back(given: str, read: str) -> None:
    config = parsed(dataset(f'[datasets.x.calendar]\nopen = "{given}"'))

    assert config.datasets["x"].calendar.open == read
    assert parsed(to_toml(config)).datasets["x"] == config.datasets["x"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('calendar.open = "8-20"', "calendar.open: must be two times of a 24-hour clock"),
        ('calendar.open = "sql://me:pw@h"', "calendar.open: must be a day of the week, one of mon"),
        ("calendar.open = true", "calendar.open: must be text, found true"),
        ("calendar.closed = 1", "calendar.closed: unknown setting"),
        (
            'calendar.open = "mon, tue 8:00-9:00"',
            "calendar.open: must be unambiguous, found 'mon, tue 8:00-9:00': write",
        ),
    ],
)
def test_wrong_hours_are_named_with_their_rule(line: str, problem: str) -> None:
    [found] = problems_of(dataset(line))

    assert found.startswith(f"datasets.x.{problem}")
