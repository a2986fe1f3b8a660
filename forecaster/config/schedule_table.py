"""When the jobs of a dataset run, and how long they may take: that part of its table."""

from datetime import timedelta
from typing import Any

from forecaster.config import validators
from forecaster.config.settings import DeadlineConfig
from forecaster.config.table import Table
from forecaster.config.validators import Reader, at_most, duration, positive_duration, where
from forecaster.times.durations import DAY, Step, format_duration
from forecaster.times.schedules import Cron, Schedule, every

_MINUTE = Step(60_000_000, "microsecond")


def read(table: Table, step: Step, delay: timedelta, timezone: str) -> dict[str, Any]:
    """Read these settings, by their names; `step`, `delay` and `timezone` are those of the data.

    By default, forecasts are due as steps end, and `delay` later.
    """
    zone = table.take("schedule_timezone", validators.timezone, timezone)
    period = max(step, _MINUTE, key=lambda option: option.approximate)
    forecasts = _schedule(table, "forecast", period, zone, delay)
    retrains = _schedule(table, "retrain", _retrain_period(step), zone, delay)
    deadlines = _deadlines(table.table("deadlines"), forecasts.shortest, retrains.shortest)
    half, pull = forecasts.shortest / 2, deadlines.pull
    jitter = at_most(half, duration, "half of the forecast interval, ")
    timeout = at_most(pull, positive_duration, "deadlines.pull, ")
    longest_read = min(_within(timedelta(seconds=10), half, timedelta(minutes=5)), pull)
    return {
        "forecast_schedule": forecasts,
        "retrain_schedule": retrains,
        "reconcile_schedule": _schedule(table, "reconcile", Step(1, "day"), zone, timedelta(0)),
        "jitter": table.take("jitter", jitter, timedelta(0)),
        "deadlines": deadlines,
        "read_timeout": table.take("read_timeout", timeout, longest_read),
    }


def _retrain_period(step: Step) -> Step:
    """Return 24 steps in whole days, a day at least and a week at most; a month of weeks.

    Longer steps are retrained whenever one ends: there is no new data in between.
    """
    if step.approximate >= 28 * DAY:
        return step
    if step.approximate >= 7 * DAY:
        return Step(1, "month")
    return Step(max(1, min(7, 24 * step.approximate // DAY)), "day")


def _schedule(table: Table, job: str, default: Step, zone: str, delay: timedelta) -> Schedule:
    """Read `<job>_every` or `<job>_cron`; `zone` is their time zone.

    Periods tick `delay` after they begin; cron expressions are taken as they are.
    """
    period, cron = f"{job}_every", f"{job}_cron"
    if period in table and cron in table:
        table.add_problem(cron, f"cannot be combined with {period}")
    step = table.take(period, validators.period, default)
    default_schedule = every(step, timezone=zone, delay=delay)
    return table.take(cron, lambda value: Cron(validators.text(value), zone), default_schedule)


def _deadlines(table: Table, forecast: timedelta, retrain: timedelta) -> DeadlineConfig:
    """Read how long stages may take: less than the interval, so that none delays the next tick."""
    half = _within(timedelta(seconds=10), forecast / 2, timedelta(minutes=30))
    limits = dict.fromkeys(("pull", "predict", "write"), (half, forecast))
    limits["train"] = _within(timedelta(minutes=10), retrain, DAY), retrain
    return DeadlineConfig(
        **{
            stage: table.take(stage, _deadline(default, interval), default)
            for stage, (default, interval) in limits.items()
        }
    )


def _deadline(default: timedelta, interval: timedelta) -> Reader[timedelta]:
    """Return a reader of deadlines shorter than an interval; the default is always allowed."""
    if default >= interval:
        return at_most(default, positive_duration)
    rule = f"must be shorter than {format_duration(interval)}"
    return where(positive_duration, lambda deadline: deadline < interval, rule)


def _within(low: timedelta, duration: timedelta, high: timedelta) -> timedelta:
    return max(low, min(duration, high))
