"""A user's query as a statement: `:since` and `:until` are parameters, no other colon is."""

import re

from sqlalchemy import TextClause, text

NAMES = ("since", "until")

_PARTS = re.compile(
    r"""
      '(?:[^']|'')*' | "(?:[^"]|"")*"       # strings and quoted names
    | \$(?P<tag>\w*)\$ .*? \$(?P=tag)\$     # PostgreSQL's dollar-quoted strings
    | --[^\n]* | /\* .*? \*/                # comments
    | :: | (?<![\w:]):(?P<name>since|until)\b
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def statement(query: str) -> tuple[TextClause, frozenset[str]]:
    """Return the query without a final semicolon, and the names of the parameters it uses."""
    used = {match["name"] for match in _PARTS.finditer(query) if match["name"]}
    escaped = _PARTS.sub(_escape, query.strip().rstrip(";").rstrip())
    # The line break ends a comment that would swallow what is written around the query.
    return text(escaped + "\n"), frozenset(used)


def _escape(part: re.Match[str]) -> str:
    return part[0] if part["name"] else part[0].replace(":", r"\:")
