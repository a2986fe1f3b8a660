"""The page on faults has every row, and says truly which tests show it."""

import re

import pytest

from tests.faults.coverage import PAGE, Row, marked, rows

LISTED = 37
WITHOUT_A_TEST = ("due with ", "cannot be shown here: ")


def is_told_by_hand(row: Row) -> bool:
    return row.shown_by.startswith(WITHOUT_A_TEST)


def test_every_fault_is_on_the_page() -> None:
    assert [row.number for row in rows()] == list(range(1, LISTED + 1))


def test_no_test_names_a_fault_that_is_not_on_the_page() -> None:
    assert set(marked()) <= {row.number for row in rows()}


def test_every_fault_is_shown_by_tests_or_says_why_not(request: pytest.FixtureRequest) -> None:
    modules = {number: named(found) for number, found in marked().items()}
    if request.config.getoption("--write-golden"):
        PAGE.write_text(with_tests(PAGE.read_text(encoding="utf-8"), modules), encoding="utf-8")

    shown = {row.number: row.shown_by for row in rows()}

    by_hand = {row.number: row.shown_by for row in rows() if is_told_by_hand(row)}
    assert by_hand.keys() & modules.keys() == set()
    assert shown == {**modules, **by_hand}, "differs from the marks; see `make golden`"


def named(modules: list[str]) -> str:
    return ", ".join(f"`{module}`" for module in modules)


def with_tests(page: str, modules: dict[int, str]) -> str:
    """Return the page with the modules of today in the last column."""

    def renewed(line: re.Match[str]) -> str:
        tests = modules.get(int(line["number"]), "")
        return f"{line['head']}{tests} |".replace("  |", " |")

    hand = "|".join(WITHOUT_A_TEST)
    pattern = rf"^(?P<head>\| (?P<number>\d+) \|[^|]*\|[^|]*\| )(?!{hand})[^|]*\|$"
    return re.sub(pattern, renewed, page, flags=re.MULTILINE)
