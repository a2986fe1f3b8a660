"""Cron expressions: five fields as sets of numbers, with error messages for invalid ones."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\w+))?", re.ASCII)
_LEAP_YEAR = 2000


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five fields: the range of its numbers, and their names from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


MINUTE = _Field("minute", 0, 59)
HOUR = _Field("hour", 0, 23)
DAY = _Field("day of month", 1, 31)
MONTH = _Field(
    "month", 1, 12,
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
)  # fmt: skip
WEEKDAY = _Field("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crontab:
    """Days and times of day of an expression, without a time zone."""

    times: tuple[int, ...]
    """Minutes since midnight, sorted."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    either_day: bool
    """Whether a day of the month or of the week is enough: both are restricted."""
    follows_real_time: bool
    """Whether minute or hour begins with `*`: it means a distance rather than a time of day."""

    @classmethod
    def parse(cls, expression: str) -> "Crontab":
        """Read five fields or a word such as `@daily`; ValueError names each invalid field."""
        texts = _texts(expression)
        minutes, hours, days, months, weekdays = _fields(texts)
        crontab = cls(
            times=tuple(sorted(hour * 60 + minute for hour in hours for minute in minutes)),
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not (texts[2].startswith("*") or texts[4].startswith("*")),
            follows_real_time=texts[0].startswith("*") or texts[1].startswith("*"),
        )
        longest = max(monthrange(_LEAP_YEAR, month)[1] for month in months)
        if not crontab.either_day and min(days) > longest:
            raise ValueError(
                f"day of month must be at most {longest} in month {texts[3]}, found {texts[2]!r}: "
                "it would never fire"
            )
        return crontab

    def falls_on(self, day: date) -> bool:
        """Return whether it ticks on a day."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week


def _texts(expression: str) -> list[str]:
    text = expression.strip().lower()
    if text.startswith("@"):
        if text not in MACROS:
            meant = _suggestion_text(get_close_matches(text, MACROS, n=1))
            raise ValueError(f"must be one of {', '.join(MACROS)}, found {expression!r}{meant}")
        text = MACROS[text]
    texts = text.split()
    if len(texts) != len(FIELDS):
        fields = ", ".join(field.name for field in FIELDS)
        meant = _suggestion_text([" ".join(texts[1:])]) if len(texts) == len(FIELDS) + 1 else ""
        rule = f'must have five fields ({fields}), such as "0 6 * * mon-fri"'
        raise ValueError(f"{rule}, found {len(texts)}{meant}")
    return texts


def _fields(texts: list[str]) -> list[frozenset[int]]:
    """Return the numbers of each field; ValueError names each invalid one."""
    numbers, problems = [], []
    for text, field in zip(texts, FIELDS, strict=True):
        try:
            parts = (_part(part, field) for part in text.split(","))
            numbers.append(frozenset(number for part in parts for number in part))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return numbers


def _part(text: str, field: _Field) -> range:
    """Return the numbers of `*`, `7`, `mon-fri`, `*/15` or `0-30/10`."""
    match = _PART.fullmatch(text)
    if match is None:
        form = "a number, a range such as 1-5, or a step such as */2"
        raise _error(field, form, text, "*" if text == "?" else None)
    first, last, step = match["first"], match["last"], match["step"]
    if first == "*":
        if last is not None:
            raise _error(field, "a range of two numbers", text, "*")
        return range(field.low, field.high + 1, _step(step, text, field))
    low = _number(first, field)
    if last is None and step is not None:
        raise _error(field, "a range before its step", text, f"{first}-{field.high}/{step}")
    if last is None:
        return range(low, low + 1)
    is_week_end = low > 0 and field is WEEKDAY and last == "sun"
    high = WEEKDAY.high if is_week_end else _number(last, field)
    if high < low:
        wrapped = f"{first}-{field.high},{field.low}-{last}"
        raise _error(field, "a range that ends after it begins", text, wrapped)
    return range(low, high + 1, _step(step, text, field))


def _step(step: str | None, text: str, field: _Field) -> int:
    if step is None:
        return 1
    if not step.isdigit() or len(step) > 3 or not 1 <= int(step) <= field.high:
        raise _error(field, f"a step from 1 to {field.high}", text)
    return int(step)


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.low + field.names.index(text)
    if text.isdigit() and len(text) <= 3 and field.low <= int(text) <= field.high:
        return int(text)
    names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    rule = f"a number from {field.low} to {field.high}{names}"
    raise _error(field, rule, text, _guess(text, field))


def _guess(text: str, field: _Field) -> str | None:
    if text in ("24", "60") and field in (MINUTE, HOUR):
        return "0"
    if text[:3] in field.names:
        return text[:3]
    return next(iter(get_close_matches(text[:3], field.names, n=1)), None)


def _error(field: _Field, rule: str, text: str, suggestion: str | None = None) -> ValueError:
    meant = _suggestion_text([] if suggestion is None else [suggestion])
    return ValueError(f"{field.name} must be {rule}, found {text!r}{meant}")


def _suggestion_text(suggestions: list[str]) -> str:
    return f"; did you mean {suggestions[0]!r}?" if suggestions else ""
