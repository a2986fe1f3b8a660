"""Whether too many rows are rejected, and the settings under which they could be read.

The share is that of a batch, a file or one pull, over all series. The series with the most rejected
rows is not counted while there are others: one broken series does not stop the others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion.losses import Losses

READ = (
    "timestamps are read as 2026-01-31 9:00, 2026-01-31T09:00:00+01:00, 2026/1/31, 20260131T0900, "
    "31-Jan-2026, 2026-01, 2026-Q1, 2026-W05 or seconds since 1970"
)
_EITHER = re.compile(
    r"(?P<first>[0-9]{1,2})(?P<sign>[/. -]{1,2})(?P<second>[0-9]{1,2})(?P=sign)(?P<year>[0-9]{2,4})"
    r"(?P<rest>[^0-9]?.{0,40})"
)
_CLOCK = re.compile(
    r"(?P<gap>[ T]|, )[0-9]{1,2}:[0-9]{2}(?P<second>:[0-9]{2})?(?P<half> ?[AaPp][Mm])?"
)
_LAST_MONTH = 12
_FEWEST_INSTANTS = 10
_OTHER_COLUMN = "choose other columns, for example with value_column, or fix the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows that were read, those of them that were rejected, and those that can be used."""

    name: str
    rows: int
    kept: int
    lost: Losses
    declared: str | None
    """The declared format of timestamps."""


def require_file(batch: ReadRows, most: float) -> None:
    """Raise DataError where more than the share `most` of a file is rejected, or all of it."""
    require_full(batch, most)
    if batch.kept:
        return
    if batch.lost.rows:
        raise _error(batch, most)
    reason = f"no finite value in {batch.rows} rows" if batch.rows else "no rows"
    raise DataError(f"{batch.name} has no usable values: {reason}", hint=_OTHER_COLUMN)


def no_values(name: str, rows: int, rejected: int) -> DataError:
    """Return the error for a file that has no value, and retracts none."""
    empty = f"{rows - rejected} row{'s' * (rows - rejected != 1)} without a value"
    return DataError(
        f"{name} has no values, and retracts none that are stored: {empty}"
        + (f", and {rejected} rejected" if rejected else ""),
        hint="check that --value-column is right: a null retracts a stored value",
    )


def require_full(batch: ReadRows, most: float) -> None:
    """Raise DataError where more than the share `most` of a pull of all history is rejected."""
    if batch.lost.is_pattern and _counted(batch) > most * batch.rows:
        raise _error(batch, most)


def require_newest(batch: ReadRows, most: float) -> None:
    """Raise DataError where too much of an incremental pull is rejected, at many instants.

    Rows without a timestamp, or with one out of range, are read by every pull: they are not
    counted. A few instants that cannot be read are no pattern, however many series they affect.
    """
    lost = batch.lost.dated()
    newest = replace(batch, lost=lost, rows=batch.rows - batch.lost.rows + lost.rows)
    if lost.instants >= _FEWEST_INSTANTS and _counted(newest) > most * newest.rows:
        raise _error(newest, most)


def _counted(batch: ReadRows) -> int:
    has_others = len(batch.lost.keys) > 1
    return batch.lost.rows - (batch.lost.in_one_series if has_others else 0)


def _error(batch: ReadRows, most: float) -> DataError:
    limit = f"more than max_rejected ({most:.0%})" if batch.kept else "none are left"
    return DataError(
        f"{batch.name}: {batch.lost.rows} of {batch.rows} rows were rejected, {limit}: "
        f"{batch.lost.described()}",
        hint=hint(batch.lost, batch.rows, batch.declared),
    )


