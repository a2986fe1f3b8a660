"""Lines of CSV with more or fewer cells than the header: rejected and counted, never nulls."""

from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from forecaster.errors import DataError
from forecaster.ingestion.malformed import MalformedRows
from jobs.files import csv_rows, reader
from jobs.files.layout import Dialect
from tests.jobs.terminal.terminal import configure, type_

GOOD = [f"a,2026-01-{day:02},{day}" for day in range(1, 31)]


def read(
    content: str, dialect: Dialect = reader.USUAL
) -> tuple[list[tuple[object, ...]], MalformedRows]:
    malformed = MalformedRows()
    source = reader.Source(content=BytesIO(content.encode()), file_format="csv", name="rows")
    found = pl.concat(reader.read(source, 100, malformed=malformed, dialect=dialect))
    return found.rows(), malformed


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("b,2026-01-01", 0),
        ("b", 0),
        ("b,2026-01-01,1,2", 0),
        ("b,2026-01-01,1,,", 0),
        ("b,2026-01-01,1,", 1),
        ('"b,2026-01-01",1', 0),
        ("b,2026-01-01,", 1),
        ("b,,", 1),
        (",,", 1),
        ('"b, c",2026-01-01,1', 1),
        ('"b\nc",2026-01-01,1', 1),
        ('"b ""c""",2026-01-01,1', 1),
        ('5" b,2026-01-01,1', 1),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_a_row_where_it_has_all_its_cells(line: str, rows: int, end: str) -> None:
    lines = ["series_id,timestamp,value", "a,2026-01-01,1", line, "a,2026-01-02,2"]

    found, malformed = read(end.join(lines))

    assert [row for row in found if row[0] == "a"] == [
        ("a", "2026-01-01", "1"),
        ("a", "2026-01-02", "2"),
    ]
    assert len(found) == 2 + rows
    assert (malformed.rows, malformed.example) == ((0, None) if rows else (1, line))


@pytest.mark.parametrize("last", ["b,2026-01-0", 'b,2026-01-01,"2', 'b,"2026', "b"])
def test_a_last_line_that_is_cut_off_is_no_row(last: str) -> None:
    found, malformed = read("\n".join(["series_id,timestamp,value", *GOOD, last]))

    assert len(found) == len(GOOD)
    assert (malformed.rows, malformed.example) == (1, last)


@pytest.mark.parametrize("of_header", ["", ","])
@pytest.mark.parametrize("of_rows", ["", ","])
def test_a_separator_at_the_end_of_lines_adds_no_cell(of_header: str, of_rows: str) -> None:
    header = f"series_id,timestamp,value{of_header}"
    found, malformed = read("\n".join([header, *(f"{line}{of_rows}" for line in GOOD)]))

    assert [row[:3] for row in found] == read("\n".join(["series_id,timestamp,value", *GOOD]))[0]
    assert malformed.rows == 0


def test_a_line_that_is_too_short_for_a_header_that_ends_in_a_separator_is_rejected() -> None:
    found, malformed = read("\n".join(["series_id,timestamp,value,", *GOOD, "a,2026-02-01"]))

    assert (len(found), malformed.example) == (len(GOOD), "a,2026-02-01")


def test_blank_lines_at_the_end_are_no_malformed_rows() -> None:
    assert read("\n".join(["series_id,timestamp,value", *GOOD, "", ""]))[1].rows == 0


@pytest.mark.parametrize("bad", ["a,2026-02-01", "a,2026-02-01,1,2", '5" a,2026-02-01,1'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_after_a_blank_line_are_read(bad: str, end: str) -> None:
    lines = ["series_id,timestamp,value", "", *GOOD[:3], "", "", bad, *GOOD[3:], "", "a,2"]

    rows, malformed = read(end.join(lines))

    assert [row[2] for row in rows if row[0] == "a"] == [str(day) for day in range(1, 31)]
    assert malformed.rows == (1 if bad.startswith("5") else 2)


@pytest.mark.parametrize("start", ["\n", "\n\r\n", "sep=,\n\n", "# of 2026\n\n"])
@pytest.mark.parametrize("columns", [(), ("series_id", "timestamp", "value")])
def test_blank_lines_before_the_first_row_are_skipped(start: str, columns: tuple[str, ...]) -> None:
    header = [] if columns else ["series_id,timestamp,value"]

    rows, malformed = read(start + "\n".join([*header, *GOOD, "a"]), Dialect(columns=columns))

    assert (len(rows), malformed.rows) == (len(GOOD), 1)


def test_a_quoted_name_of_a_column_may_span_lines() -> None:
    rows, malformed = read("\n".join(['series_id,timestamp,"value', '(kW)"', *GOOD, "a"]))

    assert (len(rows), malformed.rows) == (len(GOOD), 1)


@pytest.mark.parametrize("names", ["ab", "abcd"])
def test_names_of_columns_must_be_as_many_as_the_columns(names: str) -> None:
    with pytest.raises(DataError, match=rf"--columns has names \({len(names)}\), found 3"):
        read("\n".join(GOOD), Dialect(columns=tuple(names)))


def test_what_an_open_quote_takes_in_is_counted_line_by_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_rows, "_LINES_AT_ONCE", 7)
    lines = ["series_id,timestamp,value", *GOOD[:10], 'a,2026-01-11,"5', *GOOD[11:]]

    found, malformed = read("\n".join(lines))

    assert len(found) == 10
    assert malformed.rows == 20
    assert malformed.rejected().rejected == {"malformed_row": 20}


def test_the_cells_of_a_file_without_a_header_are_those_that_are_named() -> None:
    dialect = Dialect(columns=("series_id", "timestamp", "value"))

    found, malformed = read("\n".join([*GOOD, "a,2026-02-01"]), dialect)

    assert (len(found), malformed.rows) == (len(GOOD), 1)


def test_comments_and_the_header_stay_what_they_are() -> None:
    text = "\n".join(["# a, b", '"series_id" , timestamp,value', *GOOD, "a", 'b,2026-01-01,"1"'])

    found, malformed = read(text)

    assert (len(found), malformed.rows) == (len(GOOD) + 1, 1)


@pytest.mark.parametrize(
    ("cut", "status"),
    [pytest.param(1, 0, marks=pytest.mark.slow), (8, 1)],  # one is trained on
)
def test_a_file_that_loses_more_of_its_lines_than_it_may_is_refused(
    folder: Path, cut: int, status: int
) -> None:
    configure(folder)
    lines = [line.rpartition(",")[0] for line in GOOD[:cut]] + GOOD[cut:]
    (folder / "rows.csv").write_text("\n".join(["series_id,timestamp,value", *lines]))

    answer = type_("ingest", str(folder / "rows.csv"), "--timezone", "UTC")
    tested = type_(
        "backtest", str(folder / "rows.csv"), "--timezone", "UTC", "--horizon", "2d", "--json"
    )

    assert answer.status == status, answer.talk
    told = answer.talk if status else answer.data
    assert ("8 of 30 rows were rejected" if status else "rejected 1: malformed_row, such as") in (
        told
    )
    assert ("8 malformed_row, all of the form 'a,0000-00-00'" in tested.talk) == bool(status)
    assert ("1 of 30 rows cannot be used: malformed_row" in tested.talk) == (not status)
