"""What `check --data` tells of rows: facts, findings, and settings that fit them better."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecaster.checks.dataset import Diagnosis, Sample, diagnose
from forecaster.checks.findings import snippet
from forecaster.ingestion.normalize import Columns, normalize
from tests.config.configs import parsed

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONFIG = 'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "1h"\nhorizon = "6h"\n'


def series(name: str, steps: int, *, every: timedelta = HOUR, late: int = 0) -> pl.DataFrame:
    """Rows with a day in them up to `late` steps before now."""
    newest = NOW.replace(second=0) - late * every
    at = [newest - back * every for back in reversed(range(steps))]
    values = [20 + 8 * math.sin(math.tau * stamp.timestamp() / 86400) for stamp in at]
    noise = [math.sin(place * place) for place in range(steps)]
    return pl.DataFrame(
        {
            "series_id": [name] * steps,
            "timestamp": at,
            "value": [value + more for value, more in zip(values, noise, strict=True)],
        }
    )


def diagnosed(
    rows: pl.DataFrame, settings: str = "", *, config: str = CONFIG, **sample: Any
) -> Diagnosis:
    dataset = parsed(config + settings).datasets["x"]
    taken = normalize(rows, Columns(), timezone=None)
    found = {"rows": rows.height, "taken": taken, "since": NOW - dataset.history, "now": NOW}
    return diagnose(Sample(**{**found, **sample}), dataset)


def messages(found: Diagnosis) -> str:
    return "\n".join(f"{each.level}: {each.message}" for each in found.findings)


def test_rows_that_fit_the_settings_lead_to_facts_and_nothing_else() -> None:
    found = diagnosed(pl.concat([series("a", 600), series("b", 600)]))

    assert found.findings == []
    assert found.suggestions == {}
    assert found.facts["step"] == "1h"
    assert found.facts["season_length"] == 24
    assert found.facts["context_length"] == 240
    assert (found.facts["series"], found.facts["age"]) == (2, "30s")


def test_a_step_that_is_too_short_fails_and_the_right_one_is_suggested() -> None:
    found = diagnosed(series("a", 600, every=3 * HOUR), 'forecast_every = "1h"')

    assert "failure: step is 1h, rows come every 3h: most steps would be empty" in messages(found)
    assert found.suggestions == {"step": "3h"}


def test_a_step_that_is_longer_than_that_of_the_rows_is_a_note() -> None:
    found = diagnosed(series("a", 6000, every=timedelta(minutes=10)))

    assert "note: step is 1h, rows come every 10m" in messages(found)
    assert found.suggestions == {"step": "10m"}


@pytest.mark.parametrize(
    ("minutes", "step", "suggested"),
    [
        ([27, 31, 27, 35, 30, 33, 30, 24], "1h", {"step": "30m"}),
        ([27, 31, 27, 35, 30, 33, 30, 24], "30m", {}),
        ([55, 66, 55, 71, 61, 58, 64, 47], "5m", {"step": "1h"}),
    ],
)
def test_the_step_that_is_suggested_for_irregular_rows_is_one_that_people_choose(
    minutes: list[int], step: str, suggested: dict[str, str]
) -> None:
    rows = series("a", 400)
    lengths = pl.Series((minutes * 50)[::-1]).cum_sum()
    at = [NOW - timedelta(minutes=length) for length in reversed(lengths.to_list())]
    config = CONFIG.replace('"1h"', f'"{step}"')

    found = diagnosed(rows.with_columns(timestamp=pl.Series(at)), 'delay = "1h"', config=config)

    assert found.suggestions == suggested


def test_a_delay_that_is_too_short_is_told_with_one_that_is_not() -> None:
    found = diagnosed(series("a", 600, late=3))

    assert "note: delay is 0s, but rows arrive at least 2h after" in messages(found)
    assert found.suggestions == {"delay": "2h15m"}
    assert diagnosed(series("a", 600, late=3), 'delay = "2h15m"').suggestions == {}


def test_weeks_that_begin_on_another_day_are_told_the_cron_that_fits_delay_and_all() -> None:
    config = CONFIG.replace("1h", "1w").replace("6h", "6w")
    found = diagnosed(series("a", 100, every=168 * HOUR), 'delay = "2h"', config=config)

    assert 'set forecast_cron = "0 14 * * fri" instead of forecast_every' in [
        each.hint for each in found.findings
    ]


def test_rows_that_have_ended_long_ago_suggest_no_delay() -> None:
    found = diagnosed(series("a", 600, late=100))

    assert "the newest row is 4d4h old" in messages(found)
    assert found.suggestions == {}


def test_series_that_are_silent_constant_or_empty_are_counted() -> None:
    flat = series("flat", 600).with_columns(value=pl.lit(3.0))
    empty = series("empty", 600).with_columns(value=pl.lit(None, pl.Float64))
    rows = pl.concat([series("a", 600), series("gone", 500, late=50), flat, empty])

    text = messages(diagnosed(rows))

    assert "1 of 4 series have had no rows for 20 steps" in text
    assert "1 of 4 series have no value at all" in text
    assert "1 of 4 series are constant" in text


def test_gaps_duplicates_and_contradictions_are_told() -> None:
    rows = series("a", 600).gather([n for n in range(600) if n % 10])
    rows = pl.concat([rows, rows[:7], rows[:5].with_columns(pl.col("value") + 1)])

    found = diagnosed(rows)

    assert found.facts["duplicates"] == 12
    assert "10% of the steps have no row" in messages(found)
    assert "5 rows conflict with another" in messages(found)


def test_rows_off_the_grid_are_told() -> None:
    rows = series("a", 600)
    shifted = rows.with_columns(
        pl.when(pl.int_range(pl.len()) % 5 == 0)
        .then(pl.col("timestamp") + timedelta(minutes=17))
        .otherwise("timestamp")
        .alias("timestamp")
    )

    text = messages(diagnosed(shifted))

    assert "20% of the rows lie between two steps" in text
    assert "are not a whole number of 1h after the previous one" in text


def test_rows_that_cannot_be_used_are_shown_and_fail_when_none_can() -> None:
    words = series("a", 100).with_columns(value=pl.lit("much"))
    some = series("a", 100).with_columns(pl.col("value").cast(pl.String))
    some = some.with_columns(
        pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("much")).otherwise("value").alias("value")
    )

    assert (
        "failure: a pull would fail: 100 of 100 rows were rejected, none are left: 100 unread"
        in (messages(diagnosed(words)))
    )
    assert "note: 3 of 100 rows cannot be used: unreadable_value, such as" in messages(
        diagnosed(some)
    )


def test_no_rows_fail() -> None:
    found = diagnosed(series("a", 0))

    assert messages(found).startswith("failure: no rows since 2025-")


def test_too_little_history_for_a_season_is_told_and_whether_settings_cut_it() -> None:
    since = NOW - 100 * HOUR
    cut = diagnosed(series("a", 100), 'history = "100h"', since=since)
    young = diagnosed(series("a", 100))

    assert "detecting a season of 168 steps needs 504 steps, and there are 100" in messages(cut)
    assert cut.suggestions["history"] == "22d"
    assert "history" not in young.suggestions
    assert "wait for more data" in [each.hint for each in young.findings]


def test_a_sample_that_has_not_all_of_history_suggests_none() -> None:
    since = NOW - 100 * HOUR
    whole = diagnosed(series("a", 101), 'history = "365d"', since=since)
    short = diagnosed(series("a", 101), 'history = "200h"', since=since)

    assert "history" not in whole.suggestions
    assert "detecting a season" not in messages(whole)
    assert "detecting a season of 168 steps needs 504 steps, and there are 200" in messages(short)
    assert short.suggestions["history"] == "22d"


def test_a_sample_that_has_not_all_of_history_is_not_called_too_short_to_learn_from() -> None:
    found = diagnosed(series("a", 15), since=NOW - 15 * HOUR)

    assert "for context" not in messages(found)


def test_too_little_history_for_the_horizon_is_told_and_none_to_learn_from_fails() -> None:
    short, shortest = diagnosed(series("a", 15)), diagnosed(series("a", 2))

    assert "note: history has 15 steps, of 18 needed: 6 for context, 6 for training" in messages(
        short
    )
    assert "failure: no series has more than" in messages(shortest)


def test_a_step_that_no_memory_holds_fails_before_it_is_tried() -> None:
    bursts = [series("a", 30, every=timedelta(milliseconds=1)), series("a", 3, every=100 * HOUR)]

    found = diagnosed(pl.concat(bursts), config=CONFIG.replace("1h", "1ms").replace("6h", "6ms"))

    assert "failure: history does not fit into memory: 720,000,001 cells of 1ms" in messages(found)


@pytest.mark.parametrize(
    ("value", "bound", "suggested"), [(0.0, "", 0), (0.0, "lower_bound = 0", None)]
)
def test_a_lower_bound_is_suggested_where_values_end_at_zero(
    value: float, bound: str, suggested: int | None
) -> None:
    rows = series("a", 600).with_columns(pl.col("value").clip(20.0) - 20 + value)

    assert diagnosed(rows, bound).suggestions.get("lower_bound") == suggested


def test_values_outside_the_bounds_are_counted() -> None:
    text = messages(diagnosed(series("a", 600), "upper_bound = 20"))

    assert "values lie outside lower_bound and upper_bound" in text


def test_suggestions_are_a_snippet_to_copy() -> None:
    text = snippet({"a.b": {"delay": "15m"}, "none": {}, "c": {"lower_bound": 0}})

    assert text == '[datasets."a.b"]\ndelay = "15m"\n[datasets.c]\nlower_bound = 0'


def test_series_with_rows_less_often_than_others_are_noted() -> None:
    hourly = series("hourly", 600)
    daily = series("daily", 600).gather_every(24)

    found = messages(diagnosed(pl.concat([hourly, daily])))

    assert "1 of 2 series have rows less often than the others, such as daily every 1d" in found
    assert "less often" not in messages(diagnosed(pl.concat([hourly, series("other", 300)])))
