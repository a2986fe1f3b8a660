"""Small files to test a model on, and what a backtest says of them."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.jobs.terminal.terminal import Answer, type_

START = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = ["model", "naive", "seasonal_naive"]


def wave(hour: int, phase: int = 0) -> float:
    return 20 + 8 * math.sin(math.tau * hour / 24 + phase) + hour % 5


def rows(hours: int, *, name: str = "a", step: timedelta = timedelta(hours=1)) -> list[str]:
    """Lines of CSV: one series with a day."""
    return [
        f"{name},{(START + hour * step).isoformat()},{wave(hour, len(name)):.3f}"
        for hour in range(hours)
    ]


def file(lines: Sequence[str], header: str = "series_id,timestamp,value") -> str:
    """Write rows.csv, and return its name."""
    Path("rows.csv").write_text("\n".join([header, *lines]) + "\n")
    return "rows.csv"


def split(train: int, test: int, name: str = "a") -> list[str]:
    """Lines of one series, so many of which are marked train and test."""
    marks = ["train"] * train + ["test"] * test
    plain = rows(train + test, name=name)
    return [f"{row},{mark}" for row, mark in zip(plain, marks, strict=True)]


SPLIT = "series_id,timestamp,value,split"


def report_of(*words: str) -> dict[str, Any]:
    """What `forecaster backtest` says in JSON."""
    answer = type_("backtest", *words, "--json")
    assert answer.status == 0, answer.talk
    found: dict[str, Any] = json.loads(answer.data)
    return found


def predictors(found: dict[str, Any]) -> list[str]:
    """Who is in the table of everything, in order."""
    return [row["predictor"] for row in found["overall"]]


def section(answer: Answer, title: str) -> list[str]:
    """The lines of a table, its heading first."""
    lines = answer.data.splitlines()
    return lines[lines.index(title) + 1 :]
