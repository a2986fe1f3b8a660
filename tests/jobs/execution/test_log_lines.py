"""The lines of the log: the same events as text and as JSON, each of one line."""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.execution.log_lines import Event, JsonFormatter, TextFormatter, context
from jobs.execution.reports import Json

FIELDS: dict[str, Json] = {
    "rows": 3, "rate": 0.123456, "by": {"new": 2}, "name": 'a "b"', "none": None, "list": [1]
}  # fmt: skip
Fields = st.dictionaries(st.text(), st.text() | st.dictionaries(st.text(), st.text()))


def record(
    message: object, *arguments: object, error: Exception | None = None
) -> logging.LogRecord:
    caught = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("forecaster", logging.INFO, "", 0, message, arguments, caught)
    made.created = 1767243600.25
    return made


def test_a_line_is_plain_to_read_and_to_parse() -> None:
    said = TextFormatter().format(record(Event("pulled", FIELDS)))

    assert said == ('2026-01-01T05:00:00Z INFO pulled rows=3 rate=0.1235 by.new=2 name="a \\"b\\""')


def test_a_line_of_json_has_every_field_and_what_is_done() -> None:
    with context(job="forecast", dataset="bikes"):
        said = JsonFormatter().format(record(Event("pulled", FIELDS)))
        retried = JsonFormatter().format(record("retrying: %s", "no answer"))
    after = JsonFormatter().format(record("done"))

    head = {"time": "2026-01-01T05:00:00.250+00:00", "level": "info"}
    doing = {"job": "forecast", "dataset": "bikes"}
    assert json.loads(said) == {**head, "message": "pulled", **doing, **FIELDS}
    assert json.loads(retried) == {**head, "message": "retrying: no answer", **doing}
    assert json.loads(after) == {**head, "message": "done"}


@pytest.mark.fault(35)
@given(Fields)
def test_a_line_is_one_line_whatever_series_are_called(fields: Mapping[str, Json]) -> None:
    event = Event("forecast done", {"skipped_series": dict(fields)})

    assert str(event).splitlines() == [str(event)]
    assert str(event).isprintable()
    said = JsonFormatter().format(record(event))
    assert said.splitlines() == [said]
    assert json.loads(said)["skipped_series"] == fields


@pytest.mark.fault(20)
def test_json_without_its_secrets_is_still_json() -> None:
    said = JsonFormatter().format(
        record('no such user: password="a b" sslmode=off', error=ValueError("pass='hunter2'"))
    )

    line = json.loads(said)
    assert line["message"] == "no such user: password=*** sslmode=off"
    assert line["traceback"] == "ValueError: pass=***"


def test_what_ends_a_thread_is_a_line_of_json_too() -> None:
    script = (
        "import threading\n"
        "from jobs.execution.log_lines import LogFormat, log_to_stderr\n"
        "log_to_stderr(LogFormat.json)\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='poll')\n"
        "thread.start(); thread.join()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    line = json.loads(done.stderr)
    assert (line["level"], line["message"]) == ("critical", "thread poll crashed")
    assert line["traceback"].endswith("ZeroDivisionError: division by zero")
