"""Files become rows: CSV, Parquet and NDJSON, from a path or a stream."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecaster.errors import DataError
from jobs import ingest

ROWS = pl.DataFrame(
    {"series_id": ["007", "008"], "timestamp": ["2026-11-20 09:00", "2026-11-20 10:00"],
     "value": [1.5, None]}
)  # fmt: skip
WRITERS: dict[ingest.Format, Callable[[pl.DataFrame, BytesIO], object]] = {
    "csv": pl.DataFrame.write_csv,
    "parquet": pl.DataFrame.write_parquet,
    "ndjson": pl.DataFrame.write_ndjson,
}


def written(file_format: ingest.Format) -> bytes:
    content = BytesIO()
    WRITERS[file_format](ROWS, content)
    return content.getvalue()


@pytest.mark.parametrize("file_format", ingest.FORMATS)
def test_keys_and_instants_stay_as_they_were_written(
    file_format: ingest.Format, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{file_format}"
    path.write_bytes(written(file_format))

    from_file = ingest.read(path, ingest.format_of(path), ("series_id",))
    from_stream = ingest.read(BytesIO(written(file_format)), file_format, ("series_id",))

    assert_frame_equal(from_file, ROWS)
    assert_frame_equal(from_stream, ROWS)


@pytest.mark.parametrize("name", ["rows.xlsx", "rows"])
def test_a_format_that_the_name_does_not_tell_must_be_given(name: str) -> None:
    with pytest.raises(DataError, match=r"format of .* must be known") as caught:
        ingest.format_of(Path(name))

    assert caught.value.hint == "pass --format csv|parquet|ndjson"


def test_a_stream_has_no_name_to_tell_its_format() -> None:
    with pytest.raises(DataError, match="standard input"):
        ingest.format_of(BytesIO())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.csv must be a readable file"):
        ingest.read(tmp_path / "nothing.csv", "csv", ("series_id",))


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a readable file"):
        ingest.read(tmp_path, "csv", ("series_id",))


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("parquet", b"PAR1 and then nothing"),
        ("ndjson", b"{this is no json"),
        ("csv", b"a,b\n1,2,3\n"),
        ("csv", b""),
        ("parquet", b""),
        ("ndjson", b""),
    ],
)
def test_a_damaged_file_is_an_error_and_not_a_traceback(
    file_format: ingest.Format, content: bytes
) -> None:
    with pytest.raises(DataError, match="standard input must"):
        ingest.read(BytesIO(content), file_format, ("series_id",))
