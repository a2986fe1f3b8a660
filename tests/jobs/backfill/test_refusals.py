"""What `forecaster backfill` refuses, and with which hint."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.backfiller import RANGE, SINCE, UNTIL
from tests.jobs.backfill.backfills import (
    backfill,
    change,
    furnished,
    number,
    past,
)
from tests.jobs.small import HOUR
from tests.jobs.terminal.terminal import type_

__all__ = ["furnished", "past"]


@pytest.mark.parametrize(
    ("words", "status", "error", "hint"),
    [
        (
            ("--from", "2026-01-02T00:00Z", "--to", "2026-01-01T00:00Z"),
            2,
            "--from must not be after --to",
            "swap",
        ),
        (
            ("--from", "2026-01-02"),
            2,
            "--from must be an ISO 8601 time with an offset",
            "for example",
        ),
        (
            ("--from", "2026-01-02T00:00Z", "--to", "2200-01-01T00:00Z"),
            2,
            "--to must be between 1900 and now",
            "",
        ),
        (
            ("--from", "2001-01-02T00:00Z", "--to", "2001-01-09T00:00Z"),
            1,
            "the range must end after the first observation",
            "--to ",
        ),
        (
            (
                "--from",
                (SINCE + timedelta(minutes=1)).isoformat(),
                "--to",
                (SINCE + timedelta(minutes=2)).isoformat(),
            ),
            2,
            "no tick of schedule",
            "the next tick",
        ),
        ((*RANGE, "--model", "7"), 1, "dataset bikes has no model 7", "models list"),
        (
            (*RANGE, "--model", "best"),
            2,
            "--model must be as-of, champion or a number",
            "models list",
        ),
        (
            (*RANGE, "--model", "champion", "--retrain-every", "1d"),
            2,
            "--retrain-every requires --model as-of",
            "omit",
        ),
        ((*RANGE, "--every", "0s"), 2, "--every must be", ""),
        (
            (*RANGE, "--every", "200y"),
            2,
            "no tick of schedule 200y + 1h (UTC)",
            "the next tick",
        ),
        ((*RANGE, "--every", "1.5mo"), 2, "--every must be a duration in whole units, such as", ""),
        (
            (*RANGE, "--retrain-every", "monthly"),
            2,
            "--retrain-every must be a duration in whole units",
            "",
        ),
        (
            (
                *RANGE,
                "--known-after=-1h",
            ),
            2,
            "--known-after must be",
            "",
        ),
        (
            (*RANGE, "cars"),
            2,
            "unknown dataset cars, expected one of: bikes",
            "add [datasets.cars]",
        ),
        (
            ("--from", (SINCE - 9 * HOUR).isoformat(), "--to", UNTIL.isoformat()),
            1,
            "no model with stored weights was in service at",
            "--retrain-every 7d",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_with_a_hint(
    past: Path, words: tuple[str, ...], status: int, error: str, hint: str
) -> None:
    answer = type_("backfill", *words)

    assert answer.status == status
    assert answer.talk.startswith(f"error: {error}")
    assert hint in answer.talk.partition("hint:  ")[2]
    assert number("SELECT count(*) FROM runs WHERE job LIKE 'backfill%'") == 0


def test_without_observations_it_says_how_to_land_some(past: Path) -> None:
    change("DELETE FROM observations")

    answer = backfill("--retrain-every", "1d")

    assert answer.status == 1
    assert answer.talk.startswith("error: dataset bikes has no observations")
    assert "forecaster ingest" in answer.talk


def test_a_champion_must_be_there_to_be_asked(past: Path) -> None:
    change("UPDATE models SET promoted_at = NULL, retired_at = NULL")

    answer = backfill("--model", "champion")

    assert answer.status == 1
    assert answer.talk.startswith("error: dataset bikes has no champion")
