"""When the jobs of a dataset run, and how long they may take: that part of its table."""

import re
from dataclasses import dataclass
from datetime import timedelta

from forecaster.config import validators
from forecaster.config.settings import DeadlineConfig
from forecaster.config.table import Table
from forecaster.config.validators import InvalidSetting
from forecaster.times.durations import Step, format_duration
from forecaster.times.schedules import Cron, Schedule, every

_MINUTE = Step(60_000_000, "microsecond")
_DAY = Step(1, "day")
_WEEK = Step(7, "day")
_MONTH = Step(1, "month")
_LONGEST_WEEKS = timedelta(days=28)
_SHORTEST_STAGE = timedelta(seconds=10)
_LONGEST_STAGE = timedelta(minutes=30)
_LONGEST_READ = timedelta(minutes=5)
_SHORTEST_TRAINING = timedelta(minutes=10)
_LONGEST_TRAINING = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When the jobs of a dataset run, and for how long."""

    forecast: Schedule
    retrain: Schedule
    reconcile: Schedule
    jitter: timedelta
    deadlines: DeadlineConfig
    read_timeout: timedelta


def read(table: Table, step: Step, delay: timedelta, timezone: str) -> Times:
    """Read these settings; `step`, `delay` and `timezone` are those of the data.

    By default, forecasts are due as steps end, and `delay` later.
    """
    zone = table.take("schedule_timezone", validators.timezone, timezone)
    period = max(step, _MINUTE, key=lambda option: option.approximate)
    forecasts = _schedule(table, "forecast", period, zone, delay)
    retrains = _schedule(table, "retrain", _retrain_period(step), zone, delay)
    deadlines = _deadlines(table.table("deadlines"), forecasts, retrains)
    return Times(
        forecast=forecasts,
        retrain=retrains,
        reconcile=_schedule(table, "reconcile", _DAY, zone, timedelta(0)),
        jitter=_jitter(table, forecasts),
        deadlines=deadlines,
        read_timeout=_read_timeout(table, forecasts, deadlines.pull),
    )


def _retrain_period(step: Step) -> Step:
    """Return 24 steps in whole days, a day at least and a week at most; a month of weeks.

    Longer steps are retrained whenever one ends: there is no new data in between.
    """
    if step.approximate >= _LONGEST_WEEKS:
        return step
    if step.approximate >= _WEEK.approximate:
        return _MONTH
    days = 24 * step.approximate // _DAY.approximate
    return Step(max(1, min(7, days)), "day")


def _schedule(table: Table, job: str, default: Step, zone: str, delay: timedelta) -> Schedule:
    """Read `<job>_every` or `<job>_cron`; `zone` is their time zone.

    Periods tick `delay` after they begin; cron expressions are taken as they are.
    """
    period, cron = f"{job}_every", f"{job}_cron"
    if period in table and cron in table:
        table.add_problem(cron, f"cannot be combined with {period}")

    def expression(value: object) -> Cron:
        try:
            return Cron(validators.text(value), zone)
        except InvalidSetting:
            raise
        except ValueError as error:
            rule, _, text = str(error).rpartition(", found ")
            shown = re.sub(r"://.*", "://…", text, flags=re.DOTALL)
            raise InvalidSetting(rule, actual=shown) from None

    default_schedule = every(
        table.take(period, validators.period, default), timezone=zone, delay=delay
    )
    return table.take(cron, expression, default_schedule)


def _jitter(table: Table, forecast: Schedule) -> timedelta:
    """Read by how much jobs wake up later: at most half of the shortest forecast interval."""
    most = forecast.shortest / 2

    def read(value: object) -> timedelta:
        jitter = validators.duration(value)
        if jitter > most:
            raise InvalidSetting(
                f"must be at most half of the forecast interval, {format_duration(most)}"
            )
        return jitter

    return table.take("jitter", read, timedelta(0))


def _deadlines(table: Table, forecast: Schedule, retrain: Schedule) -> DeadlineConfig:
    """Read how long stages may take: less than the interval, so that none delays the next tick."""
    half = _within(forecast.shortest / 2, _SHORTEST_STAGE, _LONGEST_STAGE)
    training = _within(retrain.shortest, _SHORTEST_TRAINING, _LONGEST_TRAINING)
    deadlines = DeadlineConfig(
        pull=_deadline(table, "pull", half, forecast.shortest),
        predict=_deadline(table, "predict", half, forecast.shortest),
        write=_deadline(table, "write", half, forecast.shortest),
        train=_deadline(table, "train", training, retrain.shortest),
    )
    table.report_unknown()
    return deadlines


def _read_timeout(table: Table, forecast: Schedule, pull: timedelta) -> timedelta:
    """Read how long one read from the source may take: never longer than a pull."""

    def read(value: object) -> timedelta:
        timeout = validators.positive_duration(value)
        if timeout > pull:
            raise InvalidSetting(f"must be at most deadlines.pull, {format_duration(pull)}")
        return timeout

    default = _within(forecast.shortest / 2, _SHORTEST_STAGE, _LONGEST_READ)
    return table.take("read_timeout", read, min(default, pull))


def _deadline(table: Table, key: str, default: timedelta, interval: timedelta) -> timedelta:
    """Read a deadline that is shorter than the interval; the default is allowed in any case."""

    def read(value: object) -> timedelta:
        deadline = validators.positive_duration(value)
        if deadline < interval or deadline <= default:
            return deadline
        rule = "at most" if default >= interval else "shorter than"
        raise InvalidSetting(f"must be {rule} {format_duration(max(default, interval))}")

    return table.take(key, read, default)


def _within(duration: timedelta, low: timedelta, high: timedelta) -> timedelta:
    return max(low, min(high, duration))
