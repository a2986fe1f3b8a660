"""When jobs run, and how long their stages may take: settings, defaults, and what is refused."""

from datetime import timedelta

import pytest

from forecaster.config.dump import to_toml
from forecaster.config.settings import DeadlineConfig
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step, parse_duration
from forecaster.times.schedules import Cron, Every
from tests.config.configs import dataset, parsed, problems_of

MINUTE = timedelta(minutes=1)


def test_a_schedule_is_an_interval_or_a_cron_expression_in_a_zone() -> None:
    config = parsed(
        dataset(
            'timezone = "Asia/Tokyo"\nforecast_cron = "5 6-18 * * mon-fri"\n'
            'retrain_cron = "@daily"\nreconcile_every = "2d"'
        )
    )

    found = config.datasets["x"]
    assert found.forecast_schedule == Cron("5 6-18 * * mon-fri", "Asia/Tokyo")
    assert found.retrain_schedule == Cron("@daily", "Asia/Tokyo")
    assert found.reconcile_schedule == Periods(Step(2, "day"), "Asia/Tokyo")
    assert config.prune_schedule == Periods(Step(1, "day"))


@pytest.mark.parametrize(
    ("lines", "zone"),
    [
        ("", "UTC"),
        ('timezone = "Asia/Tokyo"\n', "Asia/Tokyo"),
        ('timezone = "Asia/Tokyo"\nschedule_timezone = "Europe/Berlin"\n', "Europe/Berlin"),
    ],
)
def test_cron_follows_the_clock_of_the_schedules_or_of_the_data_or_utc(
    lines: str, zone: str
) -> None:
    config = parsed(dataset(lines + 'forecast_cron = "0 6 * * *"'))

    assert config.datasets["x"].forecast_schedule == Cron("0 6 * * *", zone)
    assert parsed(to_toml(config)).datasets == config.datasets


@pytest.mark.parametrize(
    ("written", "step", "kept"),
    [
        ("1d", "1d", "1d"),
        ("24h", "1d", "1d"),
        ("1w", "1w", "1w"),
        ("P1W", "1w", "1w"),
        ("1mo", "1mo", "1mo"),
        ("P1M", "1mo", "1mo"),
        ("3mo", "3mo", "3mo"),
        ("P3M", "3mo", "3mo"),
        ("18mo", "18mo", "18mo"),
        ("1y6mo", "18mo", "18mo"),
        ("P1Y6M", "18mo", "18mo"),
        ("12mo", "1y", "1y"),
        ("1y", "1y", "1y"),
        ("P1Y", "1y", "1y"),
    ],
)
@pytest.mark.parametrize("job", ["forecast", "retrain", "reconcile"])
def test_days_and_longer_are_periods_of_the_calendar(
    job: str, written: str, step: str, kept: str
) -> None:
    lines = f'timezone = "Asia/Tokyo"\ndelay = "6h"\n{job}_every = "{written}"'
    config = parsed(dataset(lines))

    later = timedelta(0) if job == "reconcile" else timedelta(hours=6)
    found = getattr(config.datasets["x"], f"{job}_schedule")
    assert found == Periods(Step.parse(step), "Asia/Tokyo", later)
    assert f'{job}_every = "{kept}"' in to_toml(config)
    assert parsed(to_toml(config)) == config


def test_rows_are_deleted_by_the_calendar_too() -> None:
    config = parsed('database_url = "sqlite:///f.db"\nprune_every = "P1M"')

    assert config.prune_schedule == Periods(Step.parse("1mo"))
    assert parsed(to_toml(config)) == config


def test_hours_and_shorter_are_intervals_that_tick_after_the_delay() -> None:
    config = parsed(dataset('timezone = "Asia/Tokyo"\ndelay = "15m"\nforecast_every = "90m"'))

    expected = Every(timedelta(minutes=90), delay=timedelta(minutes=15))
    assert config.datasets["x"].forecast_schedule == expected
    assert parsed(to_toml(config)) == config


def test_what_cron_says_is_not_delayed() -> None:
    found = parsed(dataset('delay = "15m"\nforecast_cron = "0 6 1 * *"')).datasets["x"]

    assert found.forecast_schedule == Cron("0 6 1 * *", "UTC")


def test_what_is_said_of_overdue_ticks_is_written_back() -> None:
    lines = 'catchup = "latest"\ncatchup_limit = 7\noverlap = "skip"\njitter = "10m"\n'
    config = parsed(dataset(lines + 'deadlines = {pull = "5m", train = "2h"}'))

    found = config.datasets["x"]
    assert (found.catchup, found.catchup_limit, found.overlap) == ("latest", 7, "skip")
    assert found.jitter == 10 * MINUTE
    assert (found.deadlines.pull, found.deadlines.train) == (5 * MINUTE, 120 * MINUTE)
    assert parsed(to_toml(config)).datasets == config.datasets


