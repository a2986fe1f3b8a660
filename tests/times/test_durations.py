"""Durations and steps: what is read, what is refused, and that nothing is lost on the way back."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.times.durations import Step, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(days=14)),
        ("1y", timedelta(days=365)),
        ("0s", timedelta(0)),
        ("PT15M", timedelta(minutes=15)),
        ("P7D", timedelta(days=7)),
        ("P1W", timedelta(days=7)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    ],
)
def test_prometheus_and_iso_durations_are_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "15", "1.5", "-5m", "1m1h", "1h1h", "1.5h", " 5m", "5m\n", "P", "PT", "PT1D", "P1H",
     "5 m", "1M", "1mo", "P1M", "P1Y", "abc", "٣m", "9" * 30 + "w"],
)  # fmt: skip
def test_anything_else_is_refused_saying_what_was_found(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be .*, found '"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_written_duration_reads_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(alphabet="0123456789PTYMWDHSmsuhdwoy.- ", max_size=12))
def test_text_is_read_or_refused_with_a_value_error(text: str) -> None:
    for read in (parse_duration, Step.parse):
        with contextlib.suppress(ValueError):
            read(text)


@pytest.mark.parametrize(
    ("text", "step", "written"),
    [
        ("5m", Step(300_000_000, "microsecond"), "5m"),
        ("90s", Step(90_000_000, "microsecond"), "1m30s"),
        ("PT1H", Step(3_600_000_000, "microsecond"), "1h"),
        ("36h", Step(129_600_000_000, "microsecond"), "1d12h"),
        ("24h", Step(1, "day"), "1d"),
        ("1w", Step(7, "day"), "1w"),
        ("10d", Step(10, "day"), "10d"),
        ("1mo", Step(1, "month"), "1mo"),
        ("P3M", Step(3, "month"), "3mo"),
        ("1y", Step(12, "month"), "1y"),
        ("P1Y", Step(12, "month"), "1y"),
    ],
)
def test_steps_are_read_and_written_in_one_way(text: str, step: Step, written: str) -> None:
    assert Step.parse(text) == step
    assert str(step) == written
    assert Step.parse(written) == step


@pytest.mark.parametrize("text", ["0s", "P0D", "0mo", "1001y", "5", "1mo1d"])
def test_a_step_must_be_longer_than_zero_and_known(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        Step.parse(text)


@pytest.mark.parametrize(
    ("step", "duration", "steps"),
    [("1h", "2d", 48), ("5m", "1h", 12), ("1d", "2w", 14), ("1w", "13w", 13), ("1mo", "1y", 12)],
)
def test_a_horizon_is_counted_in_steps(step: str, duration: str, steps: int) -> None:
    assert Step.parse(step).steps_in(duration) == steps
    assert Step.parse(step).steps_in(Step.parse(duration)) == steps


@pytest.mark.parametrize(
    ("step", "duration"),
    [("1h", "90m"), ("7m", "1h"), ("1d", "36h"), ("1d", "1mo"), ("1mo", "30d"), ("1w", "10d"),
     ("1h", "1mo")],
)  # fmt: skip
def test_a_horizon_that_steps_do_not_fill_is_refused(step: str, duration: str) -> None:
    with pytest.raises(ValueError, match="whole number of steps"):
        Step.parse(step).steps_in(duration)
