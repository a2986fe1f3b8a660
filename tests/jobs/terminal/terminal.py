"""A person at a terminal: types `forecaster …` and reads what comes back."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner

from jobs.cli import app

NEWEST = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

SMALL = """\
database_url = "sqlite:///{database}"
[datasets.bikes]
step = "1h"
horizon = "6h"
model = {{ hidden_size = 8, layers = 1, heads = 2, context_length = 48 }}
training = {{ steps = 4, batch_size = 8, device = "cpu", naive_guard = false }}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    status: int
    data: str
    talk: str


def type_(*words: str, stdin: str | None = None) -> Answer:
    """Run a command in this process; a bug comes out as the exception it is."""
    done = CliRunner(env={"COLUMNS": "100"}).invoke(app, list(words), input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Answer(done.exit_code, done.stdout, done.stderr)


def configure(folder: Path, text: str = "") -> Path:
    """Write forecaster.toml with one small dataset and `text` after it."""
    config = folder / "forecaster.toml"
    config.write_text(SMALL.format(database=folder / "forecaster.db") + text)
    return config


def trips(hours: int = 300, until: datetime = NEWEST) -> str:
    """CSV of two stations, hourly, up to `until`."""
    lines = ["series_id,timestamp,value"]
    for back in reversed(range(hours)):
        at = until - timedelta(hours=back)
        for number, station in enumerate(("north", "south")):
            value = 20 + 8 * math.sin(math.tau * at.hour / 24 + number) + back % 3
            lines.append(f"{station},{at.isoformat()},{value:.3f}")
    return "\n".join(lines) + "\n"