def hint(lost: Losses, rows: int, declared: str | None) -> str:
    """Return how to read the `lost` of so many rows, or how to skip them."""
    ways = [*_suggestions(lost.groups, declared)]
    if lost.rows < rows:
        share = (lost.rows * 100 // rows + 1) / 100
        ways.append(f"set max_rejected = {share:g} to skip these rows")
    return "; ".join(ways or ["fix the rows, or choose other columns"])


def _suggestions(groups: pl.DataFrame, declared: str | None) -> Iterator[str]:
    reasons = set(groups["reason"])
    if "malformed_row" in reasons:
        yield (
            "every line of CSV must have as many cells as the header: put cells with a separator "
            "in them in quotes, or set --separator; every line of NDJSON must be one object"
        )
    if "ambiguous_timestamp" in reasons:
        yield _order(groups.filter(reason="ambiguous_timestamp"))
    if "unreadable_timestamp" in reasons:
        if declared is None:
            yield f'{READ}; for others set timestamp_format = "%d/%m/%Y %H:%M" or the like'
        else:
            yield f'timestamp_format = "{declared}" does not match the text'
    if "unreadable_value" in reasons:
        yield from _decimals(groups.filter(reason="unreadable_value"))
    if "naive_timestamp" in reasons:
        yield "set timezone for timestamps without an offset"


def _order(groups: pl.DataFrame) -> str:
    """Return the possible formats of numeric days and months."""
    firsts, seconds = groups["first_number"].max(), groups["second_number"].max()
    example = str(groups["example"].min())
    match = _EITHER.fullmatch(example)
    if match is None or not isinstance(firsts, int) or not isinstance(seconds, int):
        return 'set timestamp_format = "%d-%b-%y" or the like: the year could be a day'
    forms = []
    if seconds <= _LAST_MONTH:
        forms.append(_form(match, "%d", "%m"))
    if firsts <= _LAST_MONTH:
        forms.append(_form(match, "%m", "%d"))
    if len(match["year"]) == 2:  # 26-01-02
        sign = match["sign"]
        forms.append(f'"%y{sign}%m{sign}%d{_clock(match["rest"])}"')
    named = " or ".join(f"timestamp_format = {form}" for form in forms) or "timestamp_format"
    return f"set {named}"


def _form(match: re.Match[str], first: str, second: str) -> str:
    year = "%Y" if len(match["year"]) == 4 else "%y"
    sign = match["sign"]
    return f'"{first}{sign}{second}{sign}{year}{_clock(match["rest"])}"'


def _clock(rest: str) -> str:
    clock = _CLOCK.match(rest)
    if clock is None:
        return ""
    hour, seconds = ("%I" if clock["half"] else "%H"), ":%S" if clock["second"] else ""
    half = (" %p" if clock["half"].startswith(" ") else "%p") if clock["half"] else ""
    return f"{clock['gap']}{hour}:%M{seconds}{half}"


def _decimals(groups: pl.DataFrame) -> Iterator[str]:
    texts = groups["example"].drop_nulls()
    with_comma = texts.filter(texts.str.contains(r"^[^,]*[0-9],[0-9]|^,[0-9]"))
    parted = texts.filter(texts.str.contains("[0-9][ \u00a0\u2009\u202f'’][0-9]{3}"))
    if with_comma.is_empty() and not parted.is_empty():
        yield f'set decimal = "." or ",", to allow thousands separators as in {parted[0]!r}'
        return
    if with_comma.is_empty():
        yield "values must be plain numbers such as 1234.5, without units: cast them in the query"
        return
    shown = with_comma[0]
    certain = with_comma.str.contains(r",(?:[0-9]{1,2}|[0-9]{4,})$|\..*,|^[0-9]{4,},").any()
    grouped = with_comma.str.contains(r",[0-9]{3}(?:,|\.)").any()
    if certain and not grouped:
        yield f'set decimal = ",": {shown!r} has a decimal comma'
    elif grouped and not certain:
        yield f'set decimal = ".": {shown!r} has commas as thousands separators'
    else:
        yield (
            f'set decimal = "," or decimal = ".": the comma of {shown!r} may be a decimal comma '
            "or a thousands separator"
        )
