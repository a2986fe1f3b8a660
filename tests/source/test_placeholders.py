import pytest
from sqlalchemy.dialects import sqlite

from forecaster.source.placeholders import statement


def compiled(query: str) -> str:
    return str(statement(query)[0].compile(dialect=sqlite.dialect())).strip()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a::timestamptz, b :: int FROM t",
        "SELECT ':since' FROM t",
        "SELECT 'it''s :until' FROM t",
        'SELECT ":since" FROM t',
        "SELECT $$ :since $$, $x$ :until $x$ FROM t",
        "SELECT 1 -- :since\n, 2",
        "SELECT /* :since */ 1",
        """SELECT '{"a":1}'::jsonb, c[1:2] FROM t""",
        "SELECT to_char(t, 'HH24:MI:SS'), :sincerely FROM t",
        r"SELECT '\:until', E'a\\:b' FROM t",
    ],
)
def test_colons_that_are_no_parameters_stay_as_they_are(query: str) -> None:
    _, used = statement(query)

    assert used == frozenset()
    assert compiled(query) == query


@pytest.mark.parametrize(
    ("query", "used"),
    [
        ("SELECT * FROM t WHERE ts >= :since", {"since"}),
        ("SELECT * FROM t WHERE ts BETWEEN :since AND :until", {"since", "until"}),
        ("SELECT * FROM t WHERE ts>=:since::timestamptz AND x = ':until'", {"since"}),
        ("SELECT * FROM f(:until,:until)", {"until"}),
    ],
)
def test_since_and_until_are_parameters(query: str, used: set[str]) -> None:
    assert statement(query)[1] == used
    assert compiled(query).count("?") == query.count(":since") + query.count(":until") - (
        query.count("':")
    )


@pytest.mark.parametrize(
    "ending", [";", " ; ", ";;\n", "\n", "; -- all of it", ";\n/* by a; b */ -- since 2026;\n"]
)
def test_a_final_semicolon_is_dropped(ending: str) -> None:
    assert compiled("SELECT 1" + ending) == "SELECT 1"


@pytest.mark.parametrize(
    "query", ["SELECT ';'", 'SELECT ";"', "SELECT 1; SELECT 2", "SELECT $$;$$"]
)
def test_a_semicolon_that_ends_nothing_stays(query: str) -> None:
    assert compiled(query) == query
