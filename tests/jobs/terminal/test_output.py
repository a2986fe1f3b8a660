"""What tables of commands show."""

import io
from datetime import UTC, datetime

import pytest
from rich.text import Text

from jobs.terminal.output import cell, table


def test_an_instant_in_a_table_is_in_utc_and_to_the_second() -> None:
    instant = datetime(2026, 11, 30, 1, 2, 3, 456_789, tzinfo=UTC)

    assert cell(instant) == "2026-11-30 01:02:03Z"


ROWS = [
    {"dataset": "load", "timestamp_marks": "instant", "duplicates": 4035},
    {"dataset": "bikes", "timestamp_marks": "end", "duplicates": 7},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, *, columns: int) -> list[str]:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))

    table(ROWS, columns=[*ROWS[0]])

    return [line.rstrip() for line in Text.from_ansi(terminal.getvalue()).plain.splitlines()]


@pytest.mark.parametrize("columns", [80, 30])
def test_a_table_has_a_line_for_each_row_where_words_have_room(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, first, second = drawn(monkeypatch, columns=columns)

    assert first.split() == ["load", "instant", "4035"]
    assert second.split() == ["bikes", "end", "7"]


def test_a_table_without_room_for_words_lists_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, columns=29)

    assert lines == [
        "dataset          load",
        "timestamp marks  instant",
        "duplicates       4035",
        "",
        "dataset          bikes",
        "timestamp marks  end",
        "duplicates       7",
        "",
    ]
