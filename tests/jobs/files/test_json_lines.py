"""Lines of NDJSON that hold no object are rejected like rows that cannot be used."""

import json
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from forecaster.errors import DataError
from forecaster.ingestion.malformed import MalformedRows
from jobs.files import reader
from jobs.files.reader import Source
from tests.jobs.terminal.terminal import configure, type_

GOOD = [
    json.dumps({"series_id": "a", "timestamp": f"2026-01-{day:02d}", "value": float(day)})
    for day in range(1, 31)
]


def read(lines: list[str], rows_at_once: int = 100) -> tuple[pl.DataFrame, MalformedRows]:
    malformed = MalformedRows()
    source = Source(content=BytesIO("\n".join(lines).encode()), file_format="ndjson", name="x")
    frames = [*reader.read(source, rows_at_once, malformed=malformed, keys=["series_id"])]
    return pl.concat(frames, how="diagonal_relaxed"), malformed


@pytest.mark.parametrize("rows_at_once", [1, 7, 100])
@pytest.mark.parametrize(
    "line",
    [
        GOOD[0][:30],
        '{"series_id":"a","timestamp":"2026-02-01","value":NaN}',
        '"text"',
        "[1, 2]",
        "[" * 100_000,
    ],
    ids=["cut", "NaN", "text", "list", "depth"],
)
def test_a_line_without_an_object_is_counted(line: str, rows_at_once: int) -> None:
    found, malformed = read([*GOOD, line], rows_at_once)

    assert found["value"].to_list() == [float(day) for day in range(1, 31)]
    assert (malformed.rows, malformed.example) == (1, line)


def test_blank_lines_are_no_malformed_rows() -> None:
    found, malformed = read([*GOOD[:3], "", *GOOD[3:], "", ""])

    assert (len(found), malformed.rows) == (len(GOOD), 0)


def test_a_file_of_blank_lines_has_no_rows() -> None:
    with pytest.raises(DataError, match="x has no rows"):
        read(["", "  ", ""])


def test_a_byte_order_mark_is_no_part_of_a_row() -> None:
    rows, malformed = read(["\ufeff" + GOOD[0], *GOOD[1:]])

    assert (len(rows), malformed.rows) == (len(GOOD), 0)


def test_objects_that_the_parser_rejects_are_an_error() -> None:
    deep = '{"series_id":"a","timestamp":"2026-01-01","value":1,"more":%s1%s}'

    with pytest.raises(DataError, match="cannot read x as ndjson"):
        read([deep % ("[" * 1500, "]" * 1500)], rows_at_once=1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(f"[{', '.join(GOOD)}]", r'found \[\{"series_id"'), ("a,b\n1,2", "found a,b")],
    ids=["array", "csv"],
)
def test_a_file_without_any_object_is_another_format(text: str, shown: str) -> None:
    with pytest.raises(DataError, match=f"one JSON object is expected on each line, {shown}"):
        read([text])


@pytest.mark.parametrize(("cut", "status"), [(1, 0), (8, 1)])
def test_a_file_that_loses_more_of_its_lines_than_it_may_is_refused(
    folder: Path, cut: int, status: int
) -> None:
    configure(folder)
    lines = [line[:-5] for line in GOOD[:cut]] + GOOD[cut:]
    (folder / "rows.ndjson").write_text("\n".join(lines))

    answer = type_("ingest", str(folder / "rows.ndjson"), "--timezone", "UTC")

    assert answer.status == status, answer.talk
    if status:
        assert "8 of 30 rows were rejected" in answer.talk
    else:
        assert "rejected 1: malformed_row, such as" in answer.data
