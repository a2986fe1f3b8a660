"""Text in files and sources that can mean several things: options, settings and what leads on."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.jobs.terminal.terminal import NEWEST, configure, type_

HOURS = 504


def written(folder: Path, spelling: str, value: str = "1.5") -> str:
    """A file of one series whose timestamps are spelled so."""
    stamps = [NEWEST - timedelta(hours=back) for back in reversed(range(HOURS))]
    lines = [f'a,{at.strftime(spelling)},"{value}"' for at in stamps]
    path = folder / "rows.csv"
    path.write_text("\n".join(["series_id,timestamp,value", *lines]))
    return str(path)


def test_a_file_of_which_nothing_lands_is_an_error_that_names_what_is_read(folder: Path) -> None:
    configure(folder)

    answer = type_("ingest", written(folder, "%Hh%M on %d %m %Y"), "--timezone", "UTC")

    assert (answer.status, answer.data) == (1, "")
    assert f"{HOURS} of {HOURS} rows were rejected" in answer.talk
    assert "2026-01-31 9:00" in answer.talk
    assert "--timestamp-format" in answer.talk


@pytest.mark.parametrize("words", [("ingest",), ("backtest", "--horizon", "24h")])
def test_days_and_months_are_read_in_the_format_that_an_option_gives(
    folder: Path, words: tuple[str, ...]
) -> None:
    configure(folder)
    file = written(folder, "%d/%m/%Y %H:%M")

    answer = type_(*words, file, "--timezone", "UTC")

    assert answer.status == 1
    assert "ambiguous_timestamp" in answer.talk
    assert '--timestamp-format "%d/%m/%Y %H:%M"' in answer.talk
    if words == ("ingest",):
        told = type_("ingest", file, "--timezone", "UTC", "--timestamp-format", "%d/%m/%Y %H:%M")
        assert (told.status, f"{HOURS} new" in told.data) == (0, True)


def test_a_comma_is_read_as_an_option_says(folder: Path) -> None:
    configure(folder)
    file = written(folder, "%Y-%m-%dT%H:%MZ", value="1.234,5")

    refused = type_("ingest", file)
    answer = type_("ingest", file, "--decimal", ",")

    assert refused.status == 1
    assert 'pass --decimal ","' in refused.talk
    assert (answer.status, f"{HOURS} new" in answer.data) == (0, True)


@pytest.mark.parametrize("command", ["ingest", "backtest", "simulate"])
def test_options_that_make_no_sense_are_all_named(folder: Path, command: str) -> None:
    configure(folder)
    file = written(folder, "%Y-%m-%dT%H:%MZ")
    horizon = () if command == "ingest" else ("--horizon", "24h")

    answer = type_(
        command, file, *horizon, "--timestamp-format", "%H:%M", "--decimal", ";",
        "--max-rejected", "2",
    )  # fmt: skip

    assert answer.status == 2
    assert "--timestamp-format must contain a date" in answer.talk
    assert "--decimal must be" in answer.talk
    assert "--max-rejected must be from 0 to 1, found 2" in answer.talk


def test_settings_that_make_no_sense_are_named_when_the_configuration_is_read(
    folder: Path,
) -> None:
    config = configure(folder)
    config.write_text(
        config.read_text().replace(
            'step = "1h"', 'step = "1h"\ntimestamp_format = "%d"\ndecimal = ";"\nmax_rejected = 7'
        )
    )

    answer = type_("check")

    assert answer.status != 0
    for name in (
        "timestamp_format: must contain a date",
        "decimal: must be",
        "max_rejected: must be",
    ):
        assert f"datasets.bikes.{name}" in answer.talk + answer.data


def test_a_configuration_shows_how_text_is_spelled(folder: Path) -> None:
    config = configure(folder)
    spelled = 'timestamp_format = "%d/%m/%Y"\ndecimal = ","\nmax_rejected = 0.25'
    config.write_text(config.read_text().replace('step = "1h"', f'step = "1h"\n{spelled}'))

    shown = type_("config").data

    assert all(line in shown for line in spelled.splitlines())
