"""Whether forecasts are due when the steps of the rows begin, as findings for `check`.

`forecast_every` ticks as the periods of the calendar begin (`periods`): at midnight, on Mondays, on
the first of a month. Rows may have steps that begin elsewhere: at 06:00, on Sundays, on the 26th.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from forecaster.checks.findings import Finding, note
from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import EPOCH, Grid
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import rough
from forecaster.times.schedules import Cron, Schedule

_STEPS_COMPARED = 13
"""Steps, the latest, whose beginnings are compared with ticks."""
_SHORT = 0.02
"""Share of a step that a tick may be late without being reported."""
_SAFE_DAY = 28
"""Every month has the days up to this one."""
_DAYS = ("thu", "fri", "sat", "sun", "mon", "tue", "wed")
"""Days of the week from 1970-01-01 on."""
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def check_ticks(
    grid: Grid, dataset: DatasetConfig, delay: timedelta, now: datetime
) -> list[Finding]:
    """Name the settings with which forecasts are due as the steps of `grid` begin, `delay` later.

    Nothing is reported for schedules that are set to something else than the step, nor where no
    other setting is better.
    """
    schedule = dataset.forecast_schedule
    if not isinstance(schedule, Periods) or schedule.step != grid.step:
        return []
    schedule = replace(schedule, delay=delay)
    begins, waited = _begins(grid, now), _SHORT * grid.step.approximate
    wait = _wait(schedule, begins, delay)
    if wait <= waited:
        return []
    for fitting, hint in _candidates(grid, schedule, delay):
        if _wait(fitting, begins, delay) <= waited:
            at = begins[-1].strftime("%a %Y-%m-%d %H:%M")
            message = (
                f"steps of the rows begin {rough(wait)} before a tick of {schedule}, such as on "
                f"{at}Z: forecasts could be made earlier"
            )
            return [note(dataset.name, message, hint=hint)]
    return []


def _candidates(grid: Grid, schedule: Periods, delay: timedelta) -> Iterator[tuple[Schedule, str]]:
    """Yield schedules that may fit, each with the settings it takes."""
    zone = f'schedule_timezone = "{grid.timezone}"'
    if grid.timezone != schedule.timezone:
        yield replace(schedule, timezone=grid.timezone), f"set {zone}"
    expression = _expression(grid, delay)
    if expression is not None:
        hint = f'set forecast_cron = "{expression}" instead of forecast_every'
        also = "" if grid.timezone == schedule.timezone else f", and {zone}"
        yield Cron(expression, grid.timezone), hint + also


def _expression(grid: Grid, delay: timedelta) -> str | None:
    """Return the cron expression of `delay` after each step begins; None where there is none."""
    due = timedelta(microseconds=grid.anchor + grid.spread) + delay
    minutes = -(-due // _MINUTE)
    days, time = divmod(minutes * _MINUTE, _DAY)
    clock = f"{time // _MINUTE % 60} {time // _MINUTE // 60}"
    if grid.step.unit == "day":
        return {1: f"{clock} * * *", 7: f"{clock} * * {_DAYS[days % 7]}"}.get(grid.step.count)
    begin, day = EPOCH + timedelta(microseconds=grid.anchor), EPOCH + days * _DAY
    if 12 % grid.step.count or begin.day > _SAFE_DAY or day.day > _SAFE_DAY:
        return None
    months = sorted((day.month - 1 + offset) % 12 + 1 for offset in range(0, 12, grid.step.count))
    return f"{clock} {day.day} {'*' if grid.step.count == 1 else ','.join(map(str, months))} *"


def _begins(grid: Grid, now: datetime) -> list[datetime]:
    """Return when the latest steps of the rows began, the `spread` of rows after it included."""
    newest = grid.index_at(now)
    stamps = grid.timestamps_of(pl.int_range(newest - _STEPS_COMPARED, newest, eager=True))
    spread = timedelta(microseconds=grid.spread)
    return [stamp + spread for stamp in stamps.to_list()]


def _wait(schedule: Schedule, begins: list[datetime], delay: timedelta) -> timedelta:
    """Return how long after what it is for a tick comes, at least."""
    due = [begin + delay for begin in begins]
    return min(schedule.after(instant - timedelta(microseconds=1)) - instant for instant in due)
