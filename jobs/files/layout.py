"""The dialect of a file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """CSV options, and the series of any format; None, or no names, if not given."""

    separator: str | None = None
    encoding: str | None = None
    columns: tuple[str, ...] = ()
    """Names of the columns of a file without a header."""
    series: str | None = None
    """The series that all rows are of, where no column says which."""
    usual_series: str | None = None
    """The series of a file of two columns, if no other name is given."""
