"""Files become rows: CSV, Parquet and NDJSON, from a path or a stream."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecaster.errors import DataError
from forecaster.ingestion.malformed import MalformedRows
from jobs.files import reader

ROWS = pl.DataFrame(
    {"series_id": ["007", "008"], "timestamp": ["2026-11-20 09:00", "2026-11-20 10:00"],
     "value": [1.5, None]}
)  # fmt: skip
WRITERS: dict[reader.Format, Callable[[pl.DataFrame, BytesIO], object]] = {
    "csv": pl.DataFrame.write_csv,
    "parquet": pl.DataFrame.write_parquet,
    "ndjson": pl.DataFrame.write_ndjson,
}


def written(file_format: reader.Format) -> bytes:
    content = BytesIO()
    WRITERS[file_format](ROWS, content)
    return content.getvalue()


def parts(
    content: Path | BytesIO, file_format: reader.Format, most: int, *keys: str
) -> list[pl.DataFrame]:
    source = reader.Source(content=content, file_format=file_format, name=reader.name_of(content))
    return [*reader.read(source, most, malformed=MalformedRows(), keys=keys)]


def whole(source: Path | BytesIO, file_format: reader.Format) -> pl.DataFrame:
    return pl.concat(parts(source, file_format, 100))


@pytest.mark.parametrize("file_format", reader.FORMATS)
def test_keys_and_instants_stay_as_they_were_written(
    file_format: reader.Format, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{file_format}"
    path.write_bytes(written(file_format))

    from_file = whole(path, reader.format_of(path))
    from_stream = whole(BytesIO(written(file_format)), file_format)

    expected = ROWS.cast(pl.String) if file_format == "csv" else ROWS
    assert_frame_equal(from_file, expected, check_exact=True)
    assert_frame_equal(from_stream, expected, check_exact=True)


@pytest.mark.parametrize("file_format", reader.FORMATS)
def test_no_frame_has_more_rows_than_asked_for(file_format: reader.Format) -> None:
    found = parts(BytesIO(written(file_format)), file_format, 1)

    assert max(part.height for part in found) == 1
    assert sum(part.height for part in found) == ROWS.height


def test_a_column_that_later_lines_leave_out_is_null_there() -> None:
    lines = BytesIO(b'{"a": 1, "b": 2}\n{"a": 3}\n')

    first, second = parts(lines, "ndjson", 1)

    assert first.to_dicts() == [{"a": 1, "b": 2}]
    assert second.to_dicts() == [{"a": 3, "b": None}]


@pytest.mark.parametrize("name", ["rows.xlsx", "rows"])
def test_a_format_that_the_name_does_not_tell_must_be_given(name: str) -> None:
    with pytest.raises(DataError, match=r"unknown file format of") as caught:
        reader.format_of(Path(name))

    assert caught.value.hint == "pass --format csv|parquet|ndjson"


def test_a_stream_has_no_name_to_tell_its_format() -> None:
    with pytest.raises(DataError, match="standard input"):
        reader.format_of(BytesIO())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nothing\.csv"):
        whole(tmp_path / "nothing.csv", "csv")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        whole(tmp_path, "csv")


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("parquet", b"PAR1 and then nothing"),
        ("ndjson", b"{this is no json"),
        ("csv", b""),
        ("parquet", b""),
        ("ndjson", b""),
    ],
)
def test_a_damaged_file_is_an_error_and_not_a_traceback(
    file_format: reader.Format, content: bytes
) -> None:
    with pytest.raises(DataError, match=r"standard input (as|has no rows)"):
        whole(BytesIO(content), file_format)


@pytest.mark.parametrize("name", ["gerät", "id [x", "a.b*", 'a "b" (c', "größe\\"])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_column_of_exact_keys_may_have_any_name(name: str, is_ascii: bool) -> None:
    values = [12345678901234567890123, "b", "007"]
    lines = [json.dumps({name: value}, ensure_ascii=is_ascii) for value in values]

    found = pl.concat(parts(BytesIO("\n".join(lines).encode()), "ndjson", 9, name))

    assert found[name].to_list() == ["12345678901234567890123", "b", "007"]
