"""CSV as strangers write it: what is certain is found, what can be two things is refused."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecaster.errors import ConfigError, DataError
from forecaster.ingestion.malformed import MalformedRows
from jobs.files import reader
from jobs.files.layout import Dialect
from jobs.terminal.file_options import FileOptions
from tests.jobs.terminal.terminal import configure, type_

PLAIN = "timestamp;größe\n2026-01-01;1,5\n2026-01-02;2,5\n"
CELLS = [
    {"timestamp": "2026-01-01", "größe": "1,5"},
    {"timestamp": "2026-01-02", "größe": "2,5"},
]


def read(content: bytes, dialect: Dialect = reader.USUAL) -> list[dict[str, str]]:
    source = reader.Source(content=BytesIO(content), file_format="csv", name="rows")
    found = reader.read(source, 100, malformed=MalformedRows(), dialect=dialect)
    return pl.concat(found).to_dicts()


def refused(content: bytes, dialect: Dialect = reader.USUAL) -> DataError:
    with pytest.raises(DataError) as caught:
        read(content, dialect)
    return caught.value


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_what_parts_the_columns_is_found_where_it_is_one_sign(separator: str) -> None:
    assert read(PLAIN.replace(";", separator).encode()) == CELLS


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_a_line_may_name_the_separator(line: str) -> None:
    assert read((line + PLAIN).encode()) == CELLS
    ambiguous = "timestamp;value, kWh\n2026-01-01;1,5\n"
    assert read((line + ambiguous).encode()) == [{"timestamp": "2026-01-01", "value, kWh": "1,5"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_encoding_that_a_file_names_is_found(encoding: str) -> None:
    assert read(PLAIN.encode(encoding)) == CELLS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_any_other_encoding_is_refused_until_it_is_given(encoding: str) -> None:
    content = PLAIN.encode(encoding)

    error = refused(content)

    assert "must be UTF-8 text, found" in error.message
    assert f"--encoding {encoding}" in (error.hint or "")
    assert read(content, Dialect(encoding=encoding)) == CELLS


def test_bytes_that_an_encoding_does_not_have_are_refused() -> None:
    assert "must be ascii" in refused(PLAIN.encode(), Dialect(encoding="ascii")).message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "utf-7", "punycode"])
@pytest.mark.parametrize("written", ["latin-1", "utf-16-le"])
def test_bytes_that_are_in_no_such_encoding_are_refused(encoding: str, written: str) -> None:
    content = "timestamp;größe\n2026-01-01;1\n".encode(written)

    assert f"must be {encoding}" in refused(content, Dialect(encoding=encoding)).message


@pytest.mark.parametrize("encoding", ["rot13", "hex", "base64", "klingon", "a\0b"])
def test_an_encoding_must_be_one_of_text(encoding: str) -> None:
    with pytest.raises(ConfigError, match="--encoding must be a text encoding"):
        FileOptions(encoding=encoding)


def test_a_byte_far_down_is_found_as_well() -> None:
    lines = [b"timestamp,value"] + [b"2026-01-01,1"] * 200_000 + [b"2026-01-01,\xff"]

    error = refused(b"\n".join(lines))

    assert "found byte 0xff" in error.message


def test_a_separator_that_can_be_two_signs_is_refused_with_both_named() -> None:
    content = b"timestamp;value, kWh\n2026-01-01;1,5\n2026-01-02;2,5\n"

    error = refused(content)

    assert "a comma or a semicolon" in error.message
    assert error.hint == "pass --separator ',' or --separator ';'"
    assert read(content, Dialect(separator=";"))[0] == {
        "timestamp": "2026-01-01", "value, kWh": "1,5",
    }  # fmt: skip


def test_a_sign_that_only_the_header_has_is_no_separator() -> None:
    content = b"timestamp;value, kWh\n2026-01-01;1\n2026-01-02;2\n"

    assert [row["value, kWh"] for row in read(content)] == ["1", "2"]


def test_comments_before_the_header_are_left_out_and_no_others() -> None:
    content = b"# exported\n# by a meter, on a day\ntimestamp,key\n2026-01-01,a\n#x,b\n"

    assert read(content) == [
        {"timestamp": "2026-01-01", "key": "a"},
        {"timestamp": "#x", "key": "b"},
    ]
    assert read(b"#timestamp,value\n2026-01-01,1\n") == [{"#timestamp": "2026-01-01", "value": "1"}]


def test_names_lose_the_blanks_around_them() -> None:
    assert read(b'"time stamp" , value\n2026-01-01,1\n') == [
        {"time stamp": "2026-01-01", "value": "1"}
    ]
    assert list(read(b"a, a\n1,2\n")[0]) == ["a", " a"]


@pytest.mark.parametrize(
    "content", [b"2026-01-01T00:00Z,1.5\n", b"a,01/02/2026,3\n", b'"x";"2026-01-01";"1,5"\n']
)
def test_a_file_without_a_header_is_refused_until_its_columns_are_named(content: bytes) -> None:
    error = refused(content)

    assert "must begin with a header line" in error.message
    assert "--columns" in (error.hint or "")
    names = tuple("abc"[: len(content.split(b";" if b";" in content else b","))])
    assert tuple(read(content, Dialect(columns=names))[0]) == names


@pytest.mark.parametrize("content", [b"store,2026-01-01,2026-01-02\na,1,2\n", b"1,2\n3,4\n"])
def test_names_of_columns_may_be_dates_or_numbers(content: bytes) -> None:
    assert len(read(content)) == 1


def ingest(folder: Path, content: str, *words: str) -> tuple[int, str, str]:
    (folder / "rows.csv").write_text(content)
    answer = type_("ingest", str(folder / "rows.csv"), "--timezone", "UTC", *words)
    return answer.status, answer.data, answer.talk


def test_a_file_with_one_column_of_values_beside_others_is_one_series_where_it_is_said(
    folder: Path,
) -> None:
    configure(folder)
    wide = "timestamp,load,temperature\n2026-01-01,1,5\n2026-01-02,2,6\n"

    status, _, talk = ingest(folder, wide)
    one = ingest(folder, wide, "--series", "grid", "--value-column", "load")
    lost = ingest(folder, wide, "--series", "grid")
    keyed = ingest(folder, "series_id,timestamp,value\na,2026-01-01,1\n", "--series", "grid")

    assert status == 1
    assert "--series NAME" in talk
    assert (one[0], "2 new" in one[1]) == (0, True)
    assert (lost[0], "--value-column" in lost[2]) == (1, True)
    assert (keyed[0], "omit --series" in keyed[2]) == (1, True)


def test_options_say_how_a_file_is_written(folder: Path) -> None:
    configure(folder)

    done = ingest(
        folder, "a|2026-01-01|1\nb|2026-01-01|2\n", "--separator", "|",
        "--columns", "series_id,timestamp,value", "--encoding", "latin-1",
    )  # fmt: skip
    wrong = ingest(folder, "", "--separator", ";;", "--encoding", "klingon", "--columns", "a,a")

    assert (done[0], "2 new" in done[1]) == (0, True)
    assert wrong[0] == 2
    for option in ("--separator must be", "--encoding must be", "--columns must be"):
        assert option in wrong[2]


CSV_ONLY = {"--separator": ";", "--encoding": "latin-1", "--columns": "series_id,timestamp,value"}
COMMANDS = {
    "ingest": ("ingest", "{}", "--timezone", "UTC"),
    "backtest": ("backtest", "{}", "--timezone", "UTC", "--horizon", "2h"),
    "simulate": ("simulate", "{}", "--timezone", "UTC", "--horizon", "2h"),
    "demo": ("demo", "--file", "{}", "--timezone", "UTC", "--step", "1h", "--horizon", "2h"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_said_of_csv_is_refused_for_other_files(folder: Path, command: str) -> None:
    configure(folder)
    (folder / "rows.ndjson").write_text('{"series_id":"a","timestamp":"2026-01-01","value":1}\n')
    words = [word.format(folder / "rows.ndjson") for word in COMMANDS[command]]

    for option, value in CSV_ONLY.items():
        answer = type_(*words, option, value)

        assert answer.status == 2
        assert f"{option} is only for csv, found ndjson" in answer.talk
        assert f"omit {option}" in answer.talk


def test_what_is_said_of_csv_is_refused_for_a_parquet_stream() -> None:
    dialect = Dialect(separator=";", encoding="latin-1", columns=("a",))

    with pytest.raises(ConfigError) as caught:
        reader.chosen_format(BytesIO(), "parquet", dialect)

    assert len(caught.value.problems) == 3
    assert reader.chosen_format(BytesIO(), "parquet", Dialect(series="a")) == "parquet"
    assert reader.chosen_format(Path("rows.csv"), None, dialect) == "csv"


@pytest.mark.parametrize("name", ["separator", "encoding", "columns"])
def test_an_empty_word_is_no_option(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name} must not be empty"):
        replace(FileOptions(), **dict[str, Any]({name: ""}))


@pytest.mark.parametrize("words", [(), ("--series", "grid")])
def test_two_columns_of_one_name_are_refused(folder: Path, words: tuple[str, ...]) -> None:
    configure(folder)
    rows = "series_id,timestamp,value,value\na,2026-01-01,1,5\n"

    status, _, talk = ingest(folder, rows, *words)

    assert (status, "column 'value' must be unique, found several" in talk) == (1, True)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04rest", "a zip archive or spreadsheet"),
        (b"timestamp,value\r2026-01-01,1\r", r"only \r"),
    ],
)
def test_files_that_are_no_lines_of_text_are_called_what_they_are(
    content: bytes, found: str
) -> None:
    error = refused(content)

    assert f"found {found}" in error.message
    assert error.hint
