"""Whether too many rows are rejected, and the settings under which they could be read.

A share of rows is lost of a batch: of a file, or of what a pull read, over all series. The series
that loses most is not counted while there are others: one sick series stops no other.
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
_OTHER_COLUMN = "name other columns, such as with value_column, or correct the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows that were read, those of them that were rejected, and those that can be used."""

    name: str
    rows: int
    kept: int
    lost: Losses
    declared: str | None
    """The format of timestamps that is declared."""


def require_file(batch: ReadRows, most: float) -> None:
    """Raise DataError where a file loses more than the share `most`, or has no row to use."""
    require_whole(batch, most)
    if batch.kept:
        return
    if batch.lost.rows:
        raise _refusal(batch, most)
    found = f"none that is finite in {batch.rows} rows" if batch.rows else "none, and no rows"
    rule = "must have values that can be used"
    raise DataError(f"{batch.name} {rule}, found {found}", hint=_OTHER_COLUMN)


def nothing_said(name: str, rows: int, rejected: int) -> DataError:
    """Return the error for a file that has no value, and takes none back."""
    found = f"{rows - rejected} row{'s' * (rows - rejected != 1)} without a value"
    return DataError(
        f"{name} must have values, or take back some that are known, found {found}"
        + (f", and {rejected} rejected" if rejected else ""),
        hint="see whether --value-column names the right one: a null takes back what was known",
    )


def require_whole(batch: ReadRows, most: float) -> None:
    """Raise DataError where a pull of all of the history loses more than the share `most`."""
    if batch.lost.is_pattern and _counted(batch) > most * batch.rows:
        raise _refusal(batch, most)


def require_newest(batch: ReadRows, most: float) -> None:
    """Raise DataError where a pull of what is new loses too much, at many instants.

    Rows without a timestamp, or with one that starts like no year of ours, come along with every
    pull: they are not counted. A few instants that cannot be read are no pattern, however many
    series they are of.
    """
    lost = batch.lost.somewhere()
    newest = replace(batch, lost=lost, rows=batch.rows - batch.lost.rows + lost.rows)
    if lost.instants >= _FEWEST_INSTANTS and _counted(newest) > most * newest.rows:
        raise _refusal(newest, most)


def _counted(batch: ReadRows) -> int:
    has_others = len(batch.lost.keys) > 1
    return batch.lost.rows - (batch.lost.in_one_series if has_others else 0)


def _refusal(batch: ReadRows, most: float) -> DataError:
    rule = f"may have {most:.0%} of its rows rejected" if batch.kept else "must have rows to use"
    return DataError(
        f"{batch.name} {rule}, found {batch.lost.rows} of {batch.rows} rejected: "
        f"{batch.lost.described()}",
        hint=hint(batch.lost, batch.rows, batch.declared),
    )


def hint(lost: Losses, rows: int, declared: str | None) -> str:
    """Return how to read `lost` of so many rows, or how to go without them."""
    ways = [*_ways(lost.groups, declared)]
    if lost.rows < rows:
        share = (lost.rows * 100 // rows + 1) / 100
        ways.append(f"set max_rejected = {share:g} to go without these rows")
    return "; ".join(ways or ["correct the rows, or name other columns"])


def _ways(groups: pl.DataFrame, declared: str | None) -> Iterator[str]:
    reasons = set(groups["reason"])
    if "ambiguous_timestamp" in reasons:
        yield _order(groups.filter(reason="ambiguous_timestamp"))
    if "unreadable_timestamp" in reasons:
        if declared is None:
            yield f'{READ}; set timestamp_format = "%d/%m/%Y %H:%M", say, for others'
        else:
            yield f'timestamp_format = "{declared}" must fit the text'
    if "unreadable_value" in reasons:
        yield from _decimals(groups.filter(reason="unreadable_value"))
    if "naive_timestamp" in reasons:
        yield "set timezone, the clock of timestamps without an offset"


def _order(groups: pl.DataFrame) -> str:
    """Name the formats that are possible for days and months in numbers."""
    firsts, seconds = groups["first_number"].max(), groups["second_number"].max()
    example = str(groups["example"].min())
    found = _EITHER.fullmatch(example)
    if found is None or not isinstance(firsts, int) or not isinstance(seconds, int):
        return 'set timestamp_format = "%d-%b-%y", say: the year may be a day'
    forms = []
    if seconds <= _LAST_MONTH:
        forms.append(_form(found, "%d", "%m"))
    if firsts <= _LAST_MONTH:
        forms.append(_form(found, "%m", "%d"))
    if len(found["year"]) == 2:  # 26-01-02
        sign = found["sign"]
        forms.append(f'"%y{sign}%m{sign}%d{_clock(found["rest"])}"')
    named = " or ".join(f"timestamp_format = {form}" for form in forms) or "timestamp_format"
    return f"set {named}"


def _form(found: re.Match[str], first: str, second: str) -> str:
    year = "%Y" if len(found["year"]) == 4 else "%y"
    sign = found["sign"]
    return f'"{first}{sign}{second}{sign}{year}{_clock(found["rest"])}"'


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
        yield f'set decimal = "." or ",", so that thousands may be parted as in {parted[0]!r}'
        return
    if with_comma.is_empty():
        yield "values must be plain numbers such as 1234.5, without units: cast them in the query"
        return
    shown = with_comma[0]
    certain = with_comma.str.contains(r",(?:[0-9]{1,2}|[0-9]{4,})$|\..*,|^[0-9]{4,},").any()
    grouped = with_comma.str.contains(r",[0-9]{3}(?:,|\.)").any()
    if certain and not grouped:
        yield f'set decimal = ",": {shown!r} has a comma before its decimals'
    elif grouped and not certain:
        yield f'set decimal = ".": {shown!r} has commas between thousands'
    else:
        yield f'set decimal = "," or decimal = ".": {shown!r} may have decimals or thousands'
