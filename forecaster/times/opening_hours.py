"""Opening hours as text, and as ranges of minutes of the week.

`mon-fri 08:00-20:00, sat 09:00-13:00` is two rules: days, then one range of times or more. Without
times a rule means whole days, without days it means every day. A range that ends at or before its
start ends on the next day. Times are those of the wall clock; the caller knows the zone.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

DAY, WEEK = 1_440, 10_080
"""In minutes."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_LONGEST = 2_000
_SUCH_AS = 'such as "mon-fri 08:00-20:00, sat 09:00-13:00"'

Interval = tuple[int, int]
"""From the first minute of the week, Monday 00:00, up to but without the second."""


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Intervals of the week, in minutes since Monday 00:00: sorted, apart, between 0 and WEEK."""

    intervals: tuple[Interval, ...]

    @classmethod
    def parse(cls, text: str) -> "OpeningHours":
        """Read rules separated by commas; ValueError has what was expected and what was found."""
        if len(text) > _LONGEST or not text.strip():
            raise ValueError(_expected(f"days and times, {_SUCH_AS}", text))
        rules = [_Rule.read(part) for part in text.replace("–", "-").split(",")]
        _require_unambiguous(rules, text)
        return cls.of(interval for rule in rules for interval in rule.intervals())

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> "OpeningHours":
        """Join intervals that begin in the week and end at most a week later."""
        parts: list[Interval] = []
        for first, end in intervals:
            parts += [(first, min(end, WEEK)), (0, max(0, end - WEEK))]
        joined: list[Interval] = []
        for first, end in sorted(part for part in parts if part[0] < part[1]):
            if joined and first <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((first, end))
        return cls(tuple(joined))

    @property
    def is_always(self) -> bool:
        """Whether nothing is ever closed."""
        return self.intervals == ((0, WEEK),)

    def __str__(self) -> str:
        """Write the rules so that `parse` reads them back, days with the same times together."""
        if not self.intervals:
            return ""
        times = [" ".join(_times(self._beginning_on(day))) for day in range(7)]
        rules = []
        for text, days in groupby(range(7), key=times.__getitem__):
            if text:
                rules.append((_days([*days]), text))
        are_whole_days = all(text == "00:00-24:00" for _, text in rules)
        return ", ".join(days if are_whole_days else f"{days} {text}" for days, text in rules)

    def _beginning_on(self, day: int) -> Iterator[Interval]:
        """Yield what begins on a day, in minutes since its midnight, up to a day later.

        An interval over midnight belongs to the day before where it ends before the next midnight.
        """
        begin = day * DAY
        for first, end in _around(self.intervals):
            for part in _cut(first, end):
                if begin <= part[0] < begin + DAY:
                    yield part[0] - begin, part[1] - begin


@dataclass(frozen=True, slots=True)
class _Rule:
    """Days of the week, and ranges of minutes since their midnight; what was written of both."""

    text: str
    days: tuple[int, ...]
    times: tuple[Interval, ...]

    @classmethod
    def read(cls, text: str) -> "_Rule":
        words = text.split()
        if not words:
            raise ValueError(_expected(f"rules separated by commas, {_SUCH_AS}", text))
        has_time = [any(sign.isdigit() for sign in word) for word in words]
        count = has_time.index(True) if any(has_time) else len(words)
        if not all(has_time[count:]):
            raise ValueError(_expected("rules with a comma before the next days", text))
        days = [day for word in words[:count] for day in _days_of(word)]
        return cls(text.strip(), tuple(days), tuple(map(_range_of, words[count:])))

    def intervals(self) -> Iterator[Interval]:
        for day in self.days or range(7):
            for first, end in self.times or ((0, DAY),):
                yield day * DAY + first, day * DAY + end


def _require_unambiguous(rules: list[_Rule], text: str) -> None:
    """Reject what is ambiguous: whether days, or times, are shared across a comma."""
    for before, rule in pairwise(rules):
        if not before.times and rule.times:
            days, times = rule.text.split(maxsplit=1) if rule.days else ("", rule.text)
            raise ValueError(
                f'must be unambiguous, found {text!r}: write "{before.text} {days} {times}" if '
                f'both have these times, or "{before.text} 00:00-24:00, {rule.text}"'
            )
        if before.days and not rule.days:
            raise ValueError(
                f'must be unambiguous, found {text!r}: write "{before.text} {rule.text}" if both '
                f'are on these days, or "{before.text}, mon-sun {rule.text}"'
            )


def _days_of(word: str) -> list[int]:
    """Read `mon` or `mon-fri`, which may go round the end of the week."""
    ends = word.split("-")
    if len(ends) > 2:
        raise ValueError(_expected("one day or two with a hyphen, such as mon-fri", word))
    first, last = _day(ends[0]), _day(ends[-1])
    return [(first + day) % 7 for day in range((last - first) % 7 + 1)]


def _day(name: str) -> int:
    folded = name.casefold()
    for number, full in enumerate(_FULL):
        if len(folded) >= 2 and full.startswith(folded):
            return number
    raise ValueError(_expected(f"a day of the week, one of {', '.join(DAYS)}", name))


def _range_of(word: str) -> Interval:
    """Read `08:00-20:00`; minutes since midnight, the end on the next day where it is earlier."""
    ends = word.split("-")
    if len(ends) != 2:
        raise ValueError(_expected("two times of a 24-hour clock, such as 08:00-20:00", word))
    first, end = (_minutes(end, word) for end in ends)
    if first == DAY:
        raise ValueError(_expected("a start before 24:00, or 00:00 of the next day", word))
    if first == end:
        raise ValueError(
            f"must be unambiguous, found {word!r}: write 00:00-24:00 for a whole day, and leave "
            "out what is closed"
        )
    return first, end if end > first else end + DAY


def _minutes(time: str, word: str) -> int:
    match = _TIME.fullmatch(time)
    minutes = 60 * int(match[1]) + int(match[2]) if match else DAY + 1
    if minutes > DAY or (match and int(match[2]) > 59):
        raise ValueError(_expected("two times of a 24-hour clock, such as 08:00-20:00", word))
    return minutes


def _around(intervals: tuple[Interval, ...]) -> list[Interval]:
    """Join the last interval to the first where the week is open over its end."""
    if len(intervals) > 1 and intervals[0][0] == 0 and intervals[-1][1] == WEEK:
        return [*intervals[1:-1], (intervals[-1][0], WEEK + intervals[0][1])]
    return [*intervals]


def _cut(first: int, end: int) -> Iterator[Interval]:
    """Cut an interval at midnights, unless it ends within a day and before the second of them."""
    if end - first < DAY and end // DAY == first // DAY + 1 and first % DAY:
        yield first, end
        return
    while first < end:
        midnight = (first // DAY + 1) * DAY
        yield first % WEEK, first % WEEK + min(end, midnight) - first
        first = midnight


def _times(parts: Iterable[Interval]) -> list[str]:
    return [f"{_time(first)}-{_time(end if end <= DAY else end - DAY)}" for first, end in parts]


def _time(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _days(days: list[int]) -> str:
    return DAYS[days[0]] if len(days) == 1 else f"{DAYS[days[0]]}-{DAYS[days[-1]]}"


def _expected(rule: str, text: str) -> str:
    shown = text if len(text) <= 60 else text[:60] + "…"
    return f"must be {rule}, found {shown!r}"
