"""Hints about settings, as the options of a command that reads a file."""

from collections.abc import Iterator
from contextlib import contextmanager

from forecaster.errors import DataError

_OPTIONS = {
    "series_columns, timestamp_column or value_column": (
        "--series-column, --timestamp-column or --value-column; without a series "
        "column, pass the name of the series with --series NAME"
    ),
    'set timezone = "Europe/Berlin", or "UTC", for the dataset': (
        "pass the time zone of the timestamps, such as --timezone Europe/Berlin or UTC"
    ),
    "timestamp_format = ": "--timestamp-format ",
    "decimal = ": "--decimal ",
    "max_rejected = ": "--max-rejected ",
    "with value_column": "with --value-column",
    "set --": "pass --",
}


@contextmanager
def hints_as_options(name: str | None = None) -> Iterator[None]:
    """Raise a DataError with a hint that names options, and `name` before its message."""
    try:
        yield
    except DataError as error:
        hint = error.hint or ""
        for setting, option in _OPTIONS.items():
            hint = hint.replace(setting, option)
        message = f"{name}: {error.message}" if name else error.message
        raise DataError(message, hint=hint or None) from error
