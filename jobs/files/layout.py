"""What is said of how a file is written."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What is said of a file, all but the series of CSV; None, or no names, where it is not."""

    separator: str | None = None
    encoding: str | None = None
    columns: tuple[str, ...] = ()
    """Names of the columns of a file without a header."""
    series: str | None = None
    """The series that all rows are of, where no column says which."""
    usual_series: str | None = None
    """What the series of a file of two columns is called where nothing else is said."""