@pytest.mark.parametrize(
    ("lines", "stage", "train", "read"),
    [
        ("", "30m", "1d", "5m"),
        ('forecast_every = "1m"', "30s", "1d", "30s"),
        ('forecast_every = "2s"', "10s", "1d", "10s"),
        ('forecast_cron = "*/10 * * * *"', "5m", "1d", "5m"),
        ('retrain_every = "5m"', "30m", "10m", "5m"),
        ('retrain_every = "6h"', "30m", "6h", "5m"),
    ],
)
def test_deadlines_follow_from_the_intervals(lines: str, stage: str, train: str, read: str) -> None:
    found = parsed(dataset(lines)).datasets["x"]

    half = parse_duration(stage)
    assert found.read_timeout == parse_duration(read)
    assert found.deadlines == DeadlineConfig(
        pull=half, predict=half, write=half, train=parse_duration(train)
    )


def test_a_read_is_cut_before_its_pull() -> None:
    assert parsed(dataset('deadlines.pull = "2m"')).datasets["x"].read_timeout == 2 * MINUTE


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'forecast_cron = "0 25 * * *"',
            "forecast_cron: hour must be a number from 0 to 23, found '25'",
        ),
        (
            'retrain_cron = "0 6 * * sonntag"',
            "retrain_cron: day of week must be a number from 0 to 7, or sun to sat, "
            "found 'sonntag'; did you mean 'sun'?",
        ),
        (
            'forecast_cron = "0 0 31 2 *"',
            "forecast_cron: day of month must be at most 29 in month 2, found '31': "
            "it would never fire",
        ),
        *(
            (
                f'{key} = "{text}"',
                f"{key}: must be a duration in whole units, such as 5m, 1h, 1d, 1w, 1mo, P1M or "
                f"1y, found '{text}'",
            )
            for key in ("forecast_every", "retrain_every", "reconcile_every")
            for text in ("1.5mo", "0.5y", "P0.5M", "1M", "1q", "monthly", "1mo1d", "P1M1D", "")
        ),
        ('forecast_every = "0mo"', "forecast_every: must be longer than zero, found '0mo'"),
        ('retrain_every = "201y"', "retrain_every: must be at most 200y, found '201y'"),
        (
            "forecast_every = 1",
            'forecast_every: must be a duration with its unit, such as "15m", "1h", "1d", "1w" or '
            '"1mo", found 1',
        ),
        ("forecast_cron = 5", "forecast_cron: must be text, found 5"),
        (
            'forecast_every = "1h"\nforecast_cron = "0 * * * *"',
            "forecast_cron: cannot be combined with forecast_every",
        ),
        (
            'schedule_timezone = "Europe/Berln"',
            "schedule_timezone: must be an IANA time zone, found 'Europe/Berln'; "
            "did you mean 'Europe/Berlin'?",
        ),
        ('catchup = "lastest"', "catchup: must be 'all' or 'latest' or 'none', found 'lastest'; "
                                "did you mean 'latest'?"),
        ("catchup_limit = 0", "catchup_limit: must be a whole number from 1 to 10000, found 0"),
        ('overlap = "kill"', "overlap: must be 'queue' or 'skip', found 'kill'"),
        ('jitter = "31m"', "jitter: must be at most half of the forecast interval, 30m, "
                           "found '31m'"),
        ('deadlines.pull = "1h"', "deadlines.pull: must be shorter than 1h, found '1h'"),
        ('deadlines.train = "25h"', "deadlines.train: must be at most 1d, found '25h'"),
        ('deadlines.predict = "0s"', "deadlines.predict: must be longer than zero, found '0s'"),
        ('read_timeout = "31m"', "read_timeout: must be at most deadlines.pull, 30m, "
                                 "found '31m'"),
        ('deadlines.pul = "1m"', "deadlines.pul: unknown setting; did you mean 'pull'?"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_told_with_what_was_meant(line: str, problem: str) -> None:
    assert problems_of(dataset(line)) == [f"datasets.x.{problem}"]


@pytest.mark.parametrize("expression", ["0 hunter2 * * *", "hunter2 hunter2 * * *", "@hunter2"])
def test_an_expression_from_the_environment_is_not_repeated(expression: str) -> None:
    problems = problems_of(dataset('forecast_cron = "${CRON}"'), {"CRON": expression})

    assert "hunter2" not in "\n".join(problems)
    assert problems[0].startswith("datasets.x.forecast_cron: ")
    assert problems[0].endswith(", found '${CRON}'")


def test_short_intervals_leave_ten_seconds_to_a_stage() -> None:
    problems = problems_of(dataset('forecast_every = "2s"\ndeadlines.write = "11s"'))

    assert problems == ["datasets.x.deadlines.write: must be at most 10s, found '11s'"]
